"""What a person marked on a volume, and the request that is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import MimoError
from .geometry import Grid
from .masks import Mask

SLICE, VOLUME, NAMES = (
    "mimo_ask",
    "mimo_volume",
    "mimo_segment",
)  # the server's tasks, in the order of the module's list
MOST_PAINTED = 12_000  # voxels; the server takes a request of 256 kB
Point = tuple  # of three floats, RAS millimetres


@dataclass(frozen=True)
class Marks:
    """Places in RAS millimetres, and what was painted.

    Attributes:
        positive, negative: points inside, and outside, of what is meant.
        box: corners of a box around it, or none.
        inside, outside: scribbles, or none.
    """

    positive: tuple[Point, ...] = ()
    negative: tuple[Point, ...] = ()
    box: tuple[Point, ...] = ()
    inside: Mask | None = None
    outside: Mask | None = None

    @property
    def any(self) -> bool:
        """Whether something is marked."""
        return bool(self.positive or self.negative or self.box or self.inside or self.outside)

    @property
    def starts(self) -> bool:
        """Whether something is marked as meant, from which a structure can be followed."""
        return bool(self.positive or self.box or self.inside)

    def words(self) -> str:
        """In words, for the panel."""
        parts = [
            f"{len(self.positive)} positive" if self.positive else "",
            f"{len(self.negative)} negative" if self.negative else "",
            "a box" if self.box else "",
            "a scribble inside" if self.inside else "",
            "a scribble outside" if self.outside else "",
        ]
        said = ", ".join(part for part in parts if part)
        return f"Marked: {said}." if said else "Nothing is marked."


def request(task: str, question: str, marks: Marks, grid: Grid, seen: Sequence[float] | None) -> dict[str, Any]:
    """The parameters of a request; see the README of the server's app.

    Args:
        task: `SLICE`, `VOLUME` or `NAMES`.
        question: in words; for `NAMES` names with commas between, or nothing for all that the weights know.
        seen: a place in RAS millimetres on the slice in view.

    Raises:
        MimoError: there is nothing to ask, or a mark lies outside the volume.
    """
    question = question.strip()
    if task == NAMES:
        return {"label": [name.strip() for name in question.split(",") if name.strip()]}
    if task == SLICE and not question and not marks.any:
        raise MimoError("Type a question, or mark something on the slice.")
    if task == VOLUME and not marks.starts:
        raise MimoError("Mark what you mean on one slice: a positive point, a box or a scribble inside.")
    params: dict[str, Any] = {
        "foreground": [grid.voxel(p) for p in marks.positive],
        "background": [grid.voxel(p) for p in marks.negative],
    }
    if task == SLICE:
        params["question"] = question
    if marks.box:
        params["bbox"] = grid.box(marks.box)
    for name, mask in (("foreground_scribble", marks.inside), ("background_scribble", marks.outside)):
        if mask is not None:
            params[name] = painted(mask, grid)
    if seen is not None:
        params["slice"] = grid.nearest(seen)
    return params


def painted(mask: Mask, grid: Grid) -> list[list[int]]:
    """The voxels [i, j, k] of a scribble.

    Raises:
        MimoError: it is of another volume, or too large.
    """
    if mask.shape != grid.shape:
        raise MimoError("The scribble was painted on another volume. Clear the marks and paint again.")
    if mask.count > MOST_PAINTED:
        raise MimoError(f"The scribble has {mask.count} voxels; at most {MOST_PAINTED} can be sent. Paint a thin line.")
    return np.argwhere(mask.voxels()).tolist()
