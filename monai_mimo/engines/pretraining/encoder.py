"""A first stage that teaches the image side what words and prompts mean, before any text is read.

Names are embeddings here (`models.region_names`), so that all of the time goes into pixels: each image serves several targets
that need different masks, and masks are corrected by clicks as a person would. The language model learns later to say which
name is meant.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from datasets import Dataset as Rows
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel

from ...data.region_images import region_images
from ...data.regions import RegionBatch, RegionDataset
from ...data.simulated_prompts import correct
from ...data.step_loader import StepLoader
from ...errors import InputError
from ...evaluation.progress import Progress
from ...losses import mask_iou
from ...mimoseg.catalogue.vocabulary import with_synonyms
from ...models import Mimo, MimoConfig
from ...models.image_encoder import ImageFeatures
from ...models.region_names import RegionNames
from ..checkpoints import Checkpoints
from ..handlers import TimeBudget, timed
from ..trainer import run_stage, train_step

BCE, DICE, SCORE, NAME = 2.0, 1.0, 1.0, 0.5
REGION_WEIGHT = 0.4  # of a region without a name in the loss of names
ROUNDS = (1.0, 0.55, 0.6)  # the share of the targets of each round that get the next
SMOOTH = 0.998  # of the averaged weights


def with_names(config: MimoConfig, rows: Rows) -> MimoConfig:
    """A config whose model knows by name all structures of a built set, in alphabetical order, and by the synonyms that the
    vocabulary has for them."""
    names = sorted({entity["phrase"] for entities in rows["entities"] for entity in entities})
    return replace(config, names=with_synonyms(names))


class RegionPart(nn.Module):
    """What of a model the stage trains."""

    def __init__(self, model: Mimo) -> None:
        super().__init__()
        assert model.region_names is not None
        self.image_encoder, self.neck = model.image_encoder, model.neck
        self.prompt_encoder, self.mask_decoder = model.prompt_encoder, model.mask_decoder
        self.region_names = model.region_names


def region_loss(model: Mimo, batch: RegionBatch, parts: dict[str, Tensor] | None = None) -> Tensor:
    """The loss of a batch: masks, their scores, names, and masks again after a correcting click.

    Args:
        parts: is filled with the parts of the loss, for the log.
    """
    names = model.region_names
    assert names is not None
    features = model.encode(batch.images)
    condition = names.condition(batch.asked)
    coarse = F.avg_pool2d(batch.masks[:, None].float(), 2)[:, 0]
    coordinates, labels, maps = batch.coordinates, batch.labels, batch.maps
    logits = coarse
    chosen = torch.arange(len(batch.masks), device=batch.masks.device)
    total = condition.new_zeros(())
    for number, share in enumerate(ROUNDS):
        if number:  # the next round: a click into the largest error, and the logits fed back
            some = torch.rand(len(chosen), device=chosen.device) < share
            if not some.any():
                break
            chosen = chosen[some]
            maps, clicks, inside = correct(maps[some], logits.detach()[some], coarse[chosen] >= 0.5)
            coordinates = torch.cat([coordinates[some], clicks[:, None]], dim=1)
            labels = torch.cat([labels[some], inside.long()[:, None]], dim=1)
        with torch.autocast(batch.images.device.type, torch.bfloat16):
            logits, scores = model.decode(
                features, batch.image_index[chosen], condition[chosen], coordinates, labels, maps
            )
        logits = logits.float()
        masks = batch.masks[chosen]
        shown = F.interpolate(logits[:, None], masks.shape[-2:], mode="bilinear")[:, 0]
        losses = mask_losses(shown, masks).mean()
        score = F.mse_loss(scores.float(), mask_iou(shown.detach() > 0, masks))
        total = total + (len(chosen) / len(batch.masks)) * (losses + SCORE * score)
        if number == 0:
            naming = name_loss(names, features, batch, torch.where(half_of(coarse), coarse, logits.detach().sigmoid()))
            total = total + NAME * naming
        if parts is not None:
            parts[f"mask after {number} clicks" if number else "mask"] = losses.detach()
            if number == 0:
                parts.update(score=score.detach(), name=naming.detach())
    return total


def half_of(masks: Tensor) -> Tensor:
    """Half of M masks, drawn at random: bool [M, 1, 1]."""
    return torch.rand(len(masks), 1, 1, device=masks.device) < 0.5


def name_loss(names: RegionNames, features: ImageFeatures, batch: RegionBatch, seen: Tensor) -> Tensor:
    """Cross-entropy of the names of the regions that are there, told from masks [M, g, g] of how they are seen."""
    shown = batch.masks.flatten(1).any(1)
    called = batch.called[shown]
    weights = torch.where(called == names.region_id, REGION_WEIGHT, 1.0)
    logits = names.logits(names.embed(features, batch.image_index[shown], seen[shown]))
    losses = F.cross_entropy(logits, called, reduction="none")
    return (losses * weights).sum() / weights.sum().clamp(min=1e-6)


def mask_losses(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy and Dice of logits [M, S, S] against masks bool [M, S, S] -> [M]."""
    wanted = masks.float()
    bce = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean((1, 2))
    found = logits.sigmoid()
    both = (found * wanted).sum((1, 2))
    dice = 1 - (2 * both + 1) / (found.sum((1, 2)) + wanted.sum((1, 2)) + 1)
    return BCE * bce + DICE * dice


def pretrain_encoder(
    model: Mimo,
    rows: Rows,
    minutes: float,
    learning_rate: float,
    encoder_learning_rate: float,
    *,
    checkpoints: Checkpoints | None = None,
    workers: int = 1,
    seed: int = 0,
    cooldown: float = 0.25,
    **drawing: Any,
) -> None:
    """Train encoder, neck, prompt encoder, mask decoder and names for `minutes`; the model is left with averaged weights.

    Args:
        rows: of the training split.
        learning_rate, encoder_learning_rate: of AdamW, the latter for the image encoder.
        checkpoints: go on where this stage was stopped; there is nothing to do once they are of a stage that follows.
        workers: processes that draw batches; with 0 the training waits for each.
        cooldown: the last part of the time, in which the rates fall to zero.
        drawing: for `RegionDataset`.

    Raises:
        InputError: the mask decoder has no fine branch.
    """
    if not minutes or (checkpoints is not None and checkpoints.skip("regions")):
        return
    if model.region_names is None:
        raise InputError(
            "region_minutes", f"preset {model.config.preset!r} without a fine branch", "one whose mask decoder has one"
        )
    images = region_images(rows)
    dataset = RegionDataset(images, tuple(model.config.names), model.config.image_size, seed=seed, **drawing)
    trained = RegionPart(model)
    encoder = list(model.image_encoder.parameters())
    others = [p for n, p in trained.named_parameters() if not n.startswith("image_encoder.") and p.requires_grad]
    optimizer = AdamW(
        [{"params": others, "lr": learning_rate}, {"params": encoder, "lr": encoder_learning_rate}], weight_decay=1e-4
    )
    budget = TimeBudget(minutes, hold=1 - cooldown)
    schedule = timed(optimizer, budget)
    averaged = AveragedModel(trained, multi_avg_fn=smooth)
    model.train()

    def step(_: Engine, batch: RegionBatch) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        out = train_step(optimizer, schedule, [region_loss(model, batch, parts)])
        averaged.update_parameters(trained)
        return {**out, **parts}

    engine = Engine(step)
    Progress("regions first", budget).attach(engine)
    state = {"model": trained, "averaged": averaged, "optimizer": optimizer, "schedule": schedule}
    run_stage(engine, "regions", StepLoader(dataset, workers), state, checkpoints, budget=budget)
    trained.load_state_dict(averaged.module.state_dict())


@torch.no_grad()
def smooth(averages: list[Tensor], weights: list[Tensor], count: Tensor | int) -> None:
    """Move averages towards the weights of now: over few steps at first, so that they do not hold on to the beginning."""
    torch._foreach_lerp_(averages, weights, 1 - min(SMOOTH, (1 + int(count)) / (10 + int(count))))
