"""MIMO's grounding F1, with Dice, IoU and phrase accuracy, by perspective, modality and source."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ignite.distributed as idist
import torch.distributed as dist
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced

from ..mimoseg.categories import MEASURED, MODALITIES, NUMERALS, PERSPECTIVES
from .matching import Grounded, match_pairs, match_phrases, normalise_phrase

FIELDS = (
    "samples",
    "predicted",  # A, phrases in the answers
    "reference",  # B, phrases in the references
    "correct",  # E, pairs with the same phrase and IoU > 0.5
    "paired",  # pairs with the same phrase
    "iou",  # summed over them
    "dice",
    "phrases_right",  # samples that name just what the reference names
    "refusals",  # samples whose reference grounds nothing
    "refused",  # of them, those whose answer grounds nothing
)


@dataclass
class Reference(Grounded):
    """What a sample expects, and the cell of the table that it counts in."""

    perspective: int = 1
    modality: str = "CT"
    source: str = ""


@dataclass(frozen=True)
class SampleCounts:
    """What one sample adds to each cell of the table that it counts in: a number for each of `FIELDS`."""

    perspective: int
    modality: str
    source: str
    values: dict[str, float]


def count_sample(predicted: Grounded, reference: Reference) -> dict[str, float]:
    """The `FIELDS` of one sample. One that could not be answered (`predicted.failed`) has said nothing, and is never right."""
    pairs = match_phrases(predicted, reference)
    found = Counter(normalise_phrase(p) for p in predicted.phrases)
    wanted = Counter(normalise_phrase(p) for p in reference.phrases)
    return {
        "samples": 1,
        "predicted": len(predicted.phrases),
        "reference": len(reference.phrases),
        "correct": len(match_pairs(predicted, reference)),
        "paired": len(pairs),
        "iou": sum(iou for iou, _ in pairs),
        "dice": sum(dice for _, dice in pairs),
        "phrases_right": int(found == wanted and not predicted.failed),
        "refusals": int(not wanted),
        "refused": int(not wanted and not found and not predicted.failed),
    }


class GroundingMetric(Metric):
    """An Ignite metric over (predictions, references), two lists with one entry for each sample.

    `compute` gives the table of `grounding_table`. What each sample counts is gathered from all processes and then summed
    with exact rounding, so that several processes give what one gives, to the last digit.
    """

    _state_dict_all_req_keys = ("_counts",)

    @reinit__is_reduced
    def reset(self) -> None:
        self._counts: list[SampleCounts] = []

    @reinit__is_reduced
    def update(self, output: tuple[Sequence[Grounded], Sequence[Reference]]) -> None:
        for predicted, reference in zip(*output):
            if reference.perspective in PERSPECTIVES:  # not VQA, which grounds nothing
                cell = reference.perspective, reference.modality, reference.source
                self._counts.append(SampleCounts(*cell, count_sample(predicted, reference)))

    def compute(self) -> dict[str, dict[str, float]]:
        return grounding_table(gather(self._counts))


def grounding_table(samples: Sequence[SampleCounts]) -> dict[str, dict[str, float]]:
    """A table "overall", "perspective I", "CT", "CT, perspective I", "source KiTS", ... with, for each,

    - precision E / A, recall E / B and f1, their harmonic mean, over all phrases of the cell (micro average): A phrases
      predicted, B expected, E correct one-to-one pairs. With A = B = 0 there was nothing to say and nothing was said: all
      three are 1. With only one of them 0, all three are 0.
    - dice, iou: mean over pairs with the same phrase, whatever their overlap; nan without any.
    - dice_all: the same, where an expected phrase that was not answered counts 0.
    - phrase_accuracy: samples whose answer grounds exactly the expected phrases.
    - refusal_accuracy: of samples that expect nothing to be grounded, those where nothing was; nan without any.
    - samples: how many.

    Questions of perspective V are counted apart, in "perspective V" and "CT, perspective V", and in no other cell.
    """
    cells: dict[str, list[SampleCounts]] = {}
    for sample in samples:
        for name in cells_of(sample.perspective, sample.modality, sample.source):
            cells.setdefault(name, []).append(sample)
    names = ["overall", *sorted(cells.keys() - {"overall"}, key=_order)]
    return {name: grounding_figures(add_up(cells.get(name, []))) for name in names}


def cells_of(perspective: int, modality: str, source: str = "") -> list[str]:
    """The cells of the table that a sample counts in."""
    named = perspective_name(perspective)
    if perspective == MEASURED:
        return [named, f"{modality}, {named}"]
    cells = ["overall", named, modality, f"{modality}, {named}"]
    return [*cells, f"source {source}"] if source else cells


def _order(name: str) -> tuple[int, int, str, str]:
    """Perspectives, then modalities in their order with their perspectives below them, then sources."""
    if name.startswith("source "):
        return 2, 0, "", name
    modality = name.partition(", ")[0]
    known = MODALITIES.index(modality) if modality in MODALITIES else len(MODALITIES)
    # "I" < "II" < "III" < "IV" as texts, too
    return (0, 0, "", name) if name.startswith("perspective ") else (1, known, modality, name)


def add_up(samples: Sequence[SampleCounts]) -> dict[str, float]:
    """The sum of each field, rounded once, so that the order of the samples does not matter."""
    return {field: math.fsum(sample.values[field] for sample in samples) for field in FIELDS}


def perspective_name(perspective: int) -> str:
    """1 -> "perspective I"; 0 -> "VQA"."""
    return f"perspective {NUMERALS[perspective]}" if perspective else NUMERALS[0]


def grounding_figures(s: Mapping[str, float]) -> dict[str, Any]:
    """The figures of a cell from the sums of its `FIELDS`."""
    said, expected = s["predicted"], s["reference"]
    if said == expected == 0:
        precision = recall = f1 = 1.0
    else:
        precision = s["correct"] / said if said and expected else 0.0
        recall = s["correct"] / expected if said and expected else 0.0
        f1 = 2 * s["correct"] / (said + expected) if said and expected else 0.0
    return {
        "samples": int(s["samples"]),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "dice": _ratio(s["dice"], s["paired"]),
        "iou": _ratio(s["iou"], s["paired"]),
        "dice_all": _ratio(s["dice"], expected),
        "phrase_accuracy": _ratio(s["phrases_right"], s["samples"]),
        "refusal_accuracy": _ratio(s["refused"], s["refusals"]),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


T = TypeVar("T")


def gather(part: list[T]) -> list[T]:
    """The lists of all processes, one after the other by rank; every process must call it. Alone: the list itself."""
    count = idist.get_world_size()
    if count == 1:
        return part
    parts: list[list[T]] = [[] for _ in range(count)]
    dist.all_gather_object(parts, part)
    return [value for values in parts for value in values]
