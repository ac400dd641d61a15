"""What is shown of an answer, and what decisions and undo make of it."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from MIMOLib.answer import COLORS, Answer, accepted, decided, html, link, proposed, read_answer
from MIMOLib.errors import MimoError, sentence_of
from MIMOLib.geometry import Grid
from MIMOLib.history import MOST, History, State
from MIMOLib.masks import Mask, Segment
from MIMOLib.prompts import MOST_PAINTED, NAMES, SLICE, VOLUME, Marks, request

from monai_mimo.visualize import phrase_colors

GRID = Grid((6, 5, 4), np.diag([2.0, 2.0, 2.5, 1]))
NOTICE = "Research use only; not for diagnosis."


def reply(text: str = "Here is the liver and a cyst.", **change: Any) -> dict[str, Any]:
    entities = [
        {"phrase": "liver", "span": [12, 17], "label": 1, "score": 0.9, "status": "shown", "volume_mm3": 20.0},
        {"phrase": "cyst", "span": [24, 28], "label": 2, "score": 0.4, "status": "uncertain", "volume_mm3": None},
    ]
    said = {
        "answer": text,
        "entities": entities,
        "warnings": ["uncertain: cyst (score 0.40)", "1 of the prompts lie on other slices and were not used"],
        "notes": ["the sform is odd"],
        "notice": NOTICE,
        "model": {"name": "MIMO", "hash": "0"},
    }
    return {**said, **change}


def labels() -> np.ndarray:
    voxels = np.zeros(GRID.shape, np.uint8)
    voxels[1:4, 1:3, 1] = 1
    voxels[1, 1, 2] = 1
    voxels[4, 4, 3] = 2
    return voxels


def answer() -> Answer:
    return read_answer("What is it?", reply(), (labels(), GRID), GRID)


def words(markup: str) -> str:
    return unescape(re.sub("<[^>]*>", "", markup))


def test_a_reply_becomes_phrases_with_masks() -> None:
    liver, cyst = answer().entities
    np.testing.assert_array_equal(liver.mask.voxels(), labels() == 1)
    assert liver.ml == pytest.approx(7 * 2 * 2 * 2.5 / 1000)
    assert liver.middle == (2, 1.5, 1)
    assert (cyst.uncertain, cyst.ml) == (True, None)


def test_what_is_uncertain_is_said_once() -> None:
    shown = words(html(answer()))
    assert shown.count("uncertain") == 1
    assert shown.count("other slices") == shown.count("the sform is odd") == shown.count(NOTICE) == 1


@given(st.text(max_size=30), st.lists(st.tuples(st.integers(-2, 32), st.integers(-2, 32)), max_size=4))
@settings(max_examples=100, deadline=None)
def test_the_text_is_shown_as_it_is(text: str, spans: list[tuple[int, int]]) -> None:
    """Whatever is in it, and wherever the phrases are said to be."""
    entities = [
        {"phrase": "p", "span": list(s), "label": n, "score": 1, "status": "shown"} for n, s in enumerate(spans, 1)
    ]
    said = read_answer("", reply(text, entities=entities, warnings=[], notes=[], notice=""), None, GRID)
    first, _, _ = html(said).partition("</p>")
    if text:
        assert unescape(re.sub("</?(a|p)[^>]*>", "", first)) == text
    assert "<script" not in html(replace(said, text="<script>", lines=("<script>",)))


def test_phrases_have_the_colours_of_their_segments() -> None:
    shown = html(answer())
    assert re.findall(r'mimo:show/(\d)" style="background-color:(#\w+)', shown)[:2] == [
        ("0", "#e69f00"),
        ("1", "#56b4e9"),
    ]
    assert [tuple(round(255 * c) for c in s.color) for s in proposed(answer())] == list(COLORS[:2])
    assert list(COLORS) == phrase_colors(len(COLORS))


def test_letters_can_be_read_on_the_colours() -> None:
    """With the contrast of 4.5 that WCAG's level AA asks for."""

    def luminance(rgb: Any) -> float:
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
        return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))

    many = [{"phrase": "p", "span": None, "label": n + 1, "score": 1, "status": "shown"} for n in range(len(COLORS))]
    shown = html(read_answer("", reply("", entities=many), None, GRID))
    for ground, ink in re.findall(r"background-color:#(\w+); color:#(\w+)", shown):
        low, high = sorted(luminance(bytes.fromhex(c)) for c in (ground, ink))
        assert (high + 0.05) / (low + 0.05) > 4.5, ground


def test_a_mask_of_another_place_is_not_shown() -> None:
    with pytest.raises(MimoError, match="does not lie"):
        read_answer("", reply(), (labels(), Grid(GRID.shape, np.eye(4))), GRID)


@pytest.mark.parametrize("change", [{"entities": None}, {"entities": [{}]}, {"answer": None}, {"model": None}])
def test_a_reply_of_another_form_is_said(change: dict[str, Any]) -> None:
    said = reply(**change)
    if change.get("answer", 0) is None or change.get("model", 0) is None:
        del said[next(iter(change))]
    with pytest.raises(MimoError, match="does not understand"):
        read_answer("", said, None, GRID)


def test_links_ask_for_what_there_is() -> None:
    assert link("mimo:accept/1", answer()) == ("accept", 1)
    for text in ("mimo:accept/2", "mimo:delete/0", "mimo:show/-1", "mimo:show/", "https://example.org/0"):
        assert link(text, answer()) is None
    assert link("mimo:show/0", None) is None


def test_accepting_joins_segments_of_one_name() -> None:
    before = (Segment("liver", (1, 0, 0), Mask.of(labels() == 2)),)
    [after] = accepted(before, answer(), 0)
    np.testing.assert_array_equal(after.mask.voxels(), labels() > 0)
    assert after.color == (1, 0, 0)
    assert [s.name for s in accepted(before, answer(), 1)] == ["liver", "cyst"]


def test_decided_phrases_are_not_proposed_again() -> None:
    said = decided(answer(), 0, "rejected")
    assert [s.name for s in proposed(said)] == ["cyst"]
    assert said.open == [1]
    assert "rejected" in html(said)


@given(st.lists(st.sampled_from(["step", "undo", "redo"]), max_size=40))
@settings(max_examples=100, deadline=None)
def test_undo_equals_never_having_done_it(actions: list[str]) -> None:
    """Against a list of states and a place in it."""
    history, states, at = History(), [State()], 0
    current = states[0]
    for number, action in enumerate(actions):
        if action == "step":
            history.step(current)
            current = State(Marks(positive=((number, 0.0, 0.0),)))
            states, at = [*states[: at + 1], current], at + 1
        elif action == "undo":
            current, at = history.undo(current), max(at - 1, 0)
        else:
            current, at = history.redo(current), min(at + 1, len(states) - 1)
        assert current == states[at]
        assert (history.can_undo, history.can_redo) == (at > 0, at < len(states) - 1)


def test_history_is_bounded() -> None:
    history = History()
    for _ in range(MOST + 10):
        history.step(State())
    count = 0
    while history.can_undo:
        history.undo(State())
        count += 1
    assert count == MOST


def test_what_a_request_holds() -> None:
    inside = np.zeros(GRID.shape, bool)
    inside[1, 2, 3] = inside[2, 2, 3] = True
    box = tuple(tuple(GRID.ras(v)) for v in ((0, 0, 1), (3, 3, 2)))
    marks = Marks((tuple(GRID.ras((1, 1, 1))),), (tuple(GRID.ras((5, 4, 3))),), box, Mask.of(inside), None)
    assert request(SLICE, " What? ", marks, GRID, GRID.ras((0, 0, 9))) == {
        "foreground": [[1, 1, 1]],
        "background": [[5, 4, 3]],
        "question": "What?",
        "bbox": [0, 0, 1, 4, 4, 3],
        "foreground_scribble": [[1, 2, 3], [2, 2, 3]],
        "slice": [0, 0, 3],
    }
    assert "question" not in request(VOLUME, "What?", marks, GRID, None)
    assert request(NAMES, "liver, ,spleen", marks, GRID, None) == {"label": ["liver", "spleen"]}


@pytest.mark.parametrize(
    ("task", "marks", "said"),
    [
        (SLICE, Marks(), "Type a question"),
        (VOLUME, Marks(negative=((0.0, 0.0, 0.0),)), "Mark what you mean"),
        (SLICE, Marks(box=((90.0, 0, 0), (99, 9, 9))), "The box lies outside"),
        (SLICE, Marks(inside=Mask.of(np.ones((2, 2, 2), bool))), "another volume"),
    ],
)
def test_what_cannot_be_asked(task: str, marks: Marks, said: str) -> None:
    with pytest.raises(MimoError, match=said):
        request(task, "", marks, GRID, None)


def test_a_scribble_that_is_an_area_is_refused() -> None:
    side = int(MOST_PAINTED ** (1 / 3)) + 1
    large = Grid((side, side, side), np.eye(4))
    with pytest.raises(MimoError, match="Paint a thin line"):
        request(SLICE, "", Marks(inside=Mask.of(np.ones(large.shape, bool))), large, None)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, '{"detail": "slice: found 9, expected 0 to 4"}', "slice: found 9, expected 0 to 4"),
        (422, '{"detail": [{"msg": "Field required"}]}', "Field required"),
        (500, '{"detail": "Traceback (most recent call last)"}', "error 500"),
        (500, '{"detail": "KeyError"}', "error 500"),
        (503, '{"detail": "weights: found none"}', "weights: found none"),
        (404, "<html>", "does not know"),
        (401, "{}", "login"),
        (502, "[]", "error 502"),
        (400, '{"detail": {"a": 1}}', "error 400"),
    ],
)
def test_errors_are_sentences(status: int, body: str, said: str) -> None:
    assert said in sentence_of(status, body)
