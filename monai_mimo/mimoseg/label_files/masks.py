"""The masks of one entity on all slices of an image, without a full volume of booleans for each of a hundred entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Masks(Protocol):
    """What the builder asks of them.

    Attributes:
        areas: pixels on each slice [n].
        note: what was odd about the file and what was made of it; mostly empty.
    """

    areas: np.ndarray
    note: str

    def __getitem__(self, number: int) -> np.ndarray:
        """bool [h, w] of one slice."""


class NoMasks:
    """Of an entity that was looked for and is not there."""

    note = ""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.areas = np.zeros(shape[0], dtype=np.int64)
        self._size = shape[1:3]

    def __getitem__(self, number: int) -> np.ndarray:
        return np.zeros(self._size, dtype=bool)


class ValueMasks:
    """The pixels of a label map [n, h, w] that hold one of some values.

    Args:
        areas: as of `Masks`; whoever reads the map has counted them.
    """

    def __init__(self, frames: np.ndarray, values: Sequence[int], areas: np.ndarray, note: str = "") -> None:
        self.note, self.areas, self._frames, self._values = note, areas, frames, values

    def __getitem__(self, number: int) -> np.ndarray:
        frame = self._frames[number]
        if not self._values:
            return frame != 0
        return frame == self._values[0] if len(self._values) == 1 else np.isin(frame, self._values)


class BoxMasks:
    """A mask bool [n, h, w], of which the box that holds it is kept."""

    def __init__(self, mask: np.ndarray, note: str = "") -> None:
        self.note = note
        self._size = mask.shape[1:]
        self.areas = np.array([np.count_nonzero(frame) for frame in mask])
        numbers = np.flatnonzero(self.areas)
        first, last = (numbers[0], numbers[-1] + 1) if numbers.size else (0, 0)
        rows = np.flatnonzero(mask[first:last].any(axis=(0, 2)))
        columns = np.flatnonzero(mask[first:last].any(axis=(0, 1)))
        self._first, self._box = first, (slice(0, 0), slice(0, 0))
        if rows.size:
            self._box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        self._part = mask[first:last, self._box[0], self._box[1]].copy()

    def __getitem__(self, number: int) -> np.ndarray:
        out = np.zeros(self._size, dtype=bool)
        if self.areas[number]:
            out[self._box] = self._part[number - self._first]
        return out


class UnitedMasks:
    """What at least `agree` of several masks hold."""

    def __init__(self, parts: Sequence[Masks], agree: int = 1) -> None:
        self._parts, self._agree = parts, agree
        self.note = "; ".join(dict.fromkeys(part.note for part in parts if part.note))
        together = np.sum([part.areas for part in parts], axis=0)
        self.areas = np.array([self[k].sum() if together[k] else 0 for k in range(len(together))])

    def __getitem__(self, number: int) -> np.ndarray:
        votes = np.sum([part[number] for part in self._parts], axis=0)
        return np.asarray(votes >= self._agree)
