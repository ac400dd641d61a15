"""What an image file holds, and the checks that every format shares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError

LARGEST = 2**29  # bytes of pixels that a small file may claim to hold; a larger file may hold as much as itself


@dataclass(frozen=True)
class Grid:
    """What a file holds.

    Attributes:
        values: a picture [h, w] or [h, w, 3], a volume [x, y, z] or [x, y, z, 3] in the order of the file's axes, or a stack of
            pictures [n, h, w] or [n, h, w, 3].
        affine: of a volume, voxel indices to RAS millimetres, [4, 4]; none for pictures.
        spacing_mm: (row, column) of a picture, when the file tells.
        modality: from a DICOM header.
        stack: whether `values` are pictures of one size, one after the other, without a place in space.
        turn: the EXIF orientation with which a picture is stored; its values are upright already.
        as_stored: whether the file is a PNG or JPEG of 8-bit grey or RGB pixels that are shown as they are.
        not_finite: how many values were NaN or infinite in the file.
        notes: what was odd about the file and what was made of it, a line for each.
    """

    values: np.ndarray
    affine: np.ndarray | None = None
    spacing_mm: tuple[float, float] | None = None
    modality: str | None = None
    stack: bool = False
    turn: int = 1
    as_stored: bool = False
    not_finite: int = 0
    notes: tuple[str, ...] = ()


def check_size(path: Path, needed: int, stored: int, packed: bool) -> None:
    """Refuse before anything is allocated what the file cannot hold.

    Args:
        needed: bytes of pixels that the header declares.
        stored: bytes that the file has for them.
        packed: whether they are compressed.

    Raises:
        InputError: the file is truncated, or declares more than `LARGEST` bytes and than itself.
    """
    if not packed and needed > stored:
        raise InputError(path, f"{stored} bytes of pixels (truncated)", f"{needed} as the header says")
    if needed > max(LARGEST, stored):
        raise InputError(path, f"{needed} bytes of pixels in a file of {stored}", f"at most {LARGEST}")


def only_finite(path: Path, grid: Grid) -> Grid:
    """NaN and values below all others become the smallest finite value, infinite ones the largest, with a note.

    Raises:
        InputError: no value is finite.
    """
    values = grid.values
    if values.dtype.kind != "f":
        return grid
    finite = np.isfinite(values)
    count = int(values.size - np.count_nonzero(finite))
    if not count:
        return grid
    if count == values.size:
        raise InputError(path, "NaN or infinite values only", "finite values")
    least, most = values.min(where=finite, initial=np.inf), values.max(where=finite, initial=-np.inf)
    note = f"{count} of {values.size} values are NaN or infinite: shown as the least and the greatest of the others"
    values = np.nan_to_num(values, nan=least, posinf=most, neginf=least)
    return replace(grid, values=values, not_finite=count, notes=(*grid.notes, note))
