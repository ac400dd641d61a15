"""Visual prompts as maps: what the fine branch of the mask decoder reads, and how people's prompts are simulated.

A map has `CHANNELS` channels over the model's square input: the box, positive clicks and scribbles, negative ones, the logits
of the mask before, and whether there is one. Coordinates are continuous (x, y) in pixels of that square: 0.5 is the middle of
the first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.random import Generator
from scipy import ndimage
from skimage.morphology import skeletonize
from torch import Tensor
from torch.nn import functional as F

from ..transforms.prompts import tight_box
from .prompts import BOX_TOP_LEFT, NEGATIVE, POSITIVE

BOX_MAP, POSITIVE_MAP, NEGATIVE_MAP, LOGITS_MAP, HAS_LOGITS_MAP = range(5)
CHANNELS = 5
CLICK = 2.0  # standard deviation in pixels of the spot that a click makes
LOGIT_LIMIT = 10.0


@dataclass
class RegionPrompts:
    """What a person gives to show one region.

    Attributes:
        points: (x, y, label), label 1 for inside and 0 for outside.
        boxes: (x0, y0, x1, y1).
        scribbles: bool [S, S] where it was scribbled, positive and negative, or none.
        logits: [S, S] of the mask before, or none.
    """

    points: list[tuple[float, float, int]] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    scribbles: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    logits: np.ndarray | None = None


def draw(prompts: RegionPrompts, side: int) -> np.ndarray:
    """Prompts -> maps float32 [`CHANNELS`, S, S]."""
    maps = np.zeros((CHANNELS, side, side), dtype=np.float32)
    for box in prompts.boxes:
        add_box(maps[BOX_MAP], *box)
    for x, y, label in prompts.points:
        add_click(maps[POSITIVE_MAP if label else NEGATIVE_MAP], x, y)
    for channel, scribble in zip((POSITIVE_MAP, NEGATIVE_MAP), prompts.scribbles):
        if scribble is not None:
            thick = ndimage.gaussian_filter(scribble.astype(np.float32), 1.0)
            np.maximum(maps[channel], np.clip(2.5 * thick, 0, 1), out=maps[channel])
    if prompts.logits is not None:
        maps[LOGITS_MAP] = np.clip(prompts.logits, -LOGIT_LIMIT, LOGIT_LIMIT) / LOGIT_LIMIT
        maps[HAS_LOGITS_MAP] = 1
    return maps


def add_box(plane: np.ndarray, x0: float, y0: float, x1: float, y1: float) -> None:
    """Put a box onto a map [S, S], in place: 1 in its middle, 0.6 on the ellipse that fills it, 0.2 in its corners, 0 outside. A
    network that has not learned yet what lies in a box can so take the ellipse for it, by one threshold."""
    left, top = max(int(np.floor(x0)), 0), max(int(np.floor(y0)), 0)
    part = plane[top : max(int(np.ceil(y1)), top + 1), left : max(int(np.ceil(x1)), left + 1)]
    columns, rows = np.arange(part.shape[1]) + left + 0.5, np.arange(part.shape[0]) + top + 0.5
    across = (2 * columns - x0 - x1) / max(x1 - x0, 1e-6)
    down = (2 * rows - y0 - y1) / max(y1 - y0, 1e-6)
    np.maximum(part, 1 - 0.4 * (np.minimum(across**2, 1) + np.minimum(down**2, 1)[:, None]), out=part)


def add_click(plane: np.ndarray, x: float, y: float) -> None:
    """Put the spot of a click at (x, y) onto a map [S, S], in place."""
    reach = int(4 * CLICK)
    left, top = max(int(x) - reach, 0), max(int(y) - reach, 0)
    part = plane[top : int(y) + reach + 1, left : int(x) + reach + 1]
    columns, rows = np.arange(part.shape[1]) + left + 0.5, np.arange(part.shape[0]) + top + 0.5
    spot = np.exp(-((rows[:, None] - y) ** 2 + (columns - x) ** 2) / (2 * CLICK**2))
    np.maximum(part, spot, out=part)


def question_maps(
    coordinates: np.ndarray,
    labels: np.ndarray,
    objects: np.ndarray,
    side: int,
    scribbles: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    logits: np.ndarray | None = None,
) -> np.ndarray:
    """The prompts of a question as maps of each object that they show, float32 [K, `CHANNELS`, S / 2, S / 2].

    Args:
        coordinates, labels, objects: [P, 2], [P] and [P], as in `conversation.EncodedQuestion`.
        side: S. scribbles: of the first object, see `RegionPrompts`; logits: [S / 2, S / 2], of its mask before.
    """
    maps = []
    for number in range(int(objects.max(initial=-1)) + 1):
        prompts = RegionPrompts()
        if number == 0:
            prompts.scribbles = scribbles
            prompts.logits = None if logits is None else logits.repeat(2, 0).repeat(2, 1)
        for place in np.flatnonzero((objects == number) & (labels <= BOX_TOP_LEFT)):
            x, y = coordinates[place].tolist()
            if labels[place] == BOX_TOP_LEFT:
                prompts.boxes.append((x, y, *coordinates[place + 1].tolist()))
            else:
                prompts.points.append((x, y, int(labels[place])))
        maps.append(half(draw(prompts, side)))
    return np.stack(maps) if maps else np.zeros((0, CHANNELS, side // 2, side // 2), dtype=np.float32)


def half(maps: np.ndarray) -> np.ndarray:
    """Maps [..., S, S] at half of the resolution, [..., S / 2, S / 2], float32."""
    rows = maps[..., ::2, :] + maps[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


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
