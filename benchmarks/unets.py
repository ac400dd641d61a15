"""U-Nets to compare MIMO with: trained on the images of one source of a built set, for minutes of one core that are given.

Encoder "efficientnet-lite0" is MIMO's own, with ImageNet weights, under the decoder of MONAI's FlexibleUNet; "none" is MONAI's
BasicUNet from random weights. Both learn as MIMO does: its augmentation, the Dice and BCE of its loss, its rates and schedule.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset as Rows
from ignite.engine import Engine
from monai.networks.blocks import BaseEncoder
from monai.networks.nets import FLEXUNET_BACKBONE, BasicUNet, FlexibleUNet
from monai.utils import set_determinism
from torch import Tensor, nn

from monai_mimo.data.dataset import Augment, Item, Moves, all_moves, moves_of, rows_by_image
from monai_mimo.engines import TimeBudget, adam, timed
from monai_mimo.engines.stages import run_stage
from monai_mimo.evaluation.progress import Progress
from monai_mimo.losses import mask_loss
from monai_mimo.mimoseg.categories import MEASURED
from monai_mimo.mimoseg.encoding import decode_rle
from monai_mimo.models.config import ImageEncoderConfig
from monai_mimo.models.image_encoder import EfficientNetLite0, extract_features
from monai_mimo.transforms import SquareResize

ENCODERS = ("efficientnet-lite0", "none")
RATE, ENCODER_RATE, BATCH = 1e-3, 5e-4, 16


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
        loss = mask_loss(net(pixels)[told][:, None], wanted[told][:, None])
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
