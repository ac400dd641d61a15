"""What the benchmark of obedience computes from answers."""

from __future__ import annotations

import numpy as np
import pytest
from obey import Measured, dice, iou, next_click


def test_a_mean_is_of_sets_and_its_interval_of_patients() -> None:
    measured, rng = Measured(), np.random.default_rng(3)
    by_patient = rng.normal(0.6, 0.1, size=200)
    for patient, value in enumerate(by_patient):
        measured.patient = f"p{patient}"
        for _ in range(3):  # of one patient: they say no more than one
            measured.add("box", "a", value)
    measured.patient = "q"
    measured.add("box", "b", 0.2)
    measured.add("click", "b", 1)
    mean = measured.mean("box")
    assert mean.value == pytest.approx((by_patient.mean() + 0.2) / 2)
    assert mean.count == 601
    error = by_patient.std() / np.sqrt(200) / 2
    assert mean.low == pytest.approx(mean.value - 1.96 * error, abs=0.3 * error)
    assert mean.high == pytest.approx(mean.value + 1.96 * error, abs=0.3 * error)
    assert measured.mean("box", ["b"])[:3] == pytest.approx((0.2, 0.2, 0.2))
    assert measured.mean("scribble").count == 0


def test_the_next_click_lies_deepest_in_the_largest_error() -> None:
    wanted = np.zeros((40, 60), dtype=bool)
    wanted[5:20, 5:20] = True
    found = wanted.copy()
    found[10:14, 5:9] = False  # missing: 16 pixels
    found[25:34, 41:50] = True  # too much: 81 pixels
    assert next_click(found, wanted) == (45, 29, 0)
    found[25:34, 41:50] = False
    x, y, label = next_click(found, wanted)
    assert label == 1
    assert wanted[y, x]
    assert not found[y, x]
    assert next_click(wanted, wanted) is None


def test_overlaps() -> None:
    one, two = np.zeros((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool)
    one[:2], two[1:3] = True, True
    assert dice(one, two) == 0.5
    assert iou(one, two) == pytest.approx(1 / 3)
