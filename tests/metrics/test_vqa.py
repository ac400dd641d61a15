"""Closed accuracy and open recall, by hand and by a plain version of the published formula."""

from __future__ import annotations

import numpy as np
import pytest

from monai_mimo.metrics import closed_right, open_recall
from monai_mimo.metrics.text import words


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
