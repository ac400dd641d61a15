"""The pixels of a picture as its file stores them, before they are turned upright or coloured."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

# The orientations of EXIF (tag 0x0112), from stored to upright: whether rows and columns are exchanged, and whether rows and
# columns then run backwards.
TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
ORIENTATION = 0x0112
TRANSPARENT = 128  # alpha below this is taken for transparent


@dataclass(frozen=True)
class StoredPicture:
    """What a file of pictures holds.

    Attributes:
        values: [h, w], indices where there is a palette, or [h, w, 3]; of several pages [n, h, w] or [n, h, w, 3].
        palette: uint8 [256 or more, 3], the colours of the indices, or none.
        alpha: uint8, of the shape of `values` without colours; none where all is opaque.
        lossy: whether it was stored with loss, as JPEG.
        bilevel: whether it has one bit a pixel; values are 0 and 1.
        turn: EXIF orientation.
        pages: how many there are.
        plain: whether any program shows the file as `values` are, upright.
    """

    values: np.ndarray
    palette: np.ndarray | None = None
    alpha: np.ndarray | None = None
    lossy: bool = False
    bilevel: bool = False
    turn: int = 1
    pages: int = 1
    plain: bool = False

    @property
    def in_colour(self) -> bool:
        """Whether `values` are red, green and blue."""
        return self.values.ndim == (4 if self.pages > 1 else 3)

    def shown(self) -> np.ndarray:
        """Upright pixels: colours instead of indices, 0 and 255 instead of bits."""
        values = self.values if self.palette is None else self.palette[self.values]
        return self.upright(values * np.uint8(255) if self.bilevel else values)

    def upright(self, pixels: np.ndarray) -> np.ndarray:
        """Stored pixels of this picture, turned."""
        return upright(pixels, self.turn, first=int(self.pages > 1))


@contextmanager
def opened_by_pil(path: Path) -> Iterator[ImageFile.ImageFile]:
    """A picture by PIL, without its warnings: of large pictures, which `check_size` refuses, and of odd tags."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            yield image


def upright(pixels: np.ndarray, turn: int, first: int = 0) -> np.ndarray:
    """Stored pixels with an EXIF orientation -> as they are meant to be seen, as a view.

    Args:
        first: the number of the axis of rows; that of columns is the next.
    """
    swap, rows, columns = TURNS[turn]
    pixels = pixels.swapaxes(first, first + 1) if swap else pixels
    before = (slice(None),) * first
    along = slice(None, None, -1 if rows else 1), slice(None, None, -1 if columns else 1)
    return pixels[before + along]


def turned_back(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Upright pixels -> as a file with this EXIF orientation stores them."""
    return upright(pixels, {6: 8, 8: 6}.get(turn, turn))


def stored_size(size: tuple[int, int], turn: int) -> tuple[int, int]:
    """(h, w) of stored pixels whose upright size is `size`."""
    return (size[1], size[0]) if TURNS[turn][0] else size


def used_alpha(alpha: np.ndarray | None) -> np.ndarray | None:
    """None where everything is opaque."""
    return None if alpha is None or (alpha == 255).all() else alpha
