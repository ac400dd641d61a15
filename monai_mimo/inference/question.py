"""A question with its prompts: whether it can be asked, and whether an answer lies where it points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..data.conversation import Point, Scribbles
from ..data.prompt_maps import RegionPrompts
from ..errors import InputError
from .answer import Entity


class Question(NamedTuple):
    """A question about an image with its prompts, as of `MimoPredictor.ask`."""

    text: str = ""
    points: Sequence[Sequence[float]] = ()
    boxes: Sequence[Sequence[float]] = ()
    scribbles: Scribbles = (None, None)
    mask_input: np.ndarray | None = None

    @property
    def has_prompts(self) -> bool:
        drawn = any(line is not None and line.any() for line in self.scribbles)
        return bool(self.points or self.boxes or drawn or self.mask_input is not None)


def check_point(point: Sequence[float], height: int, width: int) -> Point:
    """(x, y[, label]) -> (x, y, label).

    Raises:
        InputError: it is outside the image, or the label is neither 0 nor 1.
    """
    x, y, label = (*point, 1) if len(point) == 2 else tuple(point)
    if not (0 <= x < width and 0 <= y < height):
        raise InputError("point", f"({x:g}, {y:g})", f"x in 0..{width - 1} and y in 0..{height - 1}")
    if label not in (0, 1):
        raise InputError("point", f"label {label}", "1 (inside) or 0 (outside)")
    return (x, y, int(label))


def check_box(box: Sequence[float], height: int, width: int) -> None:
    """Raises:
    InputError: the box has no area or leaves the image.
    """
    x0, y0, x1, y1 = box
    found = f"({', '.join(f'{v:g}' for v in box)})"
    if not (x0 < x1 and y0 < y1):
        raise InputError("box", f"{found}, which has no area", "x0 < x1 and y0 < y1")
    if not (x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height):
        raise InputError("box", found, f"a box inside (0, 0, {width}, {height})")


def shown_by(question: Question) -> RegionPrompts:
    """The prompts of a question in pixels of its image, a click at the middle of its pixel."""
    points = [(x + 0.5, y + 0.5, int(label)) for x, y, label in question.points]
    return RegionPrompts(points, [(b[0], b[1], b[2], b[3]) for b in question.boxes], question.scribbles)


def obeys(question: Question, entities: Sequence[Entity]) -> bool:
    """Whether what is grounded lies where the question points: each click in a mask, and no mask mostly outside of the boxes."""
    for x, y, label in question.points:
        if label and entities and not any(e.mask[int(y), int(x)] for e in entities):
            return False
    if not question.boxes or question.points:
        return True
    within = np.zeros(entities[0].mask.shape, dtype=bool) if entities else np.zeros((1, 1), dtype=bool)
    for x0, y0, x1, y1 in question.boxes:
        within[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
    return all((e.mask & within).sum() * 2 >= e.mask.sum() for e in entities)


def check_pixels(pixels: np.ndarray) -> np.ndarray:
    """uint8 [h, w] or [h, w, 3] -> [h, w, 3].

    Raises:
        InputError: they are something else.
    """
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise InputError("image", f"{pixels.dtype} {list(pixels.shape)}", "uint8 pixels [h, w] or [h, w, 3]")
    return pixels
