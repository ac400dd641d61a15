"""A second look: where what is meant is small, the part of the image around it is encoded again, larger, and decoded there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.prompt_maps import LOGIT_LIMIT, RegionPrompts, prompt_batch
from ..models import Mimo
from ..transforms.prompts import tight_box
from ..transforms.resize import SquareResize

AROUND = 2.0  # the side of a crop is this many times the longer side of what is in it
SMALLEST = 0.12  # part of the image's longer side that a crop has at least, as in training (`data.regions.view_grid`)
GAIN = 1.5  # a crop must show things so many times larger to be worth it


class Crop(NamedTuple):
    """A square part of an image, in its pixels; it may reach beyond the right and the lower edge of a narrow image."""

    left: int
    top: int
    side: int


@dataclass
class Sought:
    """What is looked for in a crop.

    Attributes:
        conditions: [C, D], of the mask decoder; what they outline is averaged.
        prompts: in pixels of the image, scribbles bool [h, w].
        logits: of the first look [g, g], over the image's square; only read where there are no prompts, which tell better.
    """

    conditions: Tensor
    prompts: RegionPrompts
    logits: Tensor


class Seen(NamedTuple):
    """What a second look found: the mask bool [h, w] on the image's pixels, its logits [g, g] over the image's square, as of a
    first look, and its predicted IoU."""

    mask: np.ndarray
    logits: np.ndarray
    iou: float


def look_closer(
    model: Mimo, pixels: np.ndarray, firsts: Sequence[np.ndarray], sought: Sequence[Sought]
) -> list[Seen | None]:
    """Look again at all of M things that are small.

    Args:
        pixels: uint8 [h, w, 3], of the whole image.
        firsts: what the first look found of each, bool [h, w].

    Returns:
        what was found of each; none for what was seen large enough, or not at all.
    """
    crops = [_crop_of(s.prompts, first) for s, first in zip(sought, firsts)]
    small = [n for n, crop in enumerate(crops) if crop is not None]
    seen: list[Seen | None] = [None] * len(sought)
    if small:
        own = [crop for crop in crops if crop is not None]
        found = look_again(model, pixels, own, [sought[n] for n in small])
        for n, crop, logits, iou in zip(small, own, *found):
            whole = np.full(pixels.shape[:2], -LOGIT_LIMIT, dtype=np.float32)
            whole[crop.top :, crop.left :][: logits.shape[0], : logits.shape[1]] = logits
            seen[n] = Seen(whole > 0, _on_grid(whole, len(sought[n].logits)), iou)
    return seen


def _crop_of(prompts: RegionPrompts, first: np.ndarray) -> Crop | None:
    """Around a box, or else around what the first look found."""
    if len(prompts.boxes) == 1:
        return crop_around(prompts.boxes[0], *first.shape)
    return crop_around(tight_box(first), *first.shape) if first.any() else None


def _on_grid(whole: np.ndarray, grid: int) -> np.ndarray:
    """Logits on an image's pixels [h, w] as the means over the cells of a grid [g, g] over its square."""
    h, w = SquareResize(*whole.shape, grid).inner
    cells = np.full((grid, grid), -LOGIT_LIMIT, dtype=np.float32)
    cells[:h, :w] = F.interpolate(torch.from_numpy(whole)[None, None], (h, w), mode="area")[0, 0].numpy()
    return cells


def crop_around(box: tuple[float, float, float, float], height: int, width: int) -> Crop | None:
    """The crop to look at what lies in a box (x0, y0, x1, y1), moved into the image as far as it fits; none where that would
    show it hardly larger."""
    x0, y0, x1, y1 = box
    longest = max(height, width)
    side = round(max(AROUND * max(x1 - x0, y1 - y0), SMALLEST * longest))
    if side < 8 or side * GAIN > longest:
        return None
    left, top = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    return Crop(max(min(left, width - side), 0), max(min(top, height - side), 0), side)


@torch.no_grad()
def look_again(
    model: Mimo, pixels: np.ndarray, crops: Sequence[Crop], sought: Sequence[Sought]
) -> tuple[list[np.ndarray], list[float]]:
    """Decode M things again, each in a crop of its own.

    Args:
        pixels: uint8 [h, w, 3], of the whole image.

    Returns:
        logits of each on the pixels of its crop that lie in the image, float32 [h_m, w_m]; and the predicted IoU of each.
    """
    size, side = (pixels.shape[0], pixels.shape[1]), model.config.image_size
    device = sought[0].conditions.device
    resize = [SquareResize(w.side, w.side, side) for w in crops]
    features = model.encode(torch.stack([r.image(_cut(pixels, w)) for r, w in zip(resize, crops)]).to(device))
    moved = [_moved(s, w, size, side) for s, w in zip(sought, crops)]
    given = [torch.from_numpy(part).to(device) for part in prompt_batch(moved, side)]
    each = torch.tensor([n for n, s in enumerate(sought) for _ in s.conditions], device=device)
    decoded = model.decode(features, each, torch.cat([s.conditions for s in sought]), *(part[each] for part in given))
    logits, scores = (
        torch.stack([part[each == n].float().mean(0) for n in range(len(sought))]).cpu() for part in decoded
    )
    found = []
    for r, w, grid in zip(resize, crops, logits):
        shown = r.logits_to_image(grid[None])[0].numpy()
        found.append(shown[: size[0] - w.top, : size[1] - w.left])
    return found, scores.tolist()


def _cut(pixels: np.ndarray, crop: Crop) -> np.ndarray:
    part = pixels[crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
    below, right = crop.side - part.shape[0], crop.side - part.shape[1]
    return np.pad(part, ((0, below), (0, right), (0, 0))) if below or right else part


def _moved(sought: Sought, crop: Crop, size: tuple[int, int], side: int) -> RegionPrompts:
    """Prompts of an image as prompts of a crop, in the model's square; the first look's mask becomes the mask before."""
    left, top, width = crop
    scale = side / width
    given = sought.prompts
    points = [((x - left) * scale, (y - top) * scale, label) for x, y, label in given.points]
    points = [p for p in points if 0 <= p[0] < side and 0 <= p[1] < side]
    boxes = [tuple(np.clip((np.array(box) - (left, top, left, top)) * scale, 0, side).tolist()) for box in given.boxes]
    boxes = [box for box in boxes if box[0] < box[2] and box[1] < box[3]]
    resize = SquareResize(width, width, side)
    lines = tuple(
        None if line is None else resize.line(_cut(line[..., None], crop)[..., 0]) for line in given.scribbles
    )
    if points or boxes or any(line is not None for line in lines):
        return RegionPrompts(points, boxes, (lines[0], lines[1]))
    # The logits of the first look, sampled at the pixels of the crop's square.
    longest = max(size)
    at = (torch.arange(side) + 0.5) / side * width
    x, y = 2 * (at + left) / longest - 1, 2 * (at + top) / longest - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]
    before = F.grid_sample(sought.logits[None, None].float().cpu(), grid, padding_mode="border", align_corners=False)
    return RegionPrompts(logits=before[0, 0].numpy())
