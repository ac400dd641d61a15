"""TIFF: pages of grey values, colours or indices, by tifffile, and by PIL where the compression needs it.

PIL alone would take signed bytes for unsigned ones, 16-bit WhiteIsZero for BlackIsZero and planes of 16-bit colours by the wrong
byte, lay the rows of uncompressed pictures that are stored turned wrongly, and has no 64-bit floats.
"""

from __future__ import annotations

import logging
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from ..errors import InputError
from .grid import check_size
from .stored_picture import ORIENTATION, TURNS, StoredPicture, opened_by_pil, turned_back, used_alpha

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Values of tags, as of TIFF 6.0.
WHITE_IS_ZERO, RGB, PALETTE, CMYK = 0, 2, 3, 5
UNPACKED, JPEG = 1, (6, 7)
REDUCED_OR_MASK = 1 | 4
ALPHA = (1, 2)
KNOWN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I;16B", "F")

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it warns of is an error here, or nothing


def is_tiff(path: Path) -> bool:
    """By its first bytes, whatever its name."""
    with path.open("rb") as file:
        return file.read(4) in MAGIC


def read_tiff(path: Path) -> StoredPicture:
    """All pages of full size.

    Raises:
        InputError: it is truncated, its pages differ, or it holds other channels than grey or colour.
        Exception: those of the libraries, for a damaged file.
    """
    size = path.stat().st_size
    with tifffile.TiffFile(path) as file:
        # By number: in a damaged file the pages may go round in a circle, which their iterator does not notice.
        pages = [(number, file.pages[number].aspage()) for number in range(len(file.pages))]
        pages = [entry for entry in pages if not int(entry[1].subfiletype) & REDUCED_OR_MASK] or pages
        kinds = dict.fromkeys(_kind(page) for _, page in pages)
        if len(kinds) > 1:
            found = "; ".join(map(str, list(kinds)[:4]))
            raise InputError(path, f"{len(pages)} pages of {len(kinds)} kinds ({found})", "pages of one size and kind")
        first = pages[0][1]
        if file.is_imagej and (file.imagej_metadata or {}).get("images", 1) > len(pages):
            raise InputError(path, "a stack of ImageJ without pages", "a page for each slice")
        if first.imagedepth > 1 or first.samplesperpixel > 4:
            found = f"pixels of {first.samplesperpixel} samples in {first.imagedepth} layers"
            raise InputError(path, found, "grey values or colours")
        pixels = first.imagelength * first.imagewidth * first.samplesperpixel * first.bitspersample
        check_size(path, len(pages) * (pixels + 7) // 8, size, packed=int(first.compression) != UNPACKED)
        parts = [_decoded(path, number, page, size) for number, page in pages]
        palette, turn = _palette(first), int(first.tags.valueof(ORIENTATION, default=1))
    values = np.stack([v for v, _ in parts]) if len(parts) > 1 else parts[0][0]
    alphas = [a for _, a in parts if a is not None]
    alpha = None if len(alphas) < len(parts) else np.stack(alphas) if len(parts) > 1 else alphas[0]
    return StoredPicture(
        values.astype(np.uint8) if values.dtype == bool else values,
        palette,
        used_alpha(alpha),
        lossy=int(first.compression) in JPEG,
        bilevel=first.bitspersample == 1 and first.samplesperpixel == 1 and int(first.photometric) != PALETTE,
        turn=turn if turn in TURNS else 1,
        pages=len(parts),
    )


def _kind(page: tifffile.TiffPage) -> tuple:
    """What must be the same of all pages."""
    turn, palette = int(page.tags.valueof(ORIENTATION, default=1)), _palette(page)
    about = page.imagelength, page.imagewidth, page.samplesperpixel, str(page.dtype), int(page.photometric), turn
    return about if palette is None else (*about, f"palette {zlib.crc32(palette.tobytes()):x}")


def _decoded(path: Path, number: int, page: tifffile.TiffPage, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Values [h, w] or [h, w, 3], and alpha as uint8 or none."""
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts)]
    if not ends or min(page.databytecounts) < 1 or min(page.dataoffsets) < 8 or max(ends) > size:
        raise InputError(path, f"pixels of page {number} beyond the end of the file (truncated)", "all of them")
    photometric = int(page.photometric)
    if page.dtype is None or (photometric > PALETTE and photometric != CMYK):
        return _by_pil(path, number, page)
    try:
        values = page.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        return _by_pil(path, number, page)
    if page.planarconfig == 1:  # [h, w, samples]
        values = values.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
    else:
        values = np.moveaxis(values.reshape(page.samplesperpixel, page.imagelength, page.imagewidth), 0, -1)
    if photometric == CMYK:
        if values.dtype != np.uint8 or values.shape[2] != 4:
            raise InputError(path, f"inks of {values.shape[2]} samples of type {values.dtype}", "four of 8 bits")
        return np.asarray(Image.fromarray(values, "CMYK").convert("RGB")), None
    colours = 3 if photometric == RGB else 1
    extra = values.shape[2] - colours
    if extra not in (0, 1) or (extra and photometric == PALETTE):
        raise InputError(path, f"pixels of {values.shape[2]} samples", "grey values or colours")
    alpha = None
    if extra and int((page.extrasamples or (0,))[0]) in ALPHA and values.dtype.kind == "u":
        alpha = (values[..., -1] >> (8 * (values.dtype.itemsize - 1))).astype(np.uint8)
    elif extra and colours == 1:
        raise InputError(path, "two grey values for each pixel", "one, and alpha")
    values = values[..., :3] if colours == 3 else values[..., 0]
    if photometric == WHITE_IS_ZERO:
        values = _turned_over(path, values, page.bitspersample)
    return values.astype(np.float32) if values.dtype == np.float16 else values, alpha


def _turned_over(path: Path, values: np.ndarray, bits: int) -> np.ndarray:
    """Of WhiteIsZero: high values become bright."""
    if values.dtype.kind == "f":
        raise InputError(
            path, "WhiteIsZero with floating point values", "BlackIsZero, as white has no value of its own"
        )
    if values.dtype == bool:
        return ~values
    return values.dtype.type(2**bits - 1) - values if values.dtype.kind == "u" else -1 - values


def _by_pil(path: Path, number: int, page: tifffile.TiffPage) -> tuple[np.ndarray, np.ndarray | None]:
    """What it reads rightly; it has turned the page upright, and WhiteIsZero of up to 8 bits over."""
    with opened_by_pil(path) as opened:
        opened.seek(number)
        image: Image.Image = opened
        image.load()
        mode = image.mode
        turn = int(page.tags.valueof(ORIENTATION, default=1))
        turn = turn if turn in TURNS else 1
        wide = page.bitspersample > 8 and page.samplesperpixel > 1
        if TURNS[turn][0] and int(page.compression) == UNPACKED:
            raise InputError(
                path, f"colours of kind {int(page.photometric)}, stored turned", "RGB, as PIL lays them wrongly"
            )
        if mode not in KNOWN_MODES or wide or (page.dtype is not None and page.dtype.kind == "i"):
            kind = f"{page.samplesperpixel} samples of {page.bitspersample} bits"
            raise InputError(path, f"{kind}, compression {int(page.compression)}", "8 bits, or no compression")
        alpha = np.asarray(image.getchannel("A")) if mode in ("LA", "RGBA") else None
        if mode == "LA":
            image = image.convert("L")
        elif mode in ("RGBA", "CMYK", "YCbCr", "LAB"):
            image = image.convert("RGB")
        values = turned_back(np.asarray(image), turn)
    if int(page.photometric) == WHITE_IS_ZERO and page.bitspersample > 8:
        values = _turned_over(path, values, page.bitspersample)
    return values, None if alpha is None else turned_back(alpha, turn)


def _palette(page: tifffile.TiffPage) -> np.ndarray | None:
    if int(page.photometric) != PALETTE:
        return None
    colours = np.asarray(page.colormap).T
    out = np.zeros((max(256, len(colours)), 3), np.uint8)
    out[: len(colours)] = colours >> (8 if colours.max() > 255 else 0)
    return out
