"""U-Nets, one for each set, to stand beside MIMO: trained on a built set, measured on its validation and test images.

    python benchmarks/real_baseline.py --dataset runs/real/set --minutes 40 --out runs/real/unets.json \
        [--encoder efficientnet-lite0|none] [--source endoscopy_polyp] [--mimo runs/real/quality/quality.json]

All sets together get `--minutes` of one core, the time that MIMO was trained, each the same part of it. Dice is measured as
benchmarks/real_quality.py measures MIMO by name: both splits that were not trained on, each entity where it is there, the
mean over all masks, with intervals by a bootstrap over patients. Rows that `--out` holds are not made again, so that sets
can be trained one by one, and the command goes on where it was stopped. `--mimo` is what real_quality.py wrote.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset as Rows
from datasets import concatenate_datasets
from ignite.engine import Engine
from monai.losses import DiceLoss
from monai.networks.blocks import BaseEncoder
from monai.networks.nets import FLEXUNET_BACKBONE, BasicUNet, FlexibleUNet
from monai.utils import set_determinism
from real_quality import mean_with_interval
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from monai_mimo.data.dataset import Augment, Item, Moves, all_moves, moves_of, rows_by_image
from monai_mimo.engines import TimeBudget, adam, timed
from monai_mimo.engines.trainer import run_stage
from monai_mimo.errors import InputError
from monai_mimo.evaluation.progress import Progress
from monai_mimo.files import write_json
from monai_mimo.losses import BCE, DICE
from monai_mimo.metrics import overlaps
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.mimoseg.categories import MEASURED
from monai_mimo.mimoseg.encoding import decode_rle
from monai_mimo.models.config import ImageEncoderConfig
from monai_mimo.models.image_encoder import EfficientNetLite0, extract_features
from monai_mimo.models.weights import parameter_counts
from monai_mimo.transforms import SquareResize

ENCODERS = ("efficientnet-lite0", "none")
RATE, ENCODER_RATE, BATCH = 1e-3, 5e-4, 16


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """What `MimoLoss` makes of masks alone: logits [M, 1, S, S] against masks 0 or 1 [M, 1, S, S] -> scalar."""
    return BCE * F.binary_cross_entropy_with_logits(logits, masks) + DICE * DiceLoss(sigmoid=True)(logits, masks)


class CoreBudget(TimeBudget):
    """Of the time that this process computes, summed over its threads; what else the machine does costs it nothing."""

    def clock(self) -> float:
        return time.process_time()


@dataclass(frozen=True)
class LabelledPixels:
    """An image, uint8 [h, w, 3], and what all questions about it tell: masks bool [h, w] by entity, and entities that are not
    there. Of others nothing is known. `moves`: see `Item`."""

    pixels: np.ndarray
    masks: dict[str, np.ndarray]
    absent: frozenset[str]
    patient: str
    moves: Moves


class Lite0Backbone(EfficientNetLite0, BaseEncoder):
    """MIMO's encoder as FlexibleUNet takes it; it normalises images in 0..1 itself."""

    config = ImageEncoderConfig("efficientnet-lite0")

    def __init__(self, spatial_dims: int, in_channels: int, pretrained: bool) -> None:
        super().__init__(pretrained)

    def forward(self, images: Tensor) -> list[Tensor]:
        return extract_features(super().forward, self.config, images)

    @classmethod
    def get_encoder_parameters(cls) -> list[dict]:
        return [{"spatial_dims": 2, "in_channels": 3, "pretrained": True}]

    @classmethod
    def num_channels_per_output(cls) -> list[tuple[int, ...]]:
        return [cls.channels]

    @classmethod
    def num_outputs(cls) -> list[int]:
        return [len(cls.channels)]

    @classmethod
    def get_encoder_names(cls) -> list[str]:
        return [cls.config.name]


FLEXUNET_BACKBONE.register_class(Lite0Backbone)


def labelled_images(rows: Rows) -> list[LabelledPixels]:
    """Every image of `rows` once."""
    found = []
    for numbers in rows_by_image(rows):
        group = [rows[n] for n in numbers]
        masks = {e["phrase"]: decode_rle(e["mask"]) for row in group for e in row["entities"]}
        absent = frozenset(name for row in group for name in row["absent"])
        pixels = np.asarray(group[0]["image"].convert("RGB"))
        moves = all_moves(moves_of(row) for row in group if row["perspective"] != MEASURED)
        found.append(LabelledPixels(pixels, masks, absent, group[0]["patient"], moves))
    return found


def build_unet(encoder: str, entities: int) -> nn.Module:
    """Images [B, 3, S, S] in 0..1 -> logits [B, entities, S, S]."""
    if encoder == "none":
        return BasicUNet(2, 3, entities, features=(16, 16, 32, 64, 128, 16))
    return FlexibleUNet(3, entities, encoder, pretrained=True, decoder_channels=(128, 64, 32, 24, 16))


def train_unet(
    images: Sequence[LabelledPixels],
    entities: Sequence[str],
    encoder: str,
    side: int,
    minutes: float,
    progress: str,
    seed: int = 0,
) -> tuple[nn.Module, int]:
    """A U-Net with one channel for each entity, trained on batches of 16 until the time is over, and its number of steps."""
    set_determinism(seed)
    items, known = [], []
    for image in images:
        resize = SquareResize(*image.pixels.shape[:2], side)
        empty = np.zeros(image.pixels.shape[:2], dtype=bool)
        masks = resize.masks(np.stack([image.masks.get(e, empty) for e in entities]))
        items.append(Item(resize.image(image.pixels), masks, [], [], [], [image.moves]))
        known.append(torch.tensor([e in image.masks or e in image.absent for e in entities]))
    net = build_unet(encoder, len(entities)).train()
    parts = dict(net.named_children())
    if encoder != "none":
        parts["image_encoder"] = parts.pop("encoder")  # the name by which `adam` gives it a rate of its own
    optimizer, budget = adam(nn.ModuleDict(parts), RATE, ENCODER_RATE), CoreBudget(minutes)
    schedule = timed(optimizer, budget)
    augment = Augment(strong=True).set_random_state(seed)
    rng = np.random.default_rng(seed)

    def batches() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        while True:
            chosen = rng.integers(len(items), size=BATCH)
            drawn = [augment(items[i]) for i in chosen]
            yield (
                torch.stack([item.image for item in drawn]),
                torch.stack([item.masks for item in drawn]),
                torch.stack([known[i] for i in chosen]),
            )

    def step(engine: Engine, batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        pixels, wanted, told = batch
        optimizer.zero_grad()
        loss = mask_loss(net(pixels)[told][:, None], wanted[told][:, None].float())
        loss.backward()
        optimizer.step()
        schedule.step()
        return {"loss": loss.detach()}

    engine = Engine(step)
    Progress(progress, budget).attach(engine)
    run_stage(engine, "training", batches(), {}, budget=budget)
    return net.eval(), engine.state.iteration


@torch.no_grad()
def unet_masks(net: nn.Module, pixels: np.ndarray, side: int) -> np.ndarray:
    """What a U-Net draws on an image, bool [entities, h, w]."""
    resize = SquareResize(*pixels.shape[:2], side)
    return (resize.logits_to_image(net(resize.image(pixels)[None])[0]) > 0).numpy()


def measure_unet(
    net: nn.Module, entities: Sequence[str], images: Sequence[LabelledPixels], side: int
) -> dict[str, dict[str, Any]]:
    """Dice of each entity and of "all", with intervals; only of entities that are there."""
    found: dict[str, list[tuple[str, float]]] = {entity: [] for entity in entities}
    for image in images:
        drawn = unet_masks(net, image.pixels, side)
        for entity, mask in image.masks.items():
            found[entity].append((image.patient, overlaps(drawn[entities.index(entity)], mask)[1]))
    found["all"] = [pair for pairs in list(found.values()) for pair in pairs]
    return {entity: of_masks(*zip(*pairs)) for entity, pairs in found.items() if pairs}


def of_masks(patients: Sequence[str], dice: Sequence[float]) -> dict[str, Any]:
    """The mean Dice of masks, with its interval over patients."""
    mean = mean_with_interval(patients, dice)
    return {"dice": mean.pop("value"), **mean, "masks": len(dice)}


def print_table(rows: Sequence[dict[str, Any]], mimo: dict[str, Any]) -> None:
    """For the terminal."""
    table = Table(box=None, pad_edge=False, title="Dice by name (95 % interval over patients)")
    for column in ("set", "entity", "masks", "patients", "encoder", "minutes", "steps", "U-Net", "MIMO"):
        table.add_column(column)
    for row in rows:
        for entity, value in row["dice"].items():
            if entity == "all" and len(row["dice"]) == 2:
                continue  # of one entity
            ours = mimo.get(row["source"], {}).get("by name (I)") if entity == "all" or len(row["dice"]) == 2 else None
            table.add_row(
                row["source"],
                entity,
                f"{value['masks']}",
                f"{value['patients']}",
                row["encoder"],
                f"{row['minutes']:g}",
                f"{row['steps']}",
                f"{value['dice']:.3f} ({value['low']:.3f}-{value['high']:.3f})",
                f"{ours['value']:.3f} ({ours['low']:.3f}-{ours['high']:.3f})" if ours else "",
            )
    Console(width=150).print(table)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--minutes", type=float, required=True, help="of one core, for all sets together")
    parser.add_argument("--encoder", choices=ENCODERS, default=ENCODERS[0])
    parser.add_argument("--source", help="only this set")
    parser.add_argument("--side", type=int, default=128, help="pixels of the square that the U-Nets read")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mimo", type=Path)
    options = parser.parse_args()

    train = load_mimoseg(options.dataset, "train")
    held_out = concatenate_datasets([load_mimoseg(options.dataset, split) for split in ("validation", "test")])
    sources = np.array(train["source"])
    names = sorted(set(sources))
    if options.source and options.source not in names:
        raise InputError("--source", options.source, f"one of {', '.join(names)}")
    rows = json.loads(options.out.read_text()) if options.out.exists() else []
    for source in [options.source] if options.source else names:
        key = {
            "source": source,
            "encoder": options.encoder,
            "minutes": options.minutes / len(names),
            "side": options.side,
            "seed": options.seed,
        }
        if any(key.items() <= row.items() for row in rows):
            continue
        images = labelled_images(train.select(np.flatnonzero(sources == source)))
        others = labelled_images(held_out.select(np.flatnonzero(np.array(held_out["source"]) == source)))
        entities = sorted({entity for image in [*images, *others] for entity in image.masks})
        net, steps = train_unet(
            images, entities, options.encoder, options.side, key["minutes"], source, seed=options.seed
        )
        dice = measure_unet(net, entities, others, options.side)
        rows.append(
            {**key, "steps": steps, "parameters": parameter_counts(net)[0], "images": len(images), "dice": dice}
        )
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, rows)
    print_table(rows, json.loads(options.mimo.read_text())["dice"] if options.mimo else {})


if __name__ == "__main__":
    main()
