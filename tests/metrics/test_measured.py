"""Accuracy of measured questions, beside always saying one thing, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from monai_mimo.metrics import MeasuredAnswer, measured_accuracy, measured_answer


def test_accuracy_and_majority_by_hand() -> None:
    answers = [
        measured_answer("present", "yes", "Yes, the liver is there."),
        measured_answer("present", "yes", "No, there is no liver in this image."),
        measured_answer("present", "yes", "The liver."),  # says neither
        measured_answer("present", "no", "No, I see no polyp."),
        measured_answer("count", "2", "There are 2 of them: <p> polyp </p> <SEG>."),
        measured_answer("count", "3", "I see 2 of them: polyp."),
    ]
    table = measured_accuracy(answers)
    assert list(table) == ["present", "count", "all"]
    assert table["present"] == {
        "samples": 4, "accuracy": 0.5, "unread": 1, "majority": 0.75, "majority_answer": "yes"
    }  # fmt: skip
    assert table["count"] == {"samples": 2, "accuracy": 0.5, "unread": 0, "majority": 0.5, "majority_answer": "2"}
    assert table["all"]["accuracy"] == 3 / 6
    assert table["all"]["majority"] == pytest.approx((3 + 1) / 6)


def test_no_constant_answer_beats_the_majority() -> None:
    """By brute force over the expected values; sizes count when they are close."""
    rng = np.random.default_rng(0)
    for kind, values in (
        ("quarter", ["upper left", "lower right", "lower left"]),
        ("area_percent", [f"{n / 4}" for n in range(4, 40)]),
    ):
        for _ in range(20):
            expected = rng.choice(values, 12).tolist()
            cell = measured_accuracy([MeasuredAnswer(kind, e, None) for e in expected])[kind]
            constant = {
                said: np.mean([MeasuredAnswer(kind, e, said).right for e in expected]) for said in set(expected)
            }
            assert cell["majority"] == max(constant.values()) == constant[cell["majority_answer"]]
            assert (cell["accuracy"], cell["unread"]) == (0, 12)


def test_nothing_asked() -> None:
    assert measured_accuracy([]) == {}
