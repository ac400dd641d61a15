"""Models that refuse all, nothing, or the right things."""

from __future__ import annotations

import math

import pytest

from monai_mimo.metrics import NamingQuestion, absent_entities

ASKED = [(["tumor"], []), (["tumor"], ["liver"]), ([], ["spleen"]), ([], ["liver", "spleen"])]


def run(*answers: list[str] | None) -> dict:
    return absent_entities(NamingQuestion(*asked, answer) for asked, answer in zip(ASKED, answers))


def test_a_model_that_is_right() -> None:
    result = run([], ["liver"], ["the Spleen"], ["liver"])
    assert result == {"entities": 2, "refused": 1, "questions": 3, "found": 1, "balanced": 1}


@pytest.mark.parametrize(
    ("answers", "refused", "found"),
    [
        (([], [], [], []), 1, 0),
        ((["tumor"], ["tumor", "liver"], ["spleen"], ["liver", "spleen"]), 0, 1),
        ((None, None, None, None), 0, 0),  # could not be answered
    ],
)
def test_models_that_refuse_all_nothing_or_fail(answers: tuple, refused: float, found: float) -> None:
    result = run(*answers)
    assert (result["refused"], result["found"]) == (refused, found)
    assert result["balanced"] == (refused + found) / 2


def test_nothing_asked() -> None:
    assert math.isnan(absent_entities([])["balanced"])
