"""Confidence intervals: the percentile bootstrap over patients (Efron and Tibshirani, 1993)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVEL, RESAMPLES = 0.95, 1000
AT_ONCE = 10_000_000  # draws that are held in memory


def bootstrap_ratios(
    parts: np.ndarray,
    wholes: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> np.ndarray:
    """Intervals [K, 2] of K figures, each the ratio of two sums over patients.

    Patients, not questions, are drawn again with replacement, since the questions about one patient are not independent.

    Args:
        parts, wholes: [P, K], what each of P patients adds to the numerator and denominator of each figure.
        level: of confidence; the interval is that between the quantiles (1 - level) / 2 and (1 + level) / 2.

    Returns:
        nan for a figure of fewer than two patients, or whose denominator is always 0; resamples where it is 0 are left out.
    """
    patients, figures = parts.shape
    out = np.full((figures, 2), np.nan)
    if patients < 2:
        return out
    rng = np.random.default_rng(seed)
    rows = max(1, AT_ONCE // patients)
    ratios = []
    for start in range(0, resamples, rows):
        drawn = rng.integers(0, patients, (min(rows, resamples - start), patients))
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios.append(parts[drawn].sum(axis=1) / wholes[drawn].sum(axis=1))
    values = np.concatenate(ratios)
    for figure in range(figures):
        finite = values[np.isfinite(values[:, figure]), figure]
        if len(finite):
            out[figure] = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return out


def sums_by_patient(patients: Sequence[str], values: np.ndarray) -> np.ndarray:
    """values [n, K] of questions, added up for each patient: [P, K], patients in the order of their names."""
    names, place = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    out = np.zeros((len(names), values.shape[1]))
    np.add.at(out, place, values)
    return out
