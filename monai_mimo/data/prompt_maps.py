"""Visual prompts as maps: what the fine branch of the mask decoder reads.

A map has `CHANNELS` channels over the model's square input: the box, positive clicks and scribbles, negative ones, the logits
of the mask before, and whether there is one. Coordinates are continuous (x, y) in pixels of that square: 0.5 is the middle of
the first pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

# The kinds of prompt tokens, numbered as in SAM. A box is two tokens, its corners.
NEGATIVE, POSITIVE, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT, PADDING = 0, 1, 2, 3, -1
BOX_MAP, POSITIVE_MAP, NEGATIVE_MAP, LOGITS_MAP, HAS_LOGITS_MAP = range(5)
CHANNELS = 5
CLICK = 2.0  # standard deviation in pixels of the spot that a click makes
LOGIT_LIMIT = 10.0
PROMPT_TOKENS = 8  # at most, of an object


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


def draw_prompts(prompts: RegionPrompts, side: int) -> np.ndarray:
    """Prompts -> maps float32 [`CHANNELS`, S, S]."""
    maps = np.zeros((CHANNELS, side, side), dtype=np.float32)
    for box in prompts.boxes:
        add_box(maps[BOX_MAP], *box)
    for x, y, label in prompts.points:
        add_click(maps[POSITIVE_MAP if label else NEGATIVE_MAP], x, y)
    for channel, scribble in zip((POSITIVE_MAP, NEGATIVE_MAP), prompts.scribbles):
        if scribble is not None:
            from scipy.ndimage import gaussian_filter  # slow to import, and points and boxes do without

            thick = gaussian_filter(scribble.astype(np.float32), 1.0)
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
        maps.append(halved(draw_prompts(prompts, side)))
    return np.stack(maps) if maps else np.zeros((0, CHANNELS, side // 2, side // 2), dtype=np.float32)


def halved(maps: np.ndarray) -> np.ndarray:
    """Maps [..., S, S] at half of the resolution, [..., S / 2, S / 2], float32."""
    rows = maps[..., ::2, :] + maps[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def prompt_tokens(prompts: RegionPrompts) -> tuple[np.ndarray, np.ndarray]:
    """The prompts as SAM's tokens: coordinates float32 [P, 2] and kinds [P]; of a scribble, its middle pixel."""
    places: list[tuple[float, float]] = []
    kinds: list[int] = []
    for x0, y0, x1, y1 in prompts.boxes:
        places += [(x0, y0), (x1, y1)]
        kinds += [BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]
    for x, y, label in prompts.points:
        places.append((x, y))
        kinds.append(label)
    for label, line in zip((1, 0), prompts.scribbles):
        if line is not None and line.any():
            rows, columns = np.nonzero(line)
            places.append((columns[len(columns) // 2] + 0.5, rows[len(rows) // 2] + 0.5))
            kinds.append(label)
    places, kinds = places[:PROMPT_TOKENS], kinds[:PROMPT_TOKENS]
    return np.array(places, dtype=np.float32).reshape(-1, 2), np.array(kinds, dtype=np.int64)


def prompt_batch(prompts: Sequence[RegionPrompts], side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The prompts of M regions on squares of `side` S pixels, as `Mimo.decode` reads them: coordinates [M, P, 2] and labels
    [M, P], `PADDING` where one has fewer than the others, and maps [M, `CHANNELS`, S / 2, S / 2]."""
    tokens = [prompt_tokens(p) for p in prompts]
    longest = max(len(kinds) for _, kinds in tokens)
    coordinates = np.zeros((len(tokens), longest, 2), dtype=np.float32)
    labels = np.full((len(tokens), longest), PADDING)
    for row, (places, kinds) in enumerate(tokens):
        coordinates[row, : len(kinds)], labels[row, : len(kinds)] = places, kinds
    return coordinates, labels, np.stack([halved(draw_prompts(p, side)) for p in prompts])
