"""MIMO's grounding F1, with Dice, IoU and phrase accuracy, by modality and perspective."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce

from ..mimoseg.cases import MODALITIES
from .matching import Grounded, match_pairs, match_phrases
from .phrases import normalise_phrase

PERSPECTIVES = (1, 2, 3, 4)
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


class GroundingMetric(Metric):
    """An Ignite metric over (predictions, references), two lists with one entry for each sample.

    `compute` gives a table: "overall", "perspective I", "CT", "CT, perspective I", ... each with

    - precision E / A, recall E / B and f1, their harmonic mean, over all phrases of the cell (micro average): A phrases
      predicted, B expected, E correct one-to-one pairs. With A = B = 0 there was nothing to say and nothing was said: all
      three are 1. With only one of them 0, all three are 0.
    - dice, iou: mean over pairs with the same phrase, whatever their overlap; nan without any.
    - dice_all: the same, where an expected phrase that was not answered counts 0.
    - phrase_accuracy: samples whose answer grounds exactly the expected phrases.
    - refusal_accuracy: of samples that expect nothing to be grounded, those where nothing was; nan without any.
    - samples: how many.

    Sums are float64 and counts are exact, so that several processes give what one gives.
    """

    _state_dict_all_req_keys = ("_sums",)

    @reinit__is_reduced
    def reset(self) -> None:
        self._sums = torch.zeros(len(PERSPECTIVES), len(MODALITIES), len(FIELDS), dtype=torch.float64)

    @reinit__is_reduced
    def update(self, output: tuple[Sequence[Grounded], Sequence[Reference]]) -> None:
        for predicted, reference in zip(*output):
            if reference.perspective not in PERSPECTIVES:  # VQA, which grounds nothing
                continue
            cell = self._sums[PERSPECTIVES.index(reference.perspective), MODALITIES.index(reference.modality)]
            pairs = match_phrases(predicted, reference)
            found = Counter(normalise_phrase(p) for p in predicted.phrases)
            wanted = Counter(normalise_phrase(p) for p in reference.phrases)
            values = {
                "samples": 1,
                "predicted": len(predicted.phrases),
                "reference": len(reference.phrases),
                "correct": len(match_pairs(predicted, reference)),
                "paired": len(pairs),
                "iou": sum(iou for iou, _ in pairs),
                "dice": sum(dice for _, dice in pairs),
                "phrases_right": found == wanted,
                "refusals": not wanted,
                "refused": not wanted and not found,
            }
            cell += torch.tensor([float(values[name]) for name in FIELDS], dtype=torch.float64)

    @sync_all_reduce("_sums")
    def compute(self) -> dict[str, dict[str, float]]:
        sums = self._sums
        table = {"overall": _summary(sums.sum(dim=(0, 1)))}
        for p, perspective in enumerate(PERSPECTIVES):
            table[perspective_name(perspective)] = _summary(sums[p].sum(dim=0))
        for m, modality in enumerate(MODALITIES):
            table[modality] = _summary(sums[:, m].sum(dim=0))
            for p, perspective in enumerate(PERSPECTIVES):
                table[f"{modality}, {perspective_name(perspective)}"] = _summary(sums[p, m])
        return {name: cell for name, cell in table.items() if cell["samples"] > 0 or name == "overall"}


def perspective_name(perspective: int) -> str:
    """1 -> "perspective I"; 0 -> "VQA"."""
    return f"perspective {('I', 'II', 'III', 'IV')[perspective - 1]}" if perspective else "VQA"


def _summary(sums: torch.Tensor) -> dict[str, Any]:
    s = dict(zip(FIELDS, sums.tolist()))
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
