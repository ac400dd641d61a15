"""From the raw output of `Mimo.answer` to the text and entities of each question; the predictor and the evaluator share it."""

from __future__ import annotations

import torch

from ..metrics.calibration import apply_temperature
from ..models import Answers, Mimo
from ..transforms.resize import SquareResize
from .answer import Entity, parse_answer


def ground(
    model: Mimo, answers: Answers, resizes: list[SquareResize], temperature: float | None = None
) -> list[tuple[str, list[Entity]]]:
    """Text and entities of each question; `resizes[q]` maps its image to the model's square.

    The score of an entity is the predicted IoU of its mask times the mean probability of its phrase's tokens; with a
    `temperature`, what `metrics.apply_temperature` makes of that. Evaluations fit the temperature, so theirs are without.
    """
    row_of = {tuple(place): m for m, place in enumerate(answers.places.tolist())}
    results = []
    for question, ids in enumerate(answers.ids.tolist()):
        text, phrases = parse_answer(ids, model.tokenizer)
        grounded = [(p, row_of[question, p.seg]) for p in phrases if (question, p.seg) in row_of]
        rows = torch.tensor([row for _, row in grounded], dtype=torch.long)
        logits = answers.mask_logits[rows].float().cpu()
        masks = (resizes[question].logits_to_image(logits) > 0).numpy()
        entities = []
        for (phrase, row), mask, own in zip(grounded, masks, logits.numpy()):
            probability = answers.probabilities[question, slice(*phrase.words)].mean().item()
            score = min(max(answers.scores[row].item(), 0.0), 1.0) * probability
            if temperature is not None:
                score = apply_temperature([score], temperature).item()
            entities.append(Entity(phrase.phrase, phrase.span, mask, score, own))
        results.append((text, entities))
    return results
