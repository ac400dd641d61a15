"""Outlines on slices of a volume by name and prompts, without words: what following and correcting are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..data.names import REGION
from ..data.prompt_maps import RegionPrompts, prompt_batch
from ..errors import InputError
from ..models.region_names import SURE_NAME, RegionNames
from ..transforms.resize import SquareResize
from .encoded_volume import EncodedVolume


def region_names(volume: EncodedVolume) -> RegionNames:
    """What the weights can outline by its name.

    Raises:
        InputError: the weights have no fine branch.
    """
    names = volume.model.region_names
    if names is None:
        raise InputError("prompts", "weights without a fine branch", "weights that can follow prompts in a volume")
    return names


@torch.no_grad()
def decode(
    volume: EncodedVolume, numbers: Sequence[int], prompts: Sequence[RegionPrompts], phrase: str
) -> tuple[Tensor, list[float]]:
    """Outline `phrase` on M slices, each with prompts of its own in pixels: logits [M, g, g] and predicted IoU in 0..1.

    The logits of `prompts` are on the model's square already, [S, S].
    """
    names, device = region_names(volume), volume.device
    slices = list(dict.fromkeys(numbers))
    side = volume.model.config.image_size
    scaled = [_on_square(p, volume.resize) for p in prompts]
    given = [torch.from_numpy(part).to(device) for part in prompt_batch(scaled, side)]
    index = torch.tensor([slices.index(n) for n in numbers], device=device)
    condition = names.condition(torch.full((len(numbers),), names.names.index(phrase), device=device))
    logits, scores = volume.model.decode(volume.features(slices), index, condition, *given)
    return logits.float().cpu(), scores.float().clamp(0, 1).cpu().tolist()


def chances(volume: EncodedVolume, numbers: Sequence[int], logits: Tensor) -> Tensor:
    """How likely each known name is for what is outlined on each slice, logits [M, g, g] -> [M, N + 1]."""
    index = torch.arange(len(numbers), device=volume.device)
    return region_names(volume).chances(volume.features(numbers), index, logits.to(volume.device).sigmoid()).cpu()


def named(volume: EncodedVolume, number: int, prompts: Mapping[int, RegionPrompts]) -> str:
    """What prompts show, by its name where it has one: as it looks on a slice with prompts, and under them on its neighbours."""
    around = [n for n in (number - 1, number, number + 1) if 0 <= n < volume.shape[0]]
    logits, _ = decode(volume, around, [prompts[number]] * len(around), REGION)
    likely = chances(volume, around, logits).mean(0)
    best = int(likely.argmax())
    return region_names(volume).names[best] if float(likely[best]) >= SURE_NAME else REGION


def doubled(logits: Tensor) -> np.ndarray:
    """Logits [g, g] as a prompt, [S, S]."""
    return logits.numpy().repeat(2, 0).repeat(2, 1)


def _on_square(prompts: RegionPrompts, resize: SquareResize) -> RegionPrompts:
    sx, sy = resize.scale.tolist()
    points = [(x * sx, y * sy, label) for x, y, label in prompts.points]
    boxes = [(a * sx, b * sy, c * sx, d * sy) for a, b, c, d in prompts.boxes]
    lines = [None if line is None else resize.line(line) for line in prompts.scribbles]
    return RegionPrompts(points, boxes, (lines[0], lines[1]), prompts.logits)
