"""Intervals against scipy's bootstrap and a closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from monai_mimo.metrics import bootstrap_ratios, sums_by_patient


def test_equals_scipys_percentile_bootstrap() -> None:
    rng = np.random.default_rng(5)
    wholes = rng.integers(1, 9, (40, 1)).astype(float)
    parts = np.floor(wholes * rng.random((40, 1)))
    [[low, high]] = bootstrap_ratios(parts, wholes, resamples=2000, seed=11)
    result = stats.bootstrap(
        (parts[:, 0], wholes[:, 0]),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=2000,
        method="percentile",
        random_state=np.random.default_rng(11),
    )
    # The draws differ in their order in memory, so this is equal up to what 2000 resamples leave open.
    spread = result.standard_error / np.sqrt(2000) * 6
    assert low == pytest.approx(result.confidence_interval.low, abs=spread)
    assert high == pytest.approx(result.confidence_interval.high, abs=spread)


def test_the_mean_of_yes_and_no_has_binomial_quantiles() -> None:
    n, right = 50, 15
    parts = np.r_[np.ones(right), np.zeros(n - right)][:, None]
    [[low, high]] = bootstrap_ratios(parts, np.ones((n, 1)), resamples=40_000, level=0.9)
    assert low * n == pytest.approx(stats.binom.ppf(0.05, n, right / n), abs=0.5)
    assert high * n == pytest.approx(stats.binom.ppf(0.95, n, right / n), abs=0.5)


def test_patients_are_drawn_and_not_questions() -> None:
    """Ten questions about each of 20 patients, all right or all wrong: as uncertain as 20 questions."""
    right = np.repeat(np.arange(20) % 2, 10)[:, None].astype(float)
    patients = [f"p{n}" for n in np.repeat(np.arange(20), 10)]
    parts, wholes = (sums_by_patient(patients, values) for values in (right, np.ones_like(right)))
    assert parts.shape == (20, 1)
    [[low, high]] = bootstrap_ratios(parts, wholes, resamples=20_000)
    [[naive_low, naive_high]] = bootstrap_ratios(right, np.ones_like(right), resamples=20_000)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 20), rel=0.1)
    assert naive_high - naive_low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 200), rel=0.1)


def test_patients_are_added_up_by_name_in_any_order() -> None:
    sums = sums_by_patient(["b", "a", "b"], np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    assert sums.tolist() == [[3, 4], [6, 8]]


def test_what_has_no_interval() -> None:
    assert np.isnan(bootstrap_ratios(np.ones((1, 2)), np.ones((1, 2)))).all()
    parts, wholes = np.array([[1.0, 0], [0, 0]]), np.array([[1.0, 0], [1, 0]])
    out = bootstrap_ratios(parts, wholes)
    assert np.isfinite(out[0]).all()
    assert np.isnan(out[1]).all()


def test_pieces_in_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    parts, wholes = rng.random((30, 3)), rng.random((30, 3)) + 1
    whole = bootstrap_ratios(parts, wholes)
    monkeypatch.setattr("monai_mimo.metrics.bootstrap.AT_ONCE", 30 * 7)
    np.testing.assert_allclose(bootstrap_ratios(parts, wholes), whole, atol=0.03)
