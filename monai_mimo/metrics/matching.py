"""When two phrases are the same, and one-to-one pairs of predicted and reference phrases with masks."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

import numpy as np

ARTICLES = re.compile(r"^(the|a|an) ")
IOU_THRESHOLD = 0.5  # a pair is correct above it (MIMO's grounding F1)


def normalise_phrase(phrase: str) -> str:
    """Compatibility-composed Unicode, lower case, punctuation and runs of space as one space, no leading article.

    Applied to predictions and references alike.
    """
    words = re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", phrase).casefold()).strip()
    return ARTICLES.sub("", words)


@dataclass
class Grounded:
    """The n phrases of one answer, each with its mask bool [h, w]; `failed` when the question could not be answered."""

    phrases: list[str]
    masks: list[np.ndarray]
    failed: bool = field(default=False, kw_only=True)


def overlaps(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """(IoU, Dice) of two masks bool [h, w]; both are 1 for two empty masks."""
    both, either = int((a & b).sum()), int((a | b).sum())
    if either == 0:
        return 1.0, 1.0
    return both / either, 2 * both / (both + either)


def match_phrases(predicted: Grounded, reference: Grounded) -> list[tuple[float, float]]:
    """(IoU, Dice) of one-to-one pairs with the same phrase, as many as there can be and with the largest sum of IoU."""
    return list(_assign(predicted, reference, least_iou=-1.0).values())


def match_pairs(predicted: Grounded, reference: Grounded) -> list[tuple[float, float]]:
    """(IoU, Dice) of correct one-to-one pairs, as many as there can be: same phrase and IoU above `IOU_THRESHOLD`."""
    return list(_assign(predicted, reference, least_iou=IOU_THRESHOLD).values())


def predicted_ious(predicted: Grounded, reference: Grounded) -> list[float]:
    """The IoU of each predicted phrase with its partner of `match_phrases`, 0 without one."""
    pairs = _assign(predicted, reference, least_iou=-1.0)
    return [pairs[i][0] if i in pairs else 0.0 for i in range(len(predicted.phrases))]


def _assign(predicted: Grounded, reference: Grounded, least_iou: float) -> dict[int, tuple[float, float]]:
    """Predicted phrase -> (IoU, Dice) with its partner."""
    found = [normalise_phrase(p) for p in predicted.phrases]
    wanted = [normalise_phrase(p) for p in reference.phrases]
    scores = {
        (i, j): overlaps(predicted.masks[i], reference.masks[j])
        for i, a in enumerate(found)
        for j, b in enumerate(wanted)
        if a == b
    }
    gain = np.zeros((len(found), len(wanted)))
    most = min(gain.shape) + 1  # one more pair outweighs any sum of IoU
    for place, (iou, _) in scores.items():
        if iou > least_iou:
            gain[place] = most + iou
    from scipy.optimize import linear_sum_assignment  # slow to import, and a question needs no pairs

    rows, columns = linear_sum_assignment(gain, maximize=True)
    return {i: scores[i, j] for i, j in zip(rows.tolist(), columns.tolist()) if gain[i, j] > 0}
