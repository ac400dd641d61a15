"""The answer to a question about all of an image, or for a name with parts: all such names are outlined, and what looks like its
name is told."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..data.prompt_maps import RegionPrompts
from ..mimoseg.questions.templates import image_of, listed
from ..models import Mimo
from ..models.region_names import SURE_NAME
from .answer import Entity, score_of
from .encoded_image import EncodedImage
from .second_look import Sought, look_closer

SAME = 0.5  # IoU from which two outlines are of one thing, and only the likelier name is told
MOST = 12  # names that are told
BATCH = 8  # names that are outlined at a time, for the memory that they take


@torch.no_grad()
def all_structures(
    model: Mimo, image: EncodedImage, temperature: float | None, only: Sequence[str] = ()
) -> tuple[str, list[Entity]]:
    """Text and entities, the likeliest first.

    Args:
        image: whose `looks_like` is told first, where it is known and all is asked for.
        temperature: calibrates the scores, if there is one.
        only: of the known names; none means all.
    """
    names = model.region_names
    assert names is not None
    numbers = [names.names.index(name) for name in only] or list(range(names.region_id))
    every = torch.tensor(numbers, device=image.features.context.device)
    found = [model.look_for(image.features, torch.zeros_like(part), part) for part in every.split(BATCH)]
    logits, predicted, chances = (torch.cat(parts) for parts in zip(*found))
    shown = logits > 0
    told: list[int] = []
    for place in chances.argsort(descending=True).tolist():
        if float(chances[place]) <= SURE_NAME or len(told) == MOST:
            break
        if shown[place].any() and all(_iou(shown[place], shown[other]) < SAME for other in told):
            told.append(place)
    grids = logits[told].cpu()
    masks = list((image.resize.logits_to_image(grids) > 0).numpy())
    sought = [Sought(names.condition(every[n, None]), RegionPrompts(), grid) for n, grid in zip(told, grids)]
    closer = [None] * len(told) if image.pixels is None else look_closer(model, image.pixels, masks, sought)
    phrases = [names.names[numbers[place]] for place in told]
    text = f"This is {image_of(image.looks_like)}. " if image.looks_like and not only else ""
    end = len(text)
    text += f"I see {listed(phrases)}." if told else "I see nothing in it that I have a name for."
    entities = []
    for phrase, place, mask, grid, seen in zip(phrases, told, masks, grids.numpy(), closer):
        mask, grid, iou = seen or (mask, grid, float(predicted[place]))
        score = score_of(iou, float(chances[place]), temperature)
        start = text.index(f"the {phrase}", end) + len("the ")
        end = start + len(phrase)
        entities.append(Entity(phrase, (start, end), mask, score, grid))
    return text, entities


def _iou(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one & other).sum() / (one | other).sum().clamp(min=1))
