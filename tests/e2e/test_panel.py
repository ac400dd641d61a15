"""The panel against a stand-in for the model, which paints exactly what it is pointed at: each voxel is known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import Series
from .services import LabelServer
from .viewer import BOX, NEGATIVE, POSITIVE, Viewer

SLICE = 5
BOXED = (38, 33, 53, 48)  # columns 38 to 52, rows 33 to 47


@pytest.fixture
def viewer(page: Any, stand_in: LabelServer, series: Series, pictures: Path) -> Viewer:
    viewer = Viewer(page, stand_in.url, series.study, pictures)
    viewer.open_panel()
    viewer.go_to(series.world(45, 40, SLICE))
    return viewer


def draw_box(viewer: Viewer, series: Series) -> None:
    """Along the edges of the pixels of `BOXED`."""
    i0, j0, i1, j1 = BOXED
    viewer.tool(BOX)
    viewer.drag(series.world(i0 - 0.5, j0 - 0.5, SLICE), series.world(i1 - 0.5, j1 - 0.5, SLICE))


def expected_box(series: Series, label: int = 1) -> set[tuple[str, int, int, int]]:
    i0, j0, i1, j1 = BOXED
    uid = str(series.slices[SLICE].SOPInstanceUID)
    return {(uid, i, j, label) for i in range(i0, i1) for j in range(j0, j1)}


def test_box_is_asked_answered_shown_and_decided(viewer: Viewer, series: Series) -> None:
    """A box: its own pixels and no others are marked, in the phrase's colour; hover, jump, accept, hide, remove."""
    page = viewer.page
    inside, outside = series.world(45, 40, SLICE), series.world(56, 40, SLICE)
    corner = series.world(50, 46, SLICE)
    before_in, before_out = viewer.color(corner), viewer.color(outside)
    draw_box(viewer, series)
    assert "a box" in viewer.part("prompts").inner_text()
    assert viewer.ask("What is in the box?") == "This is the boxed region."
    assert {tuple(v) for v in viewer.voxels("mimo-answer")} == expected_box(series)
    viewer.part("clear").click()
    page.mouse.move(700, 600)
    page.wait_for_timeout(500)
    # The phrase's colour is an orange: on the grey image red rises over blue, inside and nowhere else.
    red, _, blue = viewer.color(corner)
    assert abs(before_in[0] - before_in[2]) < 8
    assert red - blue > 40
    assert viewer.color(outside) == pytest.approx(before_out, abs=6)
    chip = page.eval_on_selector(".mimo-phrase", "e => getComputedStyle(e).borderBottomColor")
    assert chip == "rgb(230, 159, 0)"
    viewer.picture("box-answered")

    page.hover(".mimo-phrase")
    page.wait_for_timeout(500)
    strong = viewer.color(corner)
    assert strong[0] - strong[2] > red - blue + 15, "hovering a phrase makes its mask stronger"
    page.mouse.move(700, 600)

    viewer.go_to(series.world(64, 48, 12))
    away = page.evaluate(
        "services.cornerstoneViewportService.getCornerstoneViewport('mpr-axial').getCamera().focalPoint"
    )
    page.click(".mimo-phrase")
    page.wait_for_timeout(500)
    back = page.evaluate(
        "services.cornerstoneViewportService.getCornerstoneViewport('mpr-axial').getCamera().focalPoint"
    )
    distance = abs(float(series.normal @ (series.world(0, 0, SLICE) - back)))
    assert abs(float(series.normal @ (series.world(0, 0, 12) - away))) < 0.5
    assert distance < 0.5, "a click on the phrase goes to its slice"

    viewer.part("accept").click()
    page.wait_for_selector("[data-mimo-kept='1']")
    page.wait_for_timeout(500)
    assert viewer.voxels("mimo-answer") == []
    assert {tuple(v) for v in viewer.voxels("mimo-accepted")} == expected_box(series)
    viewer.go_to(inside)
    shown = viewer.color(inside)
    viewer.part("toggle").click()
    page.wait_for_timeout(500)
    hidden = viewer.color(inside)
    assert shown[0] - shown[2] > 40 > abs(hidden[0] - hidden[2])
    viewer.part("toggle").click()
    viewer.part("opacity").fill("90")
    page.wait_for_timeout(500)
    opaque = viewer.color(inside)
    assert opaque[0] - opaque[2] > shown[0] - shown[2] + 20
    viewer.picture("box-accepted")
    viewer.part("remove").click()
    page.wait_for_timeout(500)
    assert viewer.voxels("mimo-accepted") == []
    assert not page.failures


def test_points_and_rejecting(viewer: Viewer, series: Series) -> None:
    """Two points: one square each, the low scores marked; a rejected phrase loses its mask, the other keeps it."""
    viewer.tool(POSITIVE)
    for column, row in ((45, 40), (80, 60)):
        viewer.click(series.world(column, row, SLICE))
    viewer.tool(NEGATIVE)
    viewer.click(series.world(100, 50, SLICE))
    assert viewer.part("prompts").inner_text().startswith("2 positive, 1 negative")
    assert viewer.ask("What is at the points?") == "This is the pointed spot and the pointed spot."
    uid = str(series.slices[SLICE].SOPInstanceUID)

    def square(column: int, row: int, label: int) -> set[tuple[str, int, int, int]]:
        return {(uid, i, j, label) for i in range(column - 1, column + 2) for j in range(row - 1, row + 2)}

    assert {tuple(v) for v in viewer.voxels("mimo-answer")} == square(45, 40, 1) | square(80, 60, 2)
    assert viewer.page.locator(".mimo-low").count() == 2
    assert "uncertain" in viewer.page.locator(".mimo-low").first.inner_text()
    viewer.picture("points-answered")
    viewer.part("reject").first.click()
    viewer.page.wait_for_timeout(500)
    assert {tuple(v) for v in viewer.voxels("mimo-answer")} == square(80, 60, 2)
    viewer.part("clear").click()
    assert viewer.part("prompts").inner_text() == ""
    assert viewer.ask("And without marks?") == f"Nothing was pointed at on slice {SLICE}."
    assert viewer.voxels("mimo-answer") == []
    assert not viewer.page.failures


def test_points_on_an_oblique_series(page: Any, stand_in: LabelServer, oblique: Series, pictures: Path) -> None:
    """OHIF cuts a slanted series at an angle; a click must still reach the voxel that lies there."""
    viewer = Viewer(page, stand_in.url, oblique.study, pictures)
    viewer.open_panel()
    viewer.tool(POSITIVE)
    viewer.click(oblique.world(90, 30, 11))
    viewer.ask("What is at the point?")
    uid = str(oblique.slices[11].SOPInstanceUID)
    expected = {(uid, i, j, 1) for i in range(89, 92) for j in range(29, 32)}
    assert {tuple(v) for v in viewer.voxels("mimo-answer")} == expected


def test_keyboard_alone(viewer: Viewer, series: Series) -> None:
    """After the marks, all is done by keys, and OHIF's own shortcuts stay out of it."""
    draw_box(viewer, series)
    page = viewer.page
    up = "services.cornerstoneViewportService.getCornerstoneViewport('mpr-axial').getCamera().viewUp"
    before = page.evaluate(up)
    viewer.ask("What is in the box?")
    for _ in range(4):  # slice or series, Ask, the examples, the phrase in the answer
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.mimoPhrase") == "1"
    page.keyboard.press("a")
    page.wait_for_selector("[data-mimo-kept='1']")
    page.evaluate("document.querySelector('.mimo-phrase').focus()")
    page.keyboard.press("r")  # it is decided already, and must not turn the image either
    page.wait_for_timeout(500)
    assert {tuple(v) for v in viewer.voxels("mimo-accepted")} == expected_box(series)
    assert page.evaluate(up) == before


def test_nothing_is_executed_as_html(viewer: Viewer, series: Series) -> None:
    """Markup in question, phrase, answer and history is shown as text."""
    draw_box(viewer, series)
    page = viewer.page
    text = viewer.ask("html <img src=x onerror='window.pwned=3'>")
    assert "<script>window.pwned=2</script>" in text
    viewer.part("accept").click()
    page.wait_for_selector("[data-mimo-kept='1']")
    assert "onerror" in viewer.part("kept").inner_text()
    assert "onerror='window.pwned=3'" in viewer.part("history").inner_text()
    page.wait_for_timeout(1000)
    assert page.evaluate("window.pwned === undefined")
    assert page.locator(".mimo img, .mimo script").count() == 0
    viewer.picture("html-is-text")


def test_errors_are_sentences_and_a_question_can_be_cancelled(viewer: Viewer) -> None:
    page, message = viewer.page, viewer.part("message")
    viewer.part("question").fill("")
    viewer.part("ask").click()
    assert "Type a question" in message.inner_text()
    viewer.part("question").fill("please break")
    viewer.part("ask").click()
    page.wait_for_selector(".mimo-error")
    said = message.inner_text()
    assert said.endswith(".")
    assert "Traceback" not in said
    assert "{" not in said
    viewer.part("question").fill("slow")
    viewer.part("ask").click()
    viewer.part("cancel").click()
    page.wait_for_function("document.querySelector('[data-mimo=message]').textContent === 'Cancelled.'", timeout=3000)
    assert viewer.part("ask").is_enabled()
    page.route("**/infer/**", lambda route: route.abort())
    viewer.part("ask").click()
    page.wait_for_selector(".mimo-error")
    assert message.inner_text() == "The server does not answer. Is it still running?"


def test_panel_fits_a_small_screen(viewer: Viewer) -> None:
    """At 1280 x 720 nothing of the panel is cut off to the side."""
    assert viewer.page.evaluate(
        "(() => { const m = document.querySelector('.mimo'); const r = m.getBoundingClientRect();"
        "return m.scrollWidth <= m.clientWidth && r.right <= innerWidth && r.bottom <= innerHeight; })()"
    )
