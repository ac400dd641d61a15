"""Marks, steps back, and the list of objects, against the stand-in for the model: each voxel is known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import Series
from .services import LabelServer
from .viewer import BOX, ERASER, NEGATIVE, PAINT, POSITIVE, RUB, SCRIBBLE, Viewer, browser

SLICE = 5
Voxels = set[tuple[str, int, int, int]]


@pytest.fixture
def viewer(page: Any, stand_in: LabelServer, series: Series, pictures: Path) -> Viewer:
    viewer = Viewer(page, stand_in.url, series.study, pictures)
    viewer.open_panel()
    viewer.go_to(series.world(64, 48, SLICE), half_height_mm=400)
    return viewer


def box(viewer: Viewer, series: Series, i0: int, j0: int, i1: int, j1: int) -> Voxels:
    """Draw a box along the edges of its pixels, and tell which they are."""
    viewer.tool(BOX)
    viewer.drag(series.world(i0 - 0.5, j0 - 0.5, SLICE), series.world(i1 - 0.5, j1 - 0.5, SLICE))
    viewer.tool(BOX)
    uid = str(series.slices[SLICE].SOPInstanceUID)
    return {(uid, i, j, 1) for i in range(i0, i1) for j in range(j0, j1)}


def shown(viewer: Viewer, segmentation: str) -> Voxels:
    return {tuple(v) for v in viewer.voxels(segmentation)}  # type: ignore[misc]


def test_marks_are_set_and_taken_back(viewer: Viewer, series: Series) -> None:
    """Every kind of mark; a click, the eraser, undo and redo, by button and by key; a scribble reaches the model."""
    page, said = viewer.page, viewer.part("prompts")
    box(viewer, series, 38, 33, 53, 48)
    viewer.tool(POSITIVE)
    viewer.point_at(series.world(80, 60, SLICE))
    page.keyboard.press("Alt+Digit2")  # the negative point
    viewer.point_at(series.world(90, 40, SLICE))
    viewer.tool(SCRIBBLE)
    viewer.drag(series.world(60, 70, SLICE), series.world(75, 70, SLICE))
    everything = "1 positive, 1 negative, a box, a scribble."
    assert said.inner_text() == everything
    viewer.picture("marks")
    viewer.part("undo").click()
    assert said.inner_text() == "1 positive, 1 negative, a box."
    page.keyboard.press("Control+Shift+Z")
    assert said.inner_text() == everything
    viewer.tool(NEGATIVE)
    viewer.point_at(series.world(90, 40, SLICE))  # the mark that is there
    assert said.inner_text() == "1 positive, a box, a scribble."
    viewer.tool(ERASER)
    viewer.drag(series.world(80, 70, SLICE), series.world(80, 55, SLICE))
    viewer.drag(series.world(30, 40, SLICE), series.world(45, 40, SLICE))
    assert said.inner_text() == "a scribble."
    assert viewer.ask("What is at the line?") == "This is the scribbled line."
    uid = str(series.slices[SLICE].SOPInstanceUID)
    assert shown(viewer, "mimo-answer") == {(uid, i, 70, 1) for i in range(60, 76)}
    page.locator(".mimo-phrase").focus()
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert said.inner_text() == "1 positive, a scribble." or "a box" in said.inner_text()
    assert not page.failures


def test_objects_overlap_are_locked_and_corrected_by_hand(viewer: Viewer, series: Series) -> None:
    """Two boxes that overlap keep all of their voxels; strokes add and take away; after a reload it is all offered again."""
    page = viewer.page
    first = box(viewer, series, 38, 33, 53, 48)
    viewer.ask("What is in the box?")
    viewer.part("accept").click()
    page.locator("[data-mimo-kept='1'] [data-mimo=lock]").click()
    assert page.locator("[data-mimo-kept='1'] [data-mimo=remove]").is_disabled()
    second = box(viewer, series, 48, 40, 70, 60)
    viewer.ask("What is in the box?")
    page.locator("[data-mimo=accept]:enabled").click()
    page.wait_for_selector("[data-mimo-kept='2']")
    page.wait_for_timeout(1000)
    assert shown(viewer, "mimo-accepted") == first
    assert shown(viewer, "mimo-accepted-2") == second
    page.mouse.move(700, 600)
    (red, _, blue), (red_2, _, blue_2) = (viewer.color(series.world(i, j, SLICE)) for i, j in ((40, 44), (66, 55)))
    assert red > blue + 40, "the first is orange"
    assert blue_2 > red_2 + 40, "the second gets another colour, light blue"
    names = page.locator("[data-mimo=kept] .mimo-name").all_inner_texts()
    assert names == ["boxed region", "boxed region 2"], "a locked object is not added to"
    assert page.locator("[data-mimo-kept='1'] .mimo-score").inner_text() == "0.93 · 5.6 ml"  # 225 of 2.5 x 2.5 x 4 mm

    page.locator("[data-mimo-kept='2'] .mimo-name").focus()
    page.keyboard.press("c")
    viewer.tool(PAINT)
    viewer.drag(series.world(80, 50, SLICE), series.world(95, 50, SLICE))
    page.wait_for_timeout(1000)
    after = shown(viewer, "mimo-accepted-2")
    assert after > second
    added = {(i, j) for _, i, j, _ in after - second}
    assert {(i, 50) for i in range(80, 96)} <= added
    assert all(78 <= i <= 97 and 48 <= j <= 52 for i, j in added)
    viewer.tool(RUB)
    viewer.drag(series.world(60, 50, SLICE), series.world(60, 50.5, SLICE))
    page.wait_for_timeout(1000)
    rubbed = after - shown(viewer, "mimo-accepted-2")
    assert rubbed
    assert all(abs(i - 60) <= 2 and abs(j - 50) <= 2 for _, i, j, _ in rubbed)
    assert shown(viewer, "mimo-accepted") == first
    viewer.picture("corrected-by-hand")
    viewer.part("undo").click()
    viewer.part("undo").click()
    page.wait_for_timeout(1000)
    assert shown(viewer, "mimo-accepted-2") == second
    viewer.part("redo").click()
    page.wait_for_timeout(1000)
    assert shown(viewer, "mimo-accepted-2") == after

    again = Viewer(page, viewer.url, series.study, viewer.pictures, welcome=False)
    again.open_panel()
    assert "2 accepted masks" in again.part("draft").inner_text()
    again.picture("taken-up-again")
    again.part("take-draft").click()
    page.wait_for_selector("[data-mimo-kept='2']")
    page.wait_for_timeout(1000)
    assert shown(again, "mimo-accepted") == first
    assert shown(again, "mimo-accepted-2") == after
    page.locator("[data-mimo-kept='2'] .mimo-name").focus()
    page.keyboard.press("Delete")
    assert page.locator("[data-mimo-kept]").count() == 1
    assert not page.failures


@pytest.mark.parametrize("modality", ["DX", "US"])
def test_an_x_ray_or_ultrasound_is_opened_from_the_study_list(
    page: Any, stand_in: LabelServer, radiograph: Path, pictures: Path, modality: str
) -> None:
    """The mode MIMO shows it in one view, with the panel in front, and a box there is answered on its pixels."""
    page.goto(f"{stand_in.url}/ohif/")
    page.get_by_text(modality, exact=True).first.click()
    page.locator("[data-cy^='mode-mimo-']").click()
    page.wait_for_function(
        "window.services?.cornerstoneViewportService?.getCornerstoneViewport('default')?.getImageIds?.()[0]"
    )
    page.get_by_text("Confirm and Hide").click()
    page.wait_for_function("document.querySelector('[data-mimo=model]').textContent.includes('Ready')")
    page.wait_for_timeout(1000)
    viewer = Viewer.of(page, stand_in.url, pictures)
    viewer.tool(BOX)
    corners = [viewer.screen_of_pixel(i - 0.5, j - 0.5) for i, j in ((230, 110), (260, 130))]
    viewer.drag_on_screen(*corners)
    assert viewer.ask("What is in the box?") == "This is the boxed region."
    columns, rows = ({v[axis] for v in viewer.voxels("mimo-answer")} for axis in (1, 2))
    # A pixel of the image is about one of the screen here.
    for found, start, end in ((columns, 230, 260), (rows, 110, 130)):
        assert abs(min(found) - start) <= 1
        assert abs(max(found) + 1 - end) <= 1
    assert viewer.page.locator("[value=volume]").is_hidden(), "one picture is no series to ask about"
    viewer.picture({"DX": "x-ray", "US": "ultrasound"}[modality])
    assert not page.failures


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080)])
def test_panel_fits_the_screen(stand_in: LabelServer, series: Series, pictures: Path, size: tuple[int, int]) -> None:
    """With an answer and an object that is being corrected, nothing is cut off to the side."""
    with browser(*size) as page:
        viewer = Viewer(page, stand_in.url, series.study, pictures)
        viewer.open_panel()
        viewer.go_to(series.world(64, 48, SLICE), half_height_mm=400)
        box(viewer, series, 38, 33, 53, 48)
        viewer.tool(POSITIVE)
        viewer.point_at(series.world(80, 60, SLICE))
        viewer.ask("What is in the box?")
        viewer.part("accept").first.click()
        page.locator("[data-mimo-kept='1'] [data-mimo=correct]").click()
        page.mouse.move(size[0] / 2, size[1] - 60)
        page.wait_for_timeout(1000)
        viewer.picture(f"panel-{size[0]}")
        assert page.evaluate(
            "(() => { const m = document.querySelector('.mimo'); const r = m.getBoundingClientRect();"
            "return m.scrollWidth <= m.clientWidth && r.right <= innerWidth && r.bottom <= innerHeight; })()"
        )
