"""From the raw output of `Mimo.answer` to the text and entities of each question; the predictor and the evaluator share it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..data.prompt_maps import RegionPrompts
from ..metrics.calibration import apply_temperature
from ..models import Answers, Mimo
from ..transforms.resize import SquareResize
from .answer import Entity, parse_answer
from .second_look import Seen, Sought, look_closer


def ground(
    model: Mimo,
    answers: Answers,
    resizes: list[SquareResize],
    temperature: float | None = None,
    images: Sequence[tuple[np.ndarray, RegionPrompts]] | None = None,
) -> list[tuple[str, list[Entity]]]:
    """Text and entities of each question; `resizes[q]` maps its image to the model's square.

    The score of an entity is the predicted IoU of its mask times the mean probability of its phrase's tokens; with a
    `temperature`, what `metrics.apply_temperature` makes of that. Evaluations fit the temperature, so theirs are without.

    Args:
        images: pixels uint8 [h, w, 3] of each question's image, and its prompts, for a second look at what is small.
    """
    row_of = {tuple(place): m for m, place in enumerate(answers.places.tolist())}
    results = []
    for question, ids in enumerate(answers.ids.tolist()):
        text, phrases = parse_answer(ids, model.tokenizer)
        grounded = [(p, row_of[question, p.seg]) for p in phrases if (question, p.seg) in row_of]
        rows = torch.tensor([row for _, row in grounded], dtype=torch.long)
        logits = answers.mask_logits[rows].float().cpu()
        masks = (resizes[question].logits_to_image(logits) > 0).numpy()
        closer: list[Seen | None] = [None] * len(grounded)
        if images is not None and grounded:
            pixels, prompts = images[question]
            sought = [Sought(answers.conditions[row], prompts, own) for (_, row), own in zip(grounded, logits)]
            closer = look_closer(model, pixels, list(masks), sought)
        entities = []
        for (phrase, row), mask, own, seen in zip(grounded, masks, logits.numpy(), closer):
            iou = answers.scores[row].item()
            if seen is not None:
                mask, own, iou = seen
            probability = answers.probabilities[question, slice(*phrase.words)].mean().item()
            score = min(max(iou, 0.0), 1.0) * probability
            if temperature is not None:
                score = apply_temperature([score], temperature).item()
            entities.append(Entity(phrase.phrase, phrase.span, mask, score, own))
        results.append((text, entities))
    return results
