"""The whole way with the real app and real weights: ask, accept, save, and open again what was saved; and the stock panel."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from .conftest import ROOT, Series
from .services import LabelServer, Orthanc, wait_until
from .viewer import BOX, POSITIVE, Viewer

ORGAN = 2  # the left kidney in the phantom's label map
DATA = Path(os.environ.get("MIMO_REAL_DATA", ROOT.parent / "shared" / "data")) / "dicom_brain_mr"


class Phantom:
    """The phantom's DICOM series, with its label map [column, row, slice]."""

    def __init__(self, folder: Path) -> None:
        patient = folder / "ct" / "phantom-ct-002"
        self.series = Series(patient / "dicom")
        # The label map has the voxels of the series: its third axis counts the instances.
        order = [int(file.InstanceNumber) - 1 for file in self.series.slices]
        self.labels = np.asarray(nib.load(patient / "labels.nii.gz").dataobj)[:, :, order]

    def box(self, label: int) -> tuple[int, tuple[int, int, int, int]]:
        """The slice on which a label is largest, and its box (i0, j0, i1, j1)."""
        mask = self.labels == label
        k = int(mask.sum((0, 1)).argmax())
        i, j = np.nonzero(mask[:, :, k])
        return k, (int(i.min()), int(j.min()), int(i.max()) + 1, int(j.max()) + 1)


@pytest.fixture(scope="module")
def phantom(phantom_folder: Path, orthanc: Orthanc) -> Phantom:
    phantom = Phantom(phantom_folder)
    orthanc.store(phantom.series.folder)
    return phantom


@pytest.fixture(scope="module")
def server(
    small_weights: Path, phantom: Phantom, orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabelServer]:
    """The real app, with small weights whose low scores are shown, not withheld."""
    conf = {"weights": str(small_weights), "withhold": "0"}
    with LabelServer(
        ROOT / "monailabel_app", orthanc.dicomweb, tmp_path_factory.mktemp("server"), conf
    ).run() as server:
        yield server


def test_box_to_saved_segmentation(
    page: Any, server: LabelServer, orthanc: Orthanc, phantom: Phantom, pictures: Path
) -> None:
    """What is boxed is answered, shown where it lies, accepted, saved as a DICOM SEG with a report, and opened again: the same
    pixels."""
    series = phantom.series
    viewer = Viewer(page, server.url, series.study, pictures)
    viewer.open_panel()
    k, (i0, j0, i1, j1) = phantom.box(ORGAN)
    viewer.go_to(series.world((i0 + i1) / 2, (j0 + j1) / 2, k), half_height_mm=400)
    viewer.tool(BOX)
    viewer.drag(series.world(i0 - 0.5, j0 - 0.5, k), series.world(i1 - 0.5, j1 - 0.5, k))
    answer = viewer.ask("What is in the box?")
    phrases = page.locator(".mimo-phrase").all_inner_texts()
    assert phrases
    assert all(phrase in answer for phrase in phrases)
    assert "Research use only" in viewer.part("notice").inner_text()
    number = {str(file.SOPInstanceUID): n for n, file in enumerate(series.slices)}
    shown = {(number[uid], i, j) for uid, i, j, _ in viewer.voxels("mimo-answer")}
    truth = {(k, int(i), int(j)) for i, j in zip(*np.nonzero(phantom.labels[:, :, k] == ORGAN))}
    overlap = len(shown & truth) / len(shown | truth)
    assert overlap > 0.3, f"IoU with the organ {overlap:.2f}"
    page.mouse.move(700, 600)
    viewer.picture("real-answer")

    before, reported = set(orthanc.series("SEG")), set(orthanc.series("SR"))
    page.locator("[data-mimo=accept]:enabled").first.click()
    page.wait_for_selector("[data-mimo-kept='1']")
    accepted = {tuple(v) for v in viewer.voxels("mimo-accepted")}
    assert accepted
    viewer.part("report").check()
    viewer.part("save").click()
    viewer.part("reviewer").fill("Ada Test")
    viewer.part("reviewer").press("Enter")
    viewer.wait("return document.querySelector('[data-mimo=message]').textContent.startsWith('Saved')")
    viewer.picture("real-saved")

    (saved,) = set(orthanc.series("SEG")) - before
    seg = pydicom.dcmread(io.BytesIO(orthanc.file_of(saved)))
    name = viewer.page.locator("[data-mimo-kept='1'] .mimo-name").inner_text()
    assert [str(segment.SegmentLabel) for segment in seg.SegmentSequence] == [name]
    assert seg.SegmentSequence[0].RecommendedDisplayCIELabValue
    assert str(seg.StudyInstanceUID) == series.study
    assert stored_pixels(seg) == {(uid, i, j) for uid, i, j, _ in accepted}
    from highdicom.sr import Comprehensive3DSR  # of the extra `label`, without which this is not run

    (report,) = set(orthanc.series("SR")) - reported
    sr = pydicom.dcmread(io.BytesIO(orthanc.file_of(report)))
    assert str(sr.StudyInstanceUID) == series.study
    [finding] = Comprehensive3DSR.from_dataset(sr).content.get_volumetric_roi_measurement_groups()
    assert finding.referenced_segment.referenced_sop_instance_uid == seg.SOPInstanceUID
    [area] = finding.get_measurements()
    row, column = map(float, series.slices[k].PixelSpacing)
    assert area.value == pytest.approx(len(accepted) * row * column, rel=1e-4)
    assert answer in sr.to_json()

    again = Viewer(page, server.url, series.study, pictures, welcome=False)
    thumbnails = page.locator("[data-cy=study-browser-thumbnail-no-image]")  # of the SEG and of the SR
    thumbnails.filter(has_text="MIMO segmentation").first.dblclick()
    again.wait("return document.querySelector('[data-cy=yes-hydrate-btn]')")
    page.evaluate("[...document.querySelectorAll('[data-cy=yes-hydrate-btn]')].at(-1).click()")
    again.wait("return window.services.segmentationService.getSegmentations().length === 1")
    page.wait_for_timeout(3000)
    opened = page.evaluate("window.services.segmentationService.getSegmentations()[0].segmentationId")
    assert {tuple(v) for v in again.voxels(opened)} == accepted
    again.picture("real-opened-again")


def stored_pixels(seg: pydicom.Dataset) -> set[tuple[str, int, int]]:
    """The pixels that a DICOM SEG marks: (SOPInstanceUID of the image, column, row)."""
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    out = set()
    for frame, about in zip(frames, seg.PerFrameFunctionalGroupsSequence):
        uid = str(about.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)
        out |= {(uid, int(i), int(j)) for j, i in zip(*np.nonzero(frame))}
    return out


def test_point_reaches_the_model(page: Any, server: LabelServer, phantom: Phantom, pictures: Path) -> None:
    """A point in the panel: an answer, and the request carries its voxel."""
    sent: list[dict[str, Any]] = []

    def keep(request: Any) -> None:
        if "/infer/" in request.url:
            sent.append(json.loads(request.post_data.split("\r\n\r\n", 1)[1].split("\r\n", 1)[0]))

    page.on("request", keep)
    viewer = Viewer(page, server.url, phantom.series.study, pictures)
    viewer.open_panel()
    k, (i0, j0, i1, j1) = phantom.box(ORGAN)
    i, j = (i0 + i1) // 2, (j0 + j1) // 2
    viewer.tool(POSITIVE)
    viewer.click(phantom.series.world(i, j, k))
    assert viewer.ask("What is at the point?")
    assert sent[0]["foreground"] == [[i, j, k]]
    assert sent[0]["slice"] == k
    viewer.go_to(phantom.series.world(i, j, k), half_height_mm=400)
    viewer.picture("real-points")
    assert not page.locator(".mimo-error:not([hidden])").count()


def test_stock_panel_lists_the_models_and_takes_a_point(
    page: Any, server: LabelServer, phantom: Phantom, pictures: Path
) -> None:
    """MONAI Label's own panel: the server's address is filled in, the tasks are listed, a click gives a mask there.

    Our panel is used first: its segmentations must not get in the way of the stock one.
    """
    series = phantom.series
    viewer = Viewer(page, server.url, series.study, pictures)
    k, (i0, j0, i1, j1) = phantom.box(ORGAN)
    i, j = (i0 + i1) // 2, (j0 + j1) // 2
    viewer.open_panel()
    viewer.go_to(series.world(i, j, k), half_height_mm=400)
    viewer.tool(BOX)
    viewer.drag(series.world(i0 - 0.5, j0 - 0.5, k), series.world(i1 - 0.5, j1 - 0.5, k))
    viewer.ask("What is in the box?")
    viewer.tool(BOX)  # give the mouse back
    viewer.part("clear").click()

    page.click("[data-cy=monailabel-btn]")
    assert page.input_value("#monailabelServerURL") == f"{server.url}/"
    page.click(".settingsTable .actionButton")
    page.get_by_text("Point Prompts").click()
    points = page.locator(".tab", has=page.get_by_text("Point Prompts"))
    assert points.locator("option").all_inner_texts() == ["mimo_click ", "mimo_volume "]
    listed = page.locator(".tab", has=page.get_by_text("Auto-Segmentation")).locator("option").all_inner_texts()
    assert [name.strip() for name in listed] == ["mimo_segment", "mimo_ask"]
    page.wait_for_timeout(2000)  # the stock panel waits a second before it colours its segments
    points.locator("tr.clickable-row", has_text="left kidney").first.click()
    viewer.click(series.world(i, j, k))
    points.locator(".actionButton").click()

    def masked() -> bool:
        return bool(viewer.voxels("1"))

    wait_until(masked, "a mask of the stock panel", 60)
    uid = str(series.slices[k].SOPInstanceUID)
    assert {voxel[0] for voxel in viewer.voxels("1")} == {uid}
    page.wait_for_timeout(1000)
    viewer.picture("stock-panel")


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data/dicom_brain_mr beside this repository")
def test_real_mr_series(page: Any, server: LabelServer, orthanc: Orthanc, pictures: Path) -> None:
    """A series of a scanner: marks land on the voxels of its own grid, and an answer comes back on it."""
    folder = next(f for f in sorted(DATA.glob("*/*")) if f.is_dir() and len(list(f.glob("*.dcm"))) == 22)
    orthanc.store(folder)
    series = Series(folder)
    viewer = Viewer(page, server.url, series.study, pictures)
    viewer.open_panel()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data) if "/infer/" in request.url else None)
    columns, rows = int(series.slices[0].Columns), int(series.slices[0].Rows)
    viewer.tool(POSITIVE)
    viewer.click(series.world(columns // 3, rows // 2, 11))
    assert viewer.ask("What is at the point?")
    assert f'"foreground":[[{columns // 3},{rows // 2},11]]' in sent[0]
    assert not page.locator(".mimo-error:not([hidden])").count()
    viewer.picture("real-mr")
