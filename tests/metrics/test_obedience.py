"""Models that refuse all, nothing, or the right things; and whether an answer follows its prompt."""

from __future__ import annotations

import math

import pytest

from monai_mimo.metrics import NamingQuestion, absent_entities, prompt_swap_accuracy
from monai_mimo.metrics.obedience import PromptedAnswer

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


def test_counts_ordered_pairs_within_an_image() -> None:
    answers = [
        PromptedAnswer("a", "liver", "liver", True),
        PromptedAnswer("a", "spleen", "spleen", True),
        PromptedAnswer("a", "spleen", "liver", True),  # did not follow
        PromptedAnswer("b", "liver", "liver", True),  # nothing to pair with
    ]
    # To spleen from liver: right; to the wrong one: not; from each of the two to liver: right from spleen, but from the
    # one that already said "liver" nothing changed.
    result = prompt_swap_accuracy(answers)
    assert result.pairs == 4
    assert result.accuracy == pytest.approx(2 / 4)
    # From liver to the right spleen and back; and from the right spleen to liver, which the wrong one also said: that pair
    # and its reverse did not change.
    assert result.changed == pytest.approx(2 / 4)


def test_a_wrong_mask_does_not_count() -> None:
    answers = [PromptedAnswer("a", "liver", "liver", True), PromptedAnswer("a", "spleen", "spleen", False)]
    assert prompt_swap_accuracy(answers) == (0.5, 1.0, 2)


def test_nothing_to_compare() -> None:
    result = prompt_swap_accuracy([PromptedAnswer("a", "liver", "liver", True)] * 2)
    assert math.isnan(result.accuracy)
    assert result.pairs == 0
