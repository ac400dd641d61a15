"""Does an answer follow its prompt?"""

from __future__ import annotations

import math

import pytest

from monai_mimo.metrics import prompt_swap_accuracy
from monai_mimo.metrics.obedience import PromptedAnswer


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
