"""Does a score mean what it says? Reliability of `score` against IoU, expected calibration error, temperature scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .matching import IOU_THRESHOLD

BINS = 10
EDGE = 1e-6  # scores of exactly 0 or 1 have no finite logit
LOWEST, HIGHEST = 0.01, 100.0  # temperatures that are tried


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: of each bin of scores how many there are, their mean score, and how many of them are right.

    Attributes:
        count, score, correct: [bins]; the mean score and the fraction that is right are nan in an empty bin.
        ece: the expected calibration error, sum of count / n * |score - correct| (Guo et al., On calibration of modern neural
            networks, ICML 2017); nan without any score.
        brier: mean of (score - right)^2.
    """

    count: list[int]
    score: list[float]
    correct: list[float]
    ece: float
    brier: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def is_correct(ious: Sequence[float]) -> np.ndarray:
    """bool [n]: IoU above the threshold of the grounding F1."""
    return np.asarray(ious, dtype=float) > IOU_THRESHOLD


def reliability(scores: Sequence[float], correct: Sequence[bool], bins: int = BINS) -> Reliability:
    """Compare scores in 0..1 with what was right, in bins of equal width [0, 1/bins), ..., [1 - 1/bins, 1].

    Args:
        scores: [n], one for each answered phrase.
        correct: [n], whether it was right: `is_correct` of the IoU of its mask, 0 where the phrase was not expected.
    """
    score, right = np.asarray(scores, dtype=float), np.asarray(correct, dtype=float)
    place = np.minimum((score * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_score = np.bincount(place, score, minlength=bins) / count
        mean_right = np.bincount(place, right, minlength=bins) / count
    if len(score) == 0:
        ece = brier = float("nan")
    else:
        ece = float(np.nansum(count / len(score) * np.abs(mean_score - mean_right)))
        brier = float(np.mean((score - right) ** 2))
    return Reliability(count.tolist(), mean_score.tolist(), mean_right.tolist(), ece, brier)


def fit_temperature(scores: Sequence[float], correct: Sequence[bool]) -> float:
    """The temperature T whose `apply_temperature` makes `correct` most likely. Fit it on a split that is not reported.

    T > 1 says that the scores were too sure. 1 (nothing changes) when there is nothing to learn from: no score, or all right,
    or all wrong, where no finite T is best.
    """
    right = np.asarray(correct, dtype=bool)
    if right.all() or not right.any():
        return 1.0
    from scipy.optimize import minimize_scalar  # slow to import, and not needed to apply a temperature

    logits = _logit(scores)
    sign = np.where(right, 1.0, -1.0)

    def loss(log_temperature: float) -> float:  # mean of -log(probability of what happened)
        return float(np.logaddexp(0, -sign * logits / np.exp(log_temperature)).mean())

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x))


def apply_temperature(scores: Sequence[float], temperature: float) -> np.ndarray:
    """sigmoid(logit(score) / T), [n]: the order of scores stays, and 0.5 stays 0.5."""
    return 1 / (1 + np.exp(-_logit(scores) / temperature))


def _logit(scores: Sequence[float]) -> np.ndarray:
    clipped = np.clip(np.asarray(scores, dtype=float), EDGE, 1 - EDGE)
    return np.log(clipped) - np.log1p(-clipped)
