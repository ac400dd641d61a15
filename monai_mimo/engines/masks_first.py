"""A first stage that teaches the encoder to see the entities, before anything is asked: segmentation by name, of whole images.

Of a question, the encoder learns about the one thing that is asked for, and only if no prompt gives away where it is. Here each
image tells of everything that is known of it, at half of the cost of a step with text. The score maps are those of a fully
convolutional network with skips (Long et al. 2015, "FCN"), and are thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset as Rows
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.dataset import Batch
from ..errors import InputError
from ..losses import mask_loss
from ..models import Mimo
from ..models.image_encoder import Neck
from .checkpoints import Checkpoints
from .handlers import Progress
from .setup import adam, of_perspectives, training_loader
from .stage import descend, run_stage
from .state import TrainedParts
from .time_budget import TimeBudget, timed

QUESTIONS = 8  # at most, of an image: all that the builder makes of these perspectives
TOLD_BY_NAME = (
    1,
    3,
)  # the perspectives whose questions need no prompt; together they tell all that is known of an image


class EntityMaps(nn.Module):
    """The image side of a model and score maps of its own: images [B, 3, S, S] -> logits [B, E, S, S] of E entities, the sum
    of what each level of the features gives by one 1x1 convolution.

    Args:
        model: of an encoder with a feature pyramid; its encoder and neck are used in place.
        entities: E.
    """

    def __init__(self, model: Mimo, entities: int) -> None:
        super().__init__()
        self.model = model
        width = model.config.mask_decoder.width
        self.scores = nn.ModuleList(nn.Conv2d(width // part, entities, 1) for part in (1, 4, 8))

    def forward(self, images: Tensor) -> Tensor:
        features = self.model.encode(images)
        levels = (features.tokens, *features.high_resolution)
        maps = [layer(level) for layer, level in zip(self.scores, levels)]
        total = maps[0]
        for finer in maps[1:]:
            total = finer + F.interpolate(total, finer.shape[-2:], mode="bilinear")
        return F.interpolate(total, images.shape[-2:], mode="bilinear")


def known_masks(
    batch: Batch, rows: Sequence[Mapping[str, Any]] | Rows, entities: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """What the questions of a batch tell of its images: which of B x E masks are known, bool [B, E], and the K known ones in
    that order, bool [K, S, S]. An entity that a question says is absent is known to be empty. Of `rows`, `entities` and
    `absent` are read."""
    side = batch.images.shape[-1]  # type: ignore[union-attr]
    empty = torch.zeros(side, side, dtype=torch.bool)
    found: dict[tuple[int, int], Tensor] = {}
    masks = iter(batch.masks)
    for image, number in zip(batch.questions.image_index.tolist(), batch.rows):
        row = rows[number]
        for entity in row["entities"]:
            found[image, entities.index(entity["phrase"])] = next(masks)
        for name in row["absent"]:
            if name in entities:
                found.setdefault((image, entities.index(name)), empty)
    known = torch.zeros(len(batch.images), len(entities), dtype=torch.bool)
    for place in found:
        known[place] = True
    return known, torch.stack([found[place] for place in sorted(found)])


def segment_first(
    model: Mimo,
    rows: Rows,
    minutes: float,
    learning_rate: float,
    encoder_learning_rate: float,
    *,
    checkpoints: Checkpoints | None = None,
    **order: Any,
) -> EntityMaps | None:
    """Train encoder and neck for `minutes`, and return them with the score maps; none if there is nothing to do.

    Args:
        rows: of the training split.
        learning_rate, encoder_learning_rate: see `adam`.
        checkpoints: go on where this stage was stopped; there is nothing to do once they are of a stage that follows.
        order: of images, for `training_loader`.

    Raises:
        InputError: the encoder has no feature pyramid, or there are several processes.
    """
    if not minutes or (checkpoints is not None and checkpoints.skip("masks")):
        return None
    if not isinstance(model.neck, Neck):
        raise InputError(
            "masks_minutes", f"an encoder {model.config.image_encoder.name!r}", "one with a feature pyramid"
        )
    rows = of_perspectives(rows, TOLD_BY_NAME)
    loader = training_loader(model, rows, questions_per_image=QUESTIONS, **order)
    told = rows.select_columns(["entities", "absent"]).to_list()  # read at each step
    entities = sorted({entity["phrase"] for row in told for entity in row["entities"]})
    network = EntityMaps(model, len(entities))
    trained = nn.ModuleDict({"image_encoder": model.image_encoder, "neck": model.neck, "scores": network.scores})
    optimizer = adam(trained, learning_rate, encoder_learning_rate)
    budget = TimeBudget(minutes)
    schedule = timed(optimizer, budget)
    model.train()

    def loss_of(batch: Batch) -> Tensor:
        known, masks = known_masks(batch, told, entities)
        return mask_loss(network(batch.images)[known][:, None], masks[:, None])

    engine = Engine(lambda _, batches: descend(optimizer, schedule, map(loss_of, batches)))
    Progress("masks first", budget).attach(engine)
    parts = {"model": TrainedParts(model), "scores": network.scores, "optimizer": optimizer, "schedule": schedule}
    run_stage(engine, "masks", loader, parts, checkpoints, budget=budget)
    return network
