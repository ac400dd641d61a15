"""An answer in words, checked against what was asked and what was outlined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ..mimoseg.questions.templates import asked_kind, image_of
from ..models import Mimo
from ..models.image_encoder import ImageFeatures
from ..models.region_names import SEEN
from .answer import Answer, Entity, joined
from .encoded_image import EncodedImage
from .measured_values import with_measured_values
from .name_guard import NameGuard
from .question import Question


def as_asked(
    model: Mimo,
    guard: NameGuard | None,
    image: EncodedImage,
    question: Question,
    text: str,
    entities: list[Entity],
) -> tuple[str, list[Entity]]:
    """Text and entities with values as the masks have them; of a question in words without what does not look like its name, and
    without names that were not asked for.

    Args:
        guard: of the names that the weights know; without it an answer stays as it is.
    """
    if guard is None:
        return text, entities
    if image.looks_like and asked_kind(question.text) == "modality":
        return f"This is {image_of(image.looks_like)}.", []
    if not question.has_prompts:
        _, mentions = guard.read(question.text)
        fitting = [e for e in entities if not mentions or guard.fits(e.phrase, mentions)]
        if entities and not fitting:
            found = " or ".join(dict.fromkeys(mention.canonical for mention in mentions))
            return f"I cannot find any {found} here.", []
        text, entities = _seen(model, image.features, text, fitting)
    return with_measured_values(question.text, text, entities, image.spacing_mm)


def each_alone(image: EncodedImage, question: Question, answers: Sequence[Answer]) -> Answer:
    """The answers to each name that a question asks for as one, with the larger of two where that is asked."""
    whole = joined(answers)
    text, entities = with_measured_values(question.text, whole.text, whole.entities, image.spacing_mm)
    return replace(whole, text=text, entities=entities)


def _seen(model: Mimo, features: ImageFeatures, text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    """Text and entities without those whose mask is empty, or does not look like what it is called."""
    names = model.region_names
    if names is None or not entities:
        return text, entities
    masks = torch.from_numpy(np.stack([np.asarray(e.logits) for e in entities])).sigmoid()
    kept: list[Entity] = []
    lost: list[Entity] = []
    image = torch.zeros(len(masks), dtype=torch.long, device=features.context.device)
    for entity, chances in zip(entities, names.chances(features, image, masks.to(image.device))):
        known = names.names.index(entity.phrase) if entity.phrase in names.names[:-1] else None
        likely = known is None or float(chances[known]) > SEEN
        (kept if entity.mask.any() and likely else lost).append(entity)
    if not lost:
        return text, entities
    missed = f"I cannot find any {' or '.join(dict.fromkeys(e.phrase for e in lost))} here."
    if kept:
        return f"{text} But {missed}", kept
    return (f"No, {missed}" if text.startswith("Yes") else missed), []
