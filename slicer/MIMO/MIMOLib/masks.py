"""Masks that are kept for undo: packed, since most of a volume is empty."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import MimoError

OVERLAP = " ∩ "  # joins the names of a voxel that several segments hold, as the server has it
MOST = 65535


@dataclass(frozen=True)
class Mask:
    """Which voxels [i, j, k] belong to something, compressed."""

    shape: tuple[int, int, int]
    count: int
    data: bytes

    @classmethod
    def of(cls, voxels: np.ndarray) -> Mask:
        """Of bool [i, j, k]."""
        i, j, k = voxels.shape
        packed = np.packbits(np.asfortranarray(voxels).ravel(order="K"))
        return cls((i, j, k), int(np.count_nonzero(voxels)), zlib.compress(packed.tobytes(), 1))

    def voxels(self) -> np.ndarray:
        """bool [i, j, k]."""
        size = int(np.prod(self.shape))
        bits = np.unpackbits(np.frombuffer(zlib.decompress(self.data), np.uint8), count=size)
        return bits.astype(bool).reshape(self.shape, order="F")

    def __or__(self, other: Mask) -> Mask:
        return Mask.of(self.voxels() | other.voxels())


@dataclass(frozen=True)
class Segment:
    """A named mask. `color`: red, green, blue, 0 to 1."""

    name: str
    color: tuple[float, float, float]
    mask: Mask


def unique(name: str, taken: Sequence[str]) -> str:
    """A name that is not taken: the name itself, or with the next number."""
    number, new = 1, name
    while new in taken:
        number += 1
        new = f"{name} {number}"
    return new


def label_map(segments: Sequence[Segment]) -> tuple[np.ndarray, dict[str, int], dict[int, list[int]]]:
    """One label map of segments that may overlap.

    Segment n has value n + 1; voxels that several hold have values of their own, called by the names joined with `OVERLAP`, so
    that the server gives each segment all of its voxels.

    Returns:
        uint8 or uint16 [i, j, k], the values of the names, and the colours (0 to 255) of the segments' own values.

    Raises:
        MimoError: there is nothing, or two have one name.
    """
    filled = [s for s in segments if s.mask.count]
    if not filled:
        raise MimoError("There is nothing to save: no accepted segment has a voxel.")
    names = [s.name for s in filled]
    if len(set(names)) < len(names):
        raise MimoError("Two accepted segments have the same name. Give them names of their own in the Segment Editor.")
    labels = np.zeros(filled[0].mask.shape, np.uint16)
    values = {name: n for n, name in enumerate(names, start=1)}
    members: dict[int, tuple[int, ...]] = {0: (), **{n: (n,) for n in values.values()}}
    for value, segment in enumerate(filled, start=1):
        mask = segment.mask.voxels()
        for held in np.unique(labels[mask]).tolist():  # before this segment is drawn
            here = mask & (labels == held)
            together = (*members[held], value)
            number = _value_of(together, members, len(filled))
            members.setdefault(number, together)
            labels[here] = number
    for number, together in members.items():
        if len(together) > 1 and (labels == number).any():
            values[OVERLAP.join(names[n - 1] for n in together)] = number
    colors = {n: [round(255 * c) for c in s.color] for n, s in enumerate(filled, start=1)}
    return (labels.astype(np.uint8) if labels.max() < 256 else labels), values, colors


def _value_of(together: tuple[int, ...], members: dict[int, tuple[int, ...]], segments: int) -> int:
    """Of a set of segments: its own, one that it has already, or a new one."""
    if len(together) == 1:
        return together[0]
    known: int | None = next((n for n, m in members.items() if m == together), None)
    number = known if known is not None else max(segments, max(members)) + 1
    if number > MOST:
        raise MimoError("The accepted segments overlap in too many ways to be saved as one label.")
    return number
