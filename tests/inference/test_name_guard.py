"""Known names are found however they are typed, others are refused, and only what was asked for is grounded."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from monai_mimo.data.other_questions import held_out_names
from monai_mimo.inference import MimoPredictor
from monai_mimo.inference.answer import Entity
from monai_mimo.inference.name_guard import NameGuard
from monai_mimo.models.default_weights import SHIPPED

NAMES = {
    "liver": ("hepar",),
    "lung": (),
    "left kidney": (),
    "polyp": ("colonic polyp",),
    "anterior hippocampus": ("hippocampal head",),
    "posterior hippocampus": (),
}
GUARD = NameGuard(NAMES)
WAYS = (
    "Where is the {}?",
    "where are the {}",
    "Segment the {} in this image.",
    "Please outline {}.",
    "Can you find the {} here?",
    "Show me the {}.",
    "Is the {} visible, and where?",
    "Is there a {} in the scan?",
    "Delineate the {} on this picture.",
    "I need a mask of the {}.",
    "Mark every pixel that belongs to the {}.",
    "Point out the {} for me.",
    "find {}",
    "Find the {}, please.",
)


@pytest.mark.parametrize("way", WAYS)
def test_unknown_names_are_refused_and_known_ones_are_not(way: str) -> None:
    for name in ("pneumothorax", "optic disc", "teapot", "adrenal gland", "xqzzt"):
        assert GUARD.unknown(way.format(name)) == name
        assert name in GUARD.refusal(name)
    for name in (
        "liver",
        "lungs",
        "liverr",
        "hepar",
        "LIVER",
        "left kidney",
        "kidney",
        "hippocampus",
        "polpy",
        "colonic polyps",
    ):
        assert GUARD.unknown(way.format(name)) is None, name


@pytest.mark.parametrize(
    "question",
    [
        "Can you point out the organ that makes albumin?",
        "Where is the structure that forms memories?",
        "Which modality is this?",
        "What is the largest organ here?",
        "Find the one that lies on the left.",
        "Where are the lesions?",
    ],
)
def test_what_is_described_is_left_to_the_model(question: str) -> None:
    assert GUARD.unknown(question) is None


def test_an_answer_is_what_was_named_or_a_part_of_it() -> None:
    _, mentions = GUARD.read("Where are the lnug and the left kidney?")
    assert [m.canonical for m in mentions] == ["lung", "left kidney"]
    assert GUARD.fits("lung", mentions)
    assert GUARD.fits("left kidney", mentions)
    assert not GUARD.fits("liver", mentions)
    assert not GUARD.fits("right kidney", mentions)


@pytest.fixture(scope="module")
def lite() -> MimoPredictor:
    predictor = MimoPredictor.from_pretrained(SHIPPED / "lite")
    rows, columns = np.mgrid[:128, :128]
    lungs = ((rows - 64) / 40) ** 2 + ((abs(columns - 64) - 28) / 18) ** 2 < 1
    pixels = np.where(lungs, 40, 150).astype(np.uint8)
    predictor.set_image(np.asarray(Image.fromarray(pixels).convert("RGB")))
    return predictor


def test_the_shipped_weights_ground_no_name_that_they_do_not_know(lite: MimoPredictor) -> None:
    for name in held_out_names():
        if lite.names is not None and not lite.names.known.find(name):
            assert lite.ask(f"Where is the {name}?").entities == [], name


def test_the_shipped_weights_read_a_typing_error(lite: MimoPredictor) -> None:
    assert lite.ask("Where is the lnug?").text == lite.ask("Where is the lung?").text


def test_what_was_not_asked_for_is_not_grounded(lite: MimoPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Entity("liver", (8, 13), np.ones((128, 128), dtype=bool), 0.9, np.ones((64, 64), dtype=np.float32))
    monkeypatch.setattr("monai_mimo.inference.predictor.ground", lambda *_: [("This is liver.", [wrong])])
    answer = lite.ask("Where is the polyp?")
    assert answer.entities == []
    assert "polyp" in answer.text
    assert lite.ask("What is at <point>?", points=[(5, 5)]).entities  # a prompt asks for what is there


LIVER, POLYP = "Where is the liver?", "Where is the polyp?"


@pytest.mark.parametrize(
    ("question", "answer", "alone"),
    [
        ("Outline the liver and the polyps.", "I found the polyp, but no polyp.", [LIVER, POLYP]),
        ("Outline the liver and the polyps.", "I cannot find any polyp here.", [LIVER, POLYP]),
        ("Outline the liver and the polyps.", "Here are a polyp and the liver.", []),
        ("Outline the liver and the hepar.", "Here is the liver.", []),  # one thing, named twice
        ("Outline the liver.", "Here is the polyp.", [LIVER]),
        (LIVER, "Here is the polyp.", []),
        ("What does the liver do?", "It makes bile.", []),
        ("Which is larger, the liver or the polyp?", "The liver is larger than the polyp.", []),
        ("Which is larger, the liver or the polyp?", "The liver is larger than the liver.", [LIVER, POLYP]),
    ],
)
def test_names_that_an_answer_leaves_out_are_asked_for_alone(question: str, answer: str, alone: list[str]) -> None:
    assert GUARD.asked_alone(question, answer) == alone


def test_what_masks_cannot_tell_is_asked_name_by_name() -> None:
    assert GUARD.unjudged("Is the liver larger than normal, and the lung?") == [
        "Where is the liver?",
        "Where is the lung?",
    ]
    assert GUARD.unjudged("Is the liver visible here?") == []
    assert GUARD.unjudged("Where is the liver?") == []


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("Where is the hippocampus?", ["anterior hippocampus", "posterior hippocampus"]),
        ("Show me the kidneys", ["left kidney"]),
        ("Where is the left kidney?", []),
        ("Where are the liver and the lung?", []),
        ("How many kidneys are there?", []),
    ],
)
def test_parts_end_in_the_words_that_are_asked_for(question: str, parts: list[str]) -> None:
    assert GUARD.parts(question)[1] == parts
