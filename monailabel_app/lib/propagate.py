"""Propagation of a mask from slice to slice: the mask of one slice is the prompt of the next.

On each next slice two questions go to the model in one batch: what the box around the last mask holds, and to segment the
structure by its name. Of all masks that come back, only the parts that touch the last mask count, and the one that fits it
best, by overlap times score, is taken. Propagation stops, in each direction, where nothing of that name is found, where the
best mask scores too low, or where its area changes too much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import label as components

from monai_mimo.inference import Answer
from monai_mimo.mimoseg.catalogue.vocabulary import standard_name
from monai_mimo.mimoseg.questions.templates import listed
from monai_mimo.transforms.prompts import tight_box

from .engine import AnyQuestion, Engine
from .model import Model
from .study_image import StudyImage


@dataclass(frozen=True)
class StopRules:
    """When propagation stops.

    Attributes:
        score: the least score of a mask.
        overlap: the least share of the smaller of two neighbouring masks that lies in the other.
        growth: the largest ratio of the areas of two neighbouring masks.
        area: the least area in pixels.
        margin: of the box around the last mask, as a share of its sides.
    """

    score: float = 0.3
    overlap: float = 0.2
    growth: float = 4.0
    area: int = 4
    margin: float = 0.05


@dataclass
class Propagated:
    """Masks bool [h, w] by slice, without the first; their scores; why it stopped "before" and "after" the first slice."""

    masks: dict[int, np.ndarray] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    stopped: dict[str, str] = field(default_factory=dict)


def propagate(
    engine: Engine, model: Model, image: StudyImage, start: int, phrase: str, mask: np.ndarray, rules: StopRules
) -> Propagated:
    """Follow `phrase`, whose mask on slice `start` is known, both ways."""
    propagated = Propagated()
    for way, step in (("before", -1), ("after", 1)):
        last, number = mask, start
        while True:
            number += step
            if not 0 <= number < image.shown.n_slices:
                propagated.stopped[way] = "end of the volume"
                break
            found = list(_candidates(engine, model, image, number, phrase, last, rules))
            if not found:
                propagated.stopped[way] = "not found"
                break
            _, score, best = max(found, key=lambda candidate: candidate[0])
            reason = _reason(best, last, score, rules)
            if reason:
                propagated.stopped[way] = reason
                break
            propagated.masks[number], propagated.scores[number] = best, score
            last = best
    return propagated


def box_around(mask: np.ndarray, margin: float) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1), inclusive-exclusive, of a mask bool [h, w] that is not empty, a little larger, inside the image."""
    x0, y0, x1, y1 = tight_box(mask)
    dx, dy = round(margin * (x1 - x0)), round(margin * (y1 - y0))
    height, width = mask.shape
    return max(0, x0 - dx), max(0, y0 - dy), min(width, x1 + dx), min(height, y1 + dy)


def touching(mask: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The connected parts of `mask` that share a pixel with `last`."""
    parts, _ = components(mask)
    return np.isin(parts, np.setdiff1d(parts[last], 0))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """The share of the smaller mask that lies in the other; 0 where one is empty."""
    smaller = min(a.sum(), b.sum())
    return float((a & b).sum() / smaller) if smaller else 0.0


def is_called(phrase: str, name: str) -> bool:
    """Whether a phrase of an answer means `name`."""
    if phrase.casefold() == name.casefold():
        return True
    standard = standard_name(phrase)
    return standard is not None and standard == standard_name(name)


def _candidates(
    engine: Engine, model: Model, image: StudyImage, number: int, phrase: str, last: np.ndarray, rules: StopRules
) -> Iterator[tuple[float, float, np.ndarray]]:
    """(fit, score, mask) of each mask of that name."""
    questions: list[AnyQuestion] = [
        ("What does <box> hold?", [], [box_around(last, rules.margin)]),
        (f"Segment {listed([phrase])} in this image.", [], []),
    ]
    answers: list[Answer] = engine.ask(model, image, number, questions, prefetch=False)
    for answer in answers:
        for entity in answer.entities:
            if is_called(entity.phrase, phrase):
                mask = touching(entity.mask, last)
                if mask.any():
                    union = (mask | last).sum()
                    yield float((mask & last).sum() / union) * entity.score, entity.score, mask


def _reason(mask: np.ndarray, last: np.ndarray, score: float, rules: StopRules) -> str | None:
    """Why propagation stops here, or none."""
    area, before = int(mask.sum()), int(last.sum())
    if score < rules.score:
        return "score"
    if area < rules.area or not 1 / rules.growth <= area / before <= rules.growth:
        return "area"
    return "overlap" if overlap(mask, last) < rules.overlap else None
