"""Calibration against closed forms and a brute-force version."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from monai_mimo.metrics.calibration import apply_temperature, fit_temperature, is_correct, reliability


def test_one_bin_by_hand() -> None:
    result = reliability([0.62, 0.68, 0.15], [True, False, False])
    assert result.count == [0, 1, 0, 0, 0, 0, 2, 0, 0, 0]
    assert result.score[6] == pytest.approx(0.65)
    assert result.correct[6] == pytest.approx(0.5)
    assert result.ece == pytest.approx(2 / 3 * 0.15 + 1 / 3 * 0.15)
    assert result.brier == pytest.approx((0.38**2 + 0.68**2 + 0.15**2) / 3)


def test_ece_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    scores, correct = rng.random(500), rng.random(500) < 0.4
    expected = 0.0
    for k in range(7):
        inside = [i for i, s in enumerate(scores) if k / 7 <= s < (k + 1) / 7]
        if inside:
            expected += abs(sum(scores[i] for i in inside) - sum(correct[i] for i in inside)) / 500
    assert reliability(scores, correct, bins=7).ece == pytest.approx(expected)


def test_scores_that_say_the_truth_are_calibrated() -> None:
    rng = np.random.default_rng(2)
    scores = rng.random(40_000)
    assert reliability(scores, rng.random(40_000) < scores).ece < 0.01


def test_ends_and_emptiness() -> None:
    assert reliability([0.0, 1.0], [False, True]).ece == 0
    empty = reliability([], [])
    assert math.isnan(empty.ece)
    assert sum(empty.count) == 0
    assert is_correct([0.5, 0.51]).tolist() == [False, True]


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found_again(true: float) -> None:
    rng = np.random.default_rng(3)
    honest = rng.beta(2, 2, 60_000)
    correct = rng.random(60_000) < honest
    shown = apply_temperature(honest, 1 / true)  # too sure by that temperature
    found = fit_temperature(shown, correct)
    assert found == pytest.approx(true, rel=0.03)
    assert reliability(apply_temperature(shown, found), correct).ece < 0.01


def test_the_fit_is_the_most_likely_one() -> None:
    rng = np.random.default_rng(4)
    scores, correct = rng.random(300), rng.random(300) < 0.6

    def loss(t: np.ndarray) -> float:
        p = 1 / (1 + (1 / scores - 1) ** (1 / t[0]))
        return -np.where(correct, np.log(p), np.log(1 - p)).sum()

    independent = minimize(loss, [1.0], method="Nelder-Mead", options={"xatol": 1e-6}).x[0]
    assert fit_temperature(scores, correct) == pytest.approx(independent, rel=1e-3)


def test_nothing_to_learn_from() -> None:
    assert fit_temperature([], []) == fit_temperature([0.4], [True]) == fit_temperature([0.4, 0.9], [False] * 2) == 1.0


def test_order_and_middle_stay() -> None:
    scores = np.array([0.0, 0.2, 0.5, 0.9, 1.0])
    warmer = apply_temperature(scores, 3.0)
    assert (np.diff(warmer) > 0).all()
    assert warmer[2] == pytest.approx(0.5)
    np.testing.assert_allclose(apply_temperature(scores, 1.0), scores, atol=1e-5)
