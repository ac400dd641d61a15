"""Damaged DICOM: enhanced, cine, compressed, and files of a series among whole ones: an answer, or one error. MIMO_FUZZ=5000
reads so many; the suite itself 600."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from ..fuzzing import hold
from .dicom_files import AXIAL, dicom_file, save, sequence, series
from .test_damaged_files import look
from .test_dicom_pixels import compressed, table

COUNT = int(os.environ.get("MIMO_FUZZ", 600))
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 4000, (4, 8, 6)).astype(np.uint16)
COLOUR = RNG.integers(0, 256, (4, 8, 6, 3), dtype=np.uint8)
HEADER = 1500  # bytes, in which most of the damage is


def enhanced(path: Path, **header: object) -> pydicom.Dataset:
    """Two echoes of two places, each frame with a slope of its own."""
    ds = dicom_file(path, GREY, position=None, orientation=None, spacing=None, Modality="MR", **header)
    ds.SharedFunctionalGroupsSequence = sequence(
        PixelMeasuresSequence=sequence(PixelSpacing=[0.5, 0.25]),
        PlaneOrientationSequence=sequence(ImageOrientationPatient=list(AXIAL)),
    )
    ds.PerFrameFunctionalGroupsSequence = pydicom.Sequence(
        sequence(
            PlanePositionSequence=sequence(ImagePositionPatient=[0, 0, 3 * (2 - n)]),
            PixelValueTransformationSequence=sequence(RescaleSlope=1 + n, RescaleIntercept=-n),
            FrameContentSequence=sequence(StackID="1", DimensionIndexValues=[1, n]),
        )[0]
        for n in range(len(GREY))
    )
    ds.DimensionIndexSequence = sequence(DimensionIndexPointer=0x00209056)
    save(ds, path)
    return ds


def palette() -> dict[str, object]:
    about: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR", "Modality": "US", "position": None}
    for name in ("Red", "Green", "Blue"):
        about[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        about[f"{name}PaletteColorLookupTableData"] = RNG.integers(0, 65536, 256).astype("<u2").tobytes()
    return about


def seeds(folder: Path) -> dict[str, bytes]:
    """Files whose pixels are decoded in this process."""
    path, out = folder / "a.dcm", {}
    enhanced(path)
    out["enhanced.dcm"] = path.read_bytes()
    ds = enhanced(path)
    ds.compress(RLELossless, encoding_plugin="pydicom")
    save(ds, path)
    out["rle.dcm"] = path.read_bytes()
    for name, pixels, header in (
        ("cine.dcm", COLOUR, {"position": None, "PhotometricInterpretation": "YBR_FULL", "Modality": "US"}),
        ("palette.dcm", COLOUR[..., 0], palette()),
        ("dx.dcm", GREY[0], {"PhotometricInterpretation": "MONOCHROME1", "Modality": "DX", "PixelPaddingValue": 0}),
        ("tables.dcm", GREY[0], {"VOILUTSequence": table(np.arange(4096, dtype="<u2"), 0), "Modality": "MR"}),
        ("dose.dcm", GREY, {"GridFrameOffsetVector": [0, 2, 4, 6], "RescaleSlope": "0.5", "Modality": "RTDOSE"}),
    ):
        dicom_file(path, pixels, **header)
        out[name] = path.read_bytes()
    path.unlink()
    return out


def packed_seeds(folder: Path) -> dict[str, bytes]:
    """Files whose pixels are decoded in a process of its own."""
    path, out = folder / "a.dcm", {}
    for kind, syntax in (("JPEG", JPEGBaseline8Bit), ("JPEG2000", JPEG2000Lossless)):
        frames = []
        for frame in np.kron(COLOUR, np.ones((4, 4, 1), np.uint8)):
            stream = io.BytesIO()
            Image.fromarray(frame).save(stream, kind)
            frames.append(stream.getvalue())
        shown = np.kron(COLOUR, np.ones((4, 4, 1), np.uint8))
        compressed(path, shown, encapsulate(frames), syntax, position=None, PhotometricInterpretation="YBR_FULL_422")
        out[f"{kind}.dcm"] = path.read_bytes()
    path.unlink()
    return out


def test_files_of_every_kind(tmp_path: Path) -> None:
    count = COUNT * 6 // 10
    assert count / 10 < hold(seeds(tmp_path), count, tmp_path, look, header=HEADER) < count


def test_compressed_files(tmp_path: Path) -> None:
    """The whole file, as codestreams are most of it. Each takes a process, which takes long to start where much else runs."""
    count = COUNT // 50
    assert hold(packed_seeds(tmp_path), count, tmp_path, look, header=10**6, longest=60) < count


@pytest.mark.parametrize("kind", ["slices", "echoes"])
def test_one_file_of_a_series(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "s"
    header = {"EchoTime": [1, 1, 1, 9, 9, 9]} if kind == "echoes" else {"RescaleSlope": [1, 2, 3, 4, 5, 6]}
    series(folder, [0, 2, 4, 0, 2, 4] if kind == "echoes" else [0, 2, 4, 6, 8, 10], **header)
    damaged = sorted(folder.iterdir())[0]
    whole = {damaged.name: damaged.read_bytes()}
    damaged.unlink()

    def read(path: Path) -> None:
        look(path.parent)

    count = COUNT * 19 // 100
    assert hold(whole, count, folder, read, header=HEADER) < count
