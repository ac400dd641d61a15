"""What the end-to-end tests share: one Orthanc with a phantom CT, and one page at a time.

They run with `make e2e` only, which sets MIMO_E2E; a plain `pytest` passes them by. Screenshots go to runs/e2e.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from monai_mimo.phantom.writer import write_series

from ..monailabel_app.make_dicom import write_radiograph, write_ultrasound
from .services import LabelServer, Orthanc, missing
from .viewer import browser
from .weights import phantom_ct, weights

WANTED = bool(os.environ.get("MIMO_E2E"))
collect_ignore_glob = [] if WANTED else ["test_*.py"]
if WANTED:  # also a run that is stopped by a signal stops what it started
    signal.signal(signal.SIGTERM, signal.default_int_handler)
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


class Series:
    """A DICOM series on disk, read by pydicom alone: the truth that the viewer is held against.

    Attributes:
        slices: the files in ascending order along the normal.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        files = [pydicom.dcmread(path) for path in folder.rglob("*.dcm")]
        orientation = np.array(files[0].ImageOrientationPatient, float)
        self.row, self.column = orientation[:3], orientation[3:]
        self.normal = np.cross(self.row, self.column)
        self.slices = sorted(files, key=lambda file: float(self.normal @ np.array(file.ImagePositionPatient, float)))
        self.study, self.uid = str(files[0].StudyInstanceUID), str(files[0].SeriesInstanceUID)

    def world(self, column: float, row: float, k: int) -> np.ndarray:
        """Millimetres LPS of the middle of a pixel of slice k (DICOM PS3.3 C.7.6.2.1.1)."""
        file = self.slices[k]
        down, across = (float(v) for v in file.PixelSpacing)
        origin = np.array(file.ImagePositionPatient, float)
        return np.asarray(origin + self.row * column * across + self.column * row * down)


def blobs(shape: tuple[int, int, int]) -> np.ndarray:
    """A body with a bright ball and a dark one, HU [x, y, z]; no symmetry, so that a flip shows."""
    x, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    values = np.full(shape, -1000, np.int16)
    values[((x - shape[0] / 2) / 52) ** 2 + ((y - shape[1] / 2) / 38) ** 2 + 0 * z < 1] = 40
    values[((x - 45) / 12) ** 2 + ((y - 40) / 9) ** 2 + ((z - 5) / 4) ** 2 < 1] = 180
    values[((x - 88) / 8) ** 2 + ((y - 58) / 8) ** 2 + ((z - 11) / 3) ** 2 < 1] = -60
    return values + np.random.default_rng(0).normal(0, 6, shape).astype(np.int16)


@pytest.fixture(scope="session", autouse=True)
def _programs() -> None:
    if absent := missing():
        pytest.skip("not on this machine: " + "; ".join(absent))


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where screenshots are kept."""
    return ROOT / "runs" / "e2e"


def write_ct(folder: Path, name: str, degrees: float) -> Series:
    """A CT of 128 x 96 x 16 voxels, turned by `degrees` about the x axis, its files in no order."""
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ np.diag([-2.5, -2.5, 4.0, 1.0])  # rows to the patient's left and back, as scanners write
    affine[:3, 3] = [160, 120, -30]
    write_series(folder, blobs((128, 96, 16)), affine, name, 3)
    return Series(folder)


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """A CT that lies straight."""
    return write_ct(tmp_path_factory.mktemp("dicom") / "straight", "STRAIGHT", 0)


@pytest.fixture(scope="session")
def oblique(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """A CT at a slant."""
    return write_ct(tmp_path_factory.mktemp("dicom") / "oblique", "OBLIQUE", 12)


@pytest.fixture(scope="session")
def radiograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an X-ray, and an ultrasound picture, of 400 x 300 pixels with a bright ellipse."""
    folder = tmp_path_factory.mktemp("radiograph")
    y, x = np.ogrid[:300, :400]
    pixels = 200 + 600 * (((x - 250) / 60) ** 2 + ((y - 120) / 40) ** 2 < 1)
    write_radiograph(folder / "image.dcm", pixels)
    write_ultrasound(folder / "ultrasound.dcm", pixels)
    return folder


@pytest.fixture(scope="session")
def orthanc(
    tmp_path_factory: pytest.TempPathFactory, series: Series, oblique: Series, radiograph: Path
) -> Iterator[Orthanc]:
    """An Orthanc that holds the CTs, the X-ray and the ultrasound picture."""
    with Orthanc(tmp_path_factory.mktemp("orthanc")).run() as orthanc:
        orthanc.store(series.folder)
        orthanc.store(oblique.folder)
        orthanc.store(radiograph)
        yield orthanc


@pytest.fixture(scope="module")
def stand_in(orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelServer]:
    """A server whose model paints exactly what it is pointed at."""
    with LabelServer(HERE / "stand_in", orthanc.dicomweb, tmp_path_factory.mktemp("stand-in")).run() as server:
        yield server


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CTs of `mimo phantom`."""
    return phantom_ct(tmp_path_factory.mktemp("phantom") / "phantom")


@pytest.fixture(scope="session")
def small_weights(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real weights: see weights.py."""
    return weights(phantom_folder, tmp_path_factory.mktemp("training"))


@pytest.fixture
def page() -> Iterator[Any]:
    """A browser's page, 1280 x 720."""
    with browser() as page:
        yield page
