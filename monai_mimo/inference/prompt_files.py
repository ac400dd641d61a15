"""Scribbles and masks that come as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..data.conversation import Scribbles
from ..errors import InputError
from ..files import atomic_file, output_errors
from ..transforms.reading import read_grid

DRAWN = 64  # of 255: paint is at least as bright or as strong in colour


def read_scribbles(path: Path) -> Scribbles:
    """A picture of the image's size on black: green or white paint is inside of the object, red outside.

    Returns:
        inside and outside, bool [h, w]; none of a kind that was not drawn.

    Raises:
        InputError: it cannot be read, is no 8-bit picture, or nothing is painted on it.
    """
    values = read_grid(path).values
    if values.dtype != np.uint8 or values.ndim not in (2, 3):
        raise InputError(path, f"{values.dtype} {list(values.shape)}", "an 8-bit picture of scribbles")
    colours = values.astype(int) if values.ndim == 3 else np.repeat(values[..., None].astype(int), 3, axis=2)
    red, green = colours[..., 0], colours[..., 1]
    outside = (red >= DRAWN) & (red > 2 * green)
    inside = (colours.max(2) >= DRAWN) & ~outside
    if not (inside.any() or outside.any()):
        raise InputError(path, "a picture without paint", "green or white inside of the object, red outside, on black")
    return (inside if inside.any() else None, outside if outside.any() else None)


def read_logits(path: Path) -> np.ndarray:
    """Mask logits [g, g] that `save_logits` wrote.

    Raises:
        InputError: it is no such file.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        found = f"a file that cannot be read ({type(error).__name__}: {error})"
        raise InputError(path, found, "what `mimo ask --logits` wrote") from error
    if (
        not isinstance(values, np.ndarray)
        or values.ndim != 2
        or values.dtype.kind != "f"
        or not np.isfinite(values).all()
    ):
        raise InputError(path, "other values", "what `mimo ask --logits` wrote")
    return values.astype(np.float32)


def save_logits(logits: np.ndarray, path: Path) -> None:
    """Write mask logits for a further question about the same image; nothing is left of a file that fails.

    Raises:
        OutputError: it cannot be written.
    """
    with output_errors(path), atomic_file(path) as new, open(new, "wb") as file:
        np.save(file, logits)
