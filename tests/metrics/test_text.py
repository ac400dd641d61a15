"""Text metrics against their definitions, published questions, and measured ones beside always saying one thing."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np
import pytest

from monai_mimo.metrics import (
    MeasuredAnswer,
    closed_right,
    measured_accuracy,
    measured_answer,
    open_recall,
    text_metrics,
)
from monai_mimo.metrics.text import words


def test_identical_texts_are_perfect() -> None:
    texts = ["This is the left kidney, which filters blood.", "There is no tumor in this image."]
    result = text_metrics(texts, texts)
    assert result is not None
    assert (round(result["bleu"], 6), result["rouge_l"], result["samples"]) == (100, 1, 2)
    assert "tok:13a" in result["signature"]


def test_by_hand() -> None:
    answer, reference = "the liver lies right of the stomach", "the liver lies below the right lung"
    result = text_metrics([answer], [reference])
    assert result is not None
    # longest common subsequence: "the liver lies right" (or "the"), of 7 words each
    assert result["rouge_l"] == pytest.approx(4 / 7)
    # of unigrams 5 of 7 (the, liver, lies, right, the), bigrams 2 of 6, trigrams 1 of 5, and none of 4 four-grams, which
    # counts as 1 / (2 * 4)
    expected = math.exp((math.log(5 / 7) + math.log(2 / 6) + math.log(1 / 5) + math.log(1 / 8)) / 4)
    assert result["bleu"] == pytest.approx(100 * expected)


def test_nothing_to_compare() -> None:
    result = text_metrics([], [])
    assert result is not None
    assert math.isnan(result["bleu"])


def test_without_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("sacrebleu"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert text_metrics(["a"], ["a"]) is None


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


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("Yes, it is enlarged.", "yes", True),
        ("No.", "Yes", False),
        ("The heart looks normal.", "no", False),  # "no" is not a word of it
        ("There is no fracture, yes.", "no", True),  # the first decides
        ("", "no", False),
        ("It lies in the left lung, below.", "Left Lung", True),
        ("It lies in the lung at the left.", "left lung", False),
        ("An axial plane.", "axial", True),
        ("two", "2", True),
        ("anything", "the", False),  # nothing is left to be said
    ],
)
def test_closed(answer: str, reference: str, right: bool) -> None:
    assert closed_right(answer, reference) is right


@pytest.mark.parametrize(
    ("answer", "reference", "recall"),
    [
        ("The left lower lobe", "left upper lobe", 2 / 3),
        ("lobe lobe lobe", "left lobe", 3 / 4),  # as published: each time a word is said counts
        ("", "left lobe", 0),
        ("spleen", "liver", 0),
        ("An MRI, T1-weighted", "mri t1 weighted", 1),
        ("one nodule", "1 nodule", 1),
    ],
)
def test_open(answer: str, reference: str, recall: float) -> None:
    assert open_recall(answer, reference) == pytest.approx(recall)


def test_open_recall_equals_the_formula() -> None:
    rng = np.random.default_rng(0)
    vocabulary = ["liver", "left", "lobe", "mass", "edema", "small"]
    for _ in range(200):
        said, expected = ([vocabulary[i] for i in rng.integers(0, 6, rng.integers(1, 7))] for _ in range(2))
        tp = sum(said.count(word) for word in set(said) & set(expected))
        fn = sum(expected.count(word) for word in set(expected) - set(said))
        assert open_recall(" ".join(said), " ".join(expected)) == pytest.approx(tp / (tp + fn))


def test_words() -> None:
    assert " ".join(words("The X-ray shows two nodules (1.5 cm), don't it?")) == "x ray shows 2 nodules 1.5 cm dont it"
    assert words("1,000 cells") == ["1000", "cells"]
