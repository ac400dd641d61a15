"""Pictures as they are meant to be seen: upright, in their colours, with their own grey values; and writing them as PNG, fast."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from isal import isal_zlib
from PIL import Image

from ..errors import InputError
from .grid import Grid, check_size
from .stored_picture import ORIENTATION, TRANSPARENT, TURNS, StoredPicture, opened_by_pil, stored_size, used_alpha
from .tiff import is_tiff, read_tiff

LOSSY = ("JPEG", "MPO")
BYTES = {"1": 1, "L": 1, "P": 1, "LA": 4, "PA": 4, "I;16": 2, "I;16B": 2}  # of a pixel in PIL's memory; else 4


def read_picture(path: Path) -> Grid:
    """PNG, JPEG, BMP or TIFF as it is seen; transparent pixels in the colours that they have, with a note. Several pages of a
    TIFF are a stack.

    Raises:
        InputError: it has other channels than grey or red, green and blue, or declares more pixels than it can hold.
        Exception: those of the libraries, for a damaged file.
    """
    stored = read_stored(path)
    notes = []
    if stored.alpha is not None:
        count = np.count_nonzero(stored.alpha < TRANSPARENT)
        notes.append(f"{count} of {stored.alpha.size} pixels are transparent: shown in the colours that they have")
    return Grid(stored.shown(), stack=stored.pages > 1, turn=stored.turn, as_stored=stored.plain, notes=tuple(notes))


def read_stored(path: Path) -> StoredPicture:
    """The pixels as the file has them; label maps are read so, as their indices and transparency mean something. Raises as
    `read_picture`."""
    if is_tiff(path):
        return read_tiff(path)
    with opened_by_pil(path) as opened:
        image: Image.Image = opened
        turn, mode, lossy, frames = _turn(image), image.mode, image.format in LOSSY, getattr(image, "n_frames", 1)
        check_size(path, image.width * image.height * BYTES.get(mode, 4), path.stat().st_size, packed=True)
        if image.format != "MPO" and frames > 1:
            raise InputError(path, f"a moving picture of {frames} frames", "one picture, or a TIFF with pages")
        image.load()
        if mode == "1":
            return StoredPicture(np.asarray(image).astype(np.uint8), bilevel=True, turn=turn)
        alpha = None
        if image.has_transparency_data:
            alpha = used_alpha(np.asarray(image.convert("RGBA"))[..., 3])
        if mode in ("P", "PA"):
            palette = np.zeros((256, 3), np.uint8)
            colours = np.asarray(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
            palette[: len(colours)] = colours
            values = np.asarray(image)
            return StoredPicture(values if mode == "P" else values[..., 0], palette, alpha, lossy, turn=turn)
        plain = mode in ("L", "RGB") and alpha is None and turn == 1 and image.format in ("PNG", "JPEG")
        if mode in ("LA", "La"):
            image = image.convert("L")
        elif mode not in ("L", "RGB", "F") and not mode.startswith("I"):
            image = image.convert("RGB")
        values = np.asarray(image)
        if not values.dtype.isnative:
            values = values.astype(values.dtype.newbyteorder("="))
        return StoredPicture(values, None, alpha, lossy, turn=turn, plain=plain)


def turn_and_size(path: Path) -> tuple[int, tuple[int, int]]:
    """The EXIF orientation of a picture and the size (h, w) of its pixels as they are stored, without reading them. Raises
    what PIL raises."""
    with opened_by_pil(path) as image:
        turn, size = _turn(image), (image.height, image.width)
        return turn, stored_size(
            size, turn
        ) if image.format == "TIFF" else size  # of a TIFF, PIL tells the upright size


def _turn(image: Image.Image) -> int:
    turn = image.getexif().get(ORIENTATION, 1)
    return turn if turn in TURNS else 1


GREY, RGB = 0, 2  # colour types of the PNG specification, section 11.2.1
UP = 2  # its filter of each row: the difference from the row above (section 9.2)


def encode_png(pixels: np.ndarray) -> bytes:
    """uint8 [h, w] or [h, w, 3] -> the bytes of a PNG file."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256
    header = struct.pack(">IIBBBBB", width, height, 8, GREY if pixels.ndim == 2 else RGB, 0, 0, 0)
    data = isal_zlib.compress(filtered, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    """Length, kind, data and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
