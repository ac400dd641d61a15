"""Prompts as people would give them, drawn from masks: first prompts, and clicks that correct a mask."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from scipy import ndimage
from skimage.morphology import skeletonize
from torch import Tensor
from torch.nn import functional as F

from ..transforms.prompts import tight_box
from .prompt_maps import (
    CLICK,
    HAS_LOGITS_MAP,
    LOGIT_LIMIT,
    LOGITS_MAP,
    NEGATIVE,
    NEGATIVE_MAP,
    POSITIVE,
    POSITIVE_MAP,
    RegionPrompts,
)


def simulate(mask: np.ndarray, rng: Generator, *, kind: str | None = None) -> RegionPrompts:
    """Prompts for a mask bool [S, S], not empty, as a person might give them.

    Args:
        kind: "box", "click" (one inside), "points" (several, some of them negative), "scribble", "mixed" (a box and points);
            none draws one.
    """
    if kind is None:
        kind = str(rng.choice(["box", "click", "points", "scribble", "mixed"], p=[0.32, 0.2, 0.14, 0.2, 0.14]))
    prompts = RegionPrompts()
    if kind in ("box", "mixed"):
        prompts.boxes.append(jittered_box(mask, rng))
    if kind in ("click", "points", "mixed"):
        count = 1 if kind == "click" else int(rng.choice([1, 1, 2, 3, 5]))
        prompts.points += [(*click_inside(mask, rng), POSITIVE) for _ in range(count)]
    if kind in ("points", "mixed"):
        around = ndimage.binary_dilation(mask, iterations=10) & ~mask
        for _ in range(int(rng.choice([0, 1, 1, 2, 4]))):
            outside = around if around.any() and rng.random() < 0.7 else ~mask
            if outside.any():
                prompts.points.append((*any_pixel(outside, rng), NEGATIVE))
    if kind == "scribble":
        negative = scribble(~mask, rng) if rng.random() < 0.35 and not mask.all() else None
        prompts.scribbles = (centerline(mask, rng) if rng.random() < 0.6 else scribble(mask, rng), negative)
    return prompts


def jittered_box(mask: np.ndarray, rng: Generator, jitter: float = 0.1) -> tuple[float, float, float, float]:
    """The tight box with each edge moved by up to `jitter` of the box's size; a third of the boxes stay tight."""
    x0, y0, x1, y1 = tight_box(mask)
    width, height = x1 - x0, y1 - y0
    move = np.zeros(4) if rng.random() < 1 / 3 else rng.uniform(-jitter, jitter, 4) * (width, height, width, height)
    corners = np.array([x0, y0, x1, y1]) + move
    corners = np.clip(corners, 0, max(mask.shape))
    return (
        float(corners[0]),
        float(corners[1]),
        float(max(corners[2], corners[0] + 1)),
        float(max(corners[3], corners[1] + 1)),
    )


def click_inside(mask: np.ndarray, rng: Generator) -> tuple[float, float]:
    """The middle of a pixel inside; most clicks are away from the edge, some are anywhere."""
    if rng.random() < 0.25:
        return any_pixel(mask, rng)
    x0, y0, x1, y1 = tight_box(mask)
    depth = ndimage.distance_transform_edt(np.pad(mask[y0:y1, x0:x1], 1))[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= 0.5 * depth.max())
    pick = rng.integers(len(rows))
    return float(columns[pick] + x0) + 0.5, float(rows[pick] + y0) + 0.5


def any_pixel(mask: np.ndarray, rng: Generator) -> tuple[float, float]:
    """The middle of a random pixel of a mask that is not empty."""
    places = np.flatnonzero(mask)
    row, column = divmod(int(places[rng.integers(len(places))]), mask.shape[1])
    return column + 0.5, row + 0.5


def scribble(mask: np.ndarray, rng: Generator, steps: int = 0) -> np.ndarray:
    """A wandering line inside a mask, bool [S, S]."""
    steps = steps or int(rng.integers(6, 30))
    line = np.zeros_like(mask)
    x, y = any_pixel(mask, rng)
    angle = rng.uniform(0, 2 * np.pi)
    for _ in range(steps):
        for _ in range(8):  # turn until the next step stays inside
            new_x, new_y = x + 2 * np.cos(angle), y + 2 * np.sin(angle)
            if 0 <= new_x < mask.shape[1] and 0 <= new_y < mask.shape[0] and mask[int(new_y), int(new_x)]:
                break
            angle += rng.uniform(-2, 2)
        else:
            break
        for part in (0.5, 1.0):
            line[int(y + part * (new_y - y)), int(x + part * (new_x - x))] |= mask[
                int(y + part * (new_y - y)), int(x + part * (new_x - x))
            ]
        x, y = new_x, new_y
        angle += rng.normal(0, 0.35)
    line[int(y), int(x)] = True
    return line


def centerline(mask: np.ndarray, rng: Generator) -> np.ndarray:
    """Lines along the middle of a mask with gaps, bool [S, S], as ScribblePrompt (Wong et al. 2024) draws them: its
    skeleton, bent a little, without what lies in the dark parts of a random pattern."""
    x0, y0, x1, y1 = tight_box(mask)
    part = np.pad(mask[y0:y1, x0:x1], 1)
    middle = skeletonize(part)
    bend = [ndimage.gaussian_filter(rng.standard_normal(part.shape), 4) * rng.uniform(0, 25) for _ in range(2)]
    rows, columns = np.nonzero(middle)
    moved = np.round([rows + bend[0][rows, columns], columns + bend[1][rows, columns]]).astype(int)
    rows, columns = np.clip(moved, 0, np.array(part.shape)[:, None] - 1)
    lines = np.zeros_like(part)
    lines[rows, columns] = True
    pattern = ndimage.gaussian_filter(rng.standard_normal(part.shape), 6)
    lines &= part & (pattern > np.quantile(pattern, rng.uniform(0, 0.5)))
    if not lines.any():
        return scribble(mask, rng)
    drawn = np.zeros_like(mask)
    drawn[y0:y1, x0:x1] = lines[1:-1, 1:-1]
    return drawn


def correct(
    prompts: Tensor, logits: Tensor, masks: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The next round: a click into the largest error of each mask, and the logits fed back.

    A click lies deep inside of the error where that is wide: at the largest mean of the error over a window, with some noise.

    Args:
        prompts: [M, `CHANNELS`, g, g], with g = S / 2; logits: [M, g, g], detached; masks: bool [M, g, g].

    Returns:
        new maps, [M, `CHANNELS`, g, g]; the clicks (x, y) [M, 2] in pixels of the square; and whether they are positive, [M].
        Where nothing is wrong, no click is drawn.
    """
    grid = logits.shape[-1]
    wrong = (logits > 0) != masks
    depth = sum(F.avg_pool2d(wrong[:, None].float(), k, 1, k // 2)[:, 0] for k in (3, 7, 13)) * wrong
    noise = torch.rand(depth.shape, generator=generator)
    place = (depth * (0.75 + 0.5 * noise)).flatten(1).argmax(1)
    rows, columns = place // grid, place % grid
    at = torch.arange(grid)
    deviation = CLICK / 2
    spots = torch.exp(-((at[None] - rows[:, None]) ** 2) / (2 * deviation**2))[:, :, None]
    spots = spots * torch.exp(-((at[None] - columns[:, None]) ** 2) / (2 * deviation**2))[:, None]
    spots = spots * wrong.flatten(1).any(1)[:, None, None]
    inside = masks.flatten(1).gather(1, place[:, None])[:, 0]
    new = prompts.clone()
    new[:, POSITIVE_MAP] = torch.maximum(new[:, POSITIVE_MAP], spots * inside[:, None, None])
    new[:, NEGATIVE_MAP] = torch.maximum(new[:, NEGATIVE_MAP], spots * ~inside[:, None, None])
    new[:, LOGITS_MAP] = logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT) / LOGIT_LIMIT
    new[:, HAS_LOGITS_MAP] = 1
    clicks = torch.stack([columns, rows], dim=1) * 2.0 + 1.0
    return new, clicks, inside
