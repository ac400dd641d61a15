"""A person's session about a whole series, with the real app and the weights that are shipped: ask, correct, undo, save, go on.

The series is a hippocampus MR, which those weights know; without the data or the weights these tests are passed by.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from monai_mimo.errors import WeightsError
from monai_mimo.models.default_weights import find_weights
from monai_mimo.phantom.writer import write_series

from .conftest import ROOT, Series
from .services import LabelServer, Orthanc
from .test_real_model import stored_pixels
from .viewer import NEGATIVE, POSITIVE, SCRIBBLE, Viewer

DATA = Path(os.environ.get("MIMO_REAL_DATA", ROOT.parent / "shared" / "data")) / "Task04_Hippocampus"
ANTERIOR, POSTERIOR = "anterior hippocampus", "posterior hippocampus"
QUESTION = f"Segment the {ANTERIOR} and the {POSTERIOR}."
MR = "1.2.840.10008.5.1.4.1.1.4"
Voxels = set[tuple[int, int, int]]


def the_weights() -> Path | None:
    """MIMO_E2E_WEIGHTS, else those of the package."""
    try:
        return find_weights(os.environ.get("MIMO_E2E_WEIGHTS"))
    except WeightsError:
        return None


pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data/Task04_Hippocampus beside this repository"),
    pytest.mark.skipif(the_weights() is None, reason="no weights are shipped, and MIMO_E2E_WEIGHTS is not set"),
]


class Patient:
    """The first patient's volume as a DICOM series, with the labels (1 anterior, 2 posterior) on its voxels [i, j, k]."""

    def __init__(self, folder: Path) -> None:
        name = sorted(path.name for path in (DATA / "labelsTr").glob("hippocampus_*.nii.gz"))[0]
        image, labels = (nib.load(DATA / part / name) for part in ("imagesTr", "labelsTr"))
        affine = image.affine @ np.diag([-1.0, -1, 1, 1])  # rows to the patient's left and back, as scanners write
        affine[:3, 3] = image.affine @ [*(np.array(image.shape[:2]) - 1), 0, 1] @ np.eye(4)[:, :3]
        values = np.asarray(image.dataobj, float)[::-1, ::-1]
        write_series(folder, np.rint(values / values.max() * 1000).astype(np.int16), affine, "HIPPOCAMPUS", 1)
        for path in folder.glob("*.dcm"):
            file = pydicom.dcmread(path)
            file.Modality, file.SOPClassUID, file.file_meta.MediaStorageSOPClassUID = "MR", MR, MR
            file.WindowCenter, file.WindowWidth = 400, 800
            file.save_as(path)
        self.series = Series(folder)
        order = [int(file.InstanceNumber) - 1 for file in self.series.slices]
        self.labels = np.asarray(labels.dataobj)[::-1, ::-1][:, :, order]
        self.number = {str(file.SOPInstanceUID): k for k, file in enumerate(self.series.slices)}

    def world(self, voxel: tuple[int, ...]) -> np.ndarray:
        return self.series.world(*voxel)


@pytest.fixture(scope="module")
def patient(orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Patient:
    patient = Patient(tmp_path_factory.mktemp("hippocampus") / "dicom")
    orthanc.store(patient.series.folder)
    return patient


@pytest.fixture(scope="module")
def label_server(patient: Patient, orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> LabelServer:
    conf = {"weights": str(the_weights())}
    return LabelServer(ROOT / "monailabel_app", orthanc.dicomweb, tmp_path_factory.mktemp("volume"), conf)


@pytest.fixture
def server(label_server: LabelServer) -> Iterator[LabelServer]:
    with label_server.run() as running:
        yield running


def opened(page: Any, server: LabelServer, patient: Patient, pictures: Path) -> Viewer:
    viewer = Viewer(page, server.url, patient.series.study, pictures)
    viewer.open_panel()
    viewer.go_to(patient.world(tuple(n // 2 for n in patient.labels.shape)), half_height_mm=60)
    return viewer


def of(viewer: Viewer, patient: Patient, segmentation: str, name: str) -> Voxels:
    """The voxels of an object by its name; where objects overlap, they lie in several segmentations."""
    where = viewer.page.evaluate(
        """([prefix, name]) => window.cornerstoneTools.segmentation.state.getSegmentations()
          .filter(({ segmentationId }) => segmentationId.startsWith(prefix))
          .flatMap(({ segmentationId, segments }) => Object.values(segments)
            .filter(({ label }) => label === name).map(({ segmentIndex }) => [segmentationId, segmentIndex]))""",
        [segmentation, name],
    )
    return {
        (i, j, patient.number[uid])
        for id, segment in where
        for uid, i, j, value in viewer.voxels(id)
        if value == segment
    }


def dice(found: Voxels, truth: np.ndarray) -> float:
    expected = {(int(i), int(j), int(k)) for i, j, k in np.argwhere(truth)}
    return 2 * len(found & expected) / (len(found) + len(expected))


def mark(viewer: Viewer, patient: Patient, tool: str, voxel: tuple[int, int, int]) -> None:
    """Set a mark while an object is corrected, and wait for its effect."""
    viewer.go_to(patient.world(voxel), half_height_mm=60)
    viewer.tool(tool)
    if tool == SCRIBBLE:
        i, j, k = voxel
        viewer.drag(patient.world((i - 1, j, k)), patient.world((i + 1, j, k)))
    else:
        viewer.point_at(patient.world(voxel))
    viewer.tool(tool)
    settled(viewer)


def settled(viewer: Viewer) -> None:
    viewer.page.wait_for_timeout(500)
    viewer.wait("return document.querySelector('.mimo').getAttribute('aria-busy') === 'false'", 300)
    viewer.page.wait_for_timeout(1000)


def deep(found: Voxels, tall: bool = False) -> tuple[int, int, int]:
    """A voxel with neighbours of its own kind on all sides of its slice."""
    inner = [v for v in found if all((v[0] + a, v[1] + b, v[2]) in found for a in (-1, 0, 1) for b in (-1, 0, 1))]
    return sorted(inner or found, key=lambda v: (v[2], v))[len(inner or found) // 2]


def missing(found: Voxels, truth: np.ndarray, away_from: tuple[int, int, int]) -> tuple[int, int, int]:
    """A voxel of the truth that was not found, some voxels away from a mark that is there."""
    rest = {(int(i), int(j), int(k)) for i, j, k in np.argwhere(truth)} - found
    return deep({v for v in rest if max(abs(a - b) for a, b in zip(v, away_from)) > 3})


def test_ask_correct_undo_restart_save_and_load(
    page: Any, label_server: LabelServer, orthanc: Orthanc, patient: Patient, pictures: Path
) -> None:
    with label_server.run() as server:
        viewer = opened(page, server, patient, pictures)
        page.check("[value=volume]")
        answer = viewer.ask(QUESTION)
        names = page.locator("[data-mimo-entity] .mimo-name").all_inner_texts()
        assert sorted(names) == [ANTERIOR, POSTERIOR], answer
        number, one = names.index(ANTERIOR) + 1, ANTERIOR
        for name, label in ((ANTERIOR, 1), (POSTERIOR, 2)):
            assert dice(of(viewer, patient, "mimo-answer", name), patient.labels == label) > 0.5
        assert "ml" in page.locator(".mimo-score").first.inner_text()
        viewer.picture("volume-answered")

        page.locator(f"[data-mimo-entity='{number}'] [data-mimo=correct]").click()
        first = of(viewer, patient, "mimo-answer", one)
        inside = deep(first)
        mark(viewer, patient, NEGATIVE, inside)
        second = of(viewer, patient, "mimo-answer", one)
        assert inside not in second
        outside = missing(second, patient.labels == 1, inside)
        mark(viewer, patient, POSITIVE, outside)
        assert outside in of(viewer, patient, "mimo-answer", one)
        viewer.picture("volume-corrected")
        mark(viewer, patient, POSITIVE, outside)  # the point that is there: it is taken back
        assert of(viewer, patient, "mimo-answer", one) == second
        for _ in range(2):
            viewer.part("undo").click()
        settled(viewer)
        assert of(viewer, patient, "mimo-answer", one) == second
        viewer.part("undo").click()
        settled(viewer)
        assert of(viewer, patient, "mimo-answer", one) == first

    with label_server.run() as server:  # a restart: its sessions are gone
        at = deep(first)
        mark(viewer, patient, SCRIBBLE, at)
        assert "lost this session" in viewer.part("message").inner_text()
        scribbled = of(viewer, patient, "mimo-answer", one)
        assert {(at[0] + step, at[1], at[2]) for step in (-1, 0, 1)} <= scribbled
        viewer.picture("volume-restarted")
        viewer.part("done").click()

        segs, reports = set(orthanc.series("SEG")), set(orthanc.series("SR"))
        for _ in names:
            page.locator("[data-mimo=accept]:enabled").first.click()
            settled(viewer)
        accepted = {name: of(viewer, patient, "mimo-accepted", name) for name in names}
        viewer.part("report").check()
        viewer.part("save").click()
        viewer.part("reviewer").fill("Ada Test")
        viewer.part("reviewer").press("Enter")
        viewer.wait("return document.querySelector('[data-mimo=message]').textContent.startsWith('Saved')", 300)
        viewer.picture("volume-saved")
        (saved,) = set(orthanc.series("SEG")) - segs
        assert len(set(orthanc.series("SR")) - reports) == 1
        seg = pydicom.dcmread(io.BytesIO(orthanc.file_of(saved)))
        everything = {(uid, i, j) for uid, i, j in stored_pixels(seg)}
        uids = {k: uid for uid, k in patient.number.items()}
        assert everything == {(uids[k], i, j) for mask in accepted.values() for i, j, k in mask}

        again = Viewer(page, server.url, patient.series.study, pictures, welcome=False)
        again.open_panel()
        assert page.locator("[data-mimo=draft]").count() == 0, "what is saved is not offered again"
        again.part("load").click()
        page.wait_for_selector("[data-mimo-kept='2']")
        settled(again)
        assert sorted(page.locator("[data-mimo=kept] .mimo-name").all_inner_texts()) == sorted(names)
        assert {name: of(again, patient, "mimo-accepted", name) for name in names} == accepted
        again.picture("volume-loaded")
        assert not page.failures


def test_two_annotators_do_not_meet(page: Any, server: LabelServer, patient: Patient, pictures: Path) -> None:
    """Both find an object by a point and correct it; what one does is not seen by the other."""
    i, j, k = deep({(int(a), int(b), int(c)) for a, b, c in np.argwhere(patient.labels == 1)})
    other = page.context.browser.new_context(viewport=page.viewport_size).new_page()
    other.set_default_timeout(240_000)
    ada, bob = (opened(p, server, patient, pictures) for p in (page, other))
    for viewer in (ada, bob):
        viewer.page.check("[value=volume]")
        viewer.tool(POSITIVE)
        viewer.click(patient.world((i, j, k)))
        viewer.tool(POSITIVE)
        viewer.ask("")
    name = page.locator("[data-mimo-entity='1'] .mimo-name").inner_text()
    before = of(bob, patient, "mimo-answer", name)
    assert (i, j, k) in before
    assert of(ada, patient, "mimo-answer", name) == before
    ada.part("correct").first.click()
    mark(ada, patient, NEGATIVE, (i, j, k))
    assert (i, j, k) not in of(ada, patient, "mimo-answer", name)
    bob.part("correct").first.click()
    mark(bob, patient, SCRIBBLE, (i, j, k))
    assert {(i - 1, j, k), (i, j, k), (i + 1, j, k)} <= of(bob, patient, "mimo-answer", name)
    assert (i, j, k) not in of(ada, patient, "mimo-answer", name)
