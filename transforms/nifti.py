"""NIfTI-1 and -2, in one file or two: voxels as they lie in the file, and where they are in millimetres.

nibabel reads the headers; it knows nothing of units of length, refuses a header whose sform is singular though the qform is
good, and takes more than twice as long for gzip as igzip.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from ..errors import InputError, SeveralError
from .grid import Grid, check_size
from .nifti_header import affine_mm, mask_image, parse_header

LONGEST_HEADER = 540
GZIP, GZIP_RATIO = b"\x1f\x8b", 1032  # the most that deflate can make of a byte
INT32 = np.iinfo(np.int32)


def read_nifti(path: Path, channel: int | None) -> Grid:
    """A volume [x, y, z], or [x, y, z, 3] of RGB24 and RGBA32; a 2-D file is one slice.

    The affine is that of the sform, or of one that is missing or singular that of the qform, or else that of the voxel sizes
    alone; in millimetres, whatever the unit of the header. Complex values become their magnitude.

    Raises:
        InputError: it is truncated, has other dimensions, or no place in space.
        Exception: nibabel's own of many kinds, for a damaged header.
    """
    header, values = _opened(path)
    affine, notes = affine_mm(path, header)
    values = chosen(path, values[..., None] if values.ndim == 2 else values, channel)
    if values.dtype.names:  # RGB24 and RGBA32
        values = np.stack([values[name] for name in values.dtype.names[:3]], axis=-1)
        return Grid(values, affine, notes=tuple(notes))
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    slope, intercept = header.get_slope_inter()
    values = _scaled(values, 1.0 if slope is None else slope, intercept or 0.0)
    if values.dtype.kind == "c":
        notes.append("complex values are shown by their magnitude")
        values = np.abs(values)
    return Grid(values.astype(np.float64) if values.dtype.itemsize > 8 else values, affine, notes=tuple(notes))


def is_nifti_pair(path: Path) -> bool:
    """Whether NAME.hdr or NAME.img belongs to a NIfTI file in two parts, rather than to Analyze."""
    with part(path, ".hdr").open("rb") as file:
        start = file.read(348)
    return start[344:347] == b"ni1" or start[4:7] == b"ni2"


def nifti_geometry(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape (x, y, z) and affine in millimetres of a NIfTI file, from its header alone. Raises as `read_nifti`."""
    header = _header(path)
    return (*map(int, header.get_data_shape()), 1, 1, 1)[:3], affine_mm(path, header)[0]


def nifti_mask(path: Path, array: np.ndarray) -> Any:
    """A mask [x, y, z] for the voxels of the NIfTI file at `path`; see `mask_image`."""
    header = _header(path)
    return mask_image(header, array, affine_mm(path, header)[0])


def chosen(path: Path, values: np.ndarray, channel: int | None) -> np.ndarray:
    """A volume [x, y, z] out of what may have further dimensions, of which all but one must be 1.

    Raises:
        InputError: it has more, or `channel` is none of it, or missing.
    """
    shape = list(values.shape)
    longer = [n for n in shape[3:] if n > 1]
    if len(longer) < 2:
        values = values.reshape(*shape[:3], *longer, order="A")
    if values.ndim == 3 and channel is None:
        return values
    if values.ndim != 4:
        raise InputError(path, f"a file of shape {shape}", "a 3-D volume" if channel is None else "four dimensions")
    if channel is None:
        expected = f"a 3-D volume, or the channel to take, 0 to {longer[0] - 1}"
        raise SeveralError(path, f"a file of shape {shape}", expected, "channel", [str(n) for n in range(longer[0])])
    if not 0 <= channel < values.shape[3]:
        raise InputError(path, f"{values.shape[3]} channels", f"a channel {channel}")
    return values[..., channel]


def part(path: Path, suffix: str) -> Path:
    """The other file of a pair, its suffix in capitals if that of `path` is."""
    return path.with_suffix(suffix.upper() if path.suffix.isupper() else suffix)


def unzipped(data: bytes, limit: int) -> tuple[bytes, bool]:
    """The first bytes of a gzip file, of which there may be several in one, up to a limit; and whether that was all, with its
    checksums.

    Raises:
        Exception: zlib's, of damaged data.
    """
    out, total = [], 0
    while data[:2] == GZIP and total < limit:
        unpacker = isal_zlib.decompressobj(31)
        out.append(unpacker.decompress(data, limit - total))
        total += len(out[-1])
        if not unpacker.eof:
            return b"".join(out), False
        data = unpacker.unused_data
    return out[0] if len(out) == 1 else b"".join(out), True


def _header(path: Path) -> Any:
    pair = path.suffix.lower() in (".hdr", ".img")
    with (part(path, ".hdr") if pair else path).open("rb") as file:
        data = file.read(2**16)
    return parse_header(path, unzipped(data, LONGEST_HEADER)[0] if data[:2] == GZIP else data, pair)


def _opened(path: Path) -> tuple[Any, np.ndarray]:
    """The header, and the voxels in all their dimensions, the first axis fastest, without a copy."""
    header = _header(path)
    file = part(path, ".img") if path.suffix.lower() in (".hdr", ".img") else path
    shape, kind, offset = tuple(map(int, header.get_data_shape())), header.get_data_dtype(), header.get_data_offset()
    if not 2 <= len(shape) <= 7 or min(shape) < 1:
        raise InputError(path, f"a file of shape {list(shape)}", "a volume")
    if not kind.itemsize or (kind.kind == "V" and not kind.names):
        raise InputError(path, f"values of type {int(header['datatype'])}", "numbers or colours of whole bytes")
    needed = math.prod(shape) * kind.itemsize
    with file.open("rb") as opened:
        packed = opened.read(2) == GZIP
    if not packed:
        check_size(path, needed, file.stat().st_size - offset, packed=False)
        return header, np.memmap(file, kind, "r", offset, shape, order="F")
    data = file.read_bytes()
    if needed + offset > GZIP_RATIO * len(data):
        raise InputError(path, f"{len(data)} packed bytes", f"enough for the {needed} that the header declares")
    data, whole = unzipped(data, needed + offset + 2**20)
    check_size(path, needed, len(data) - offset, packed=False)
    if not whole and len(data) < needed + offset + 2**20:
        raise InputError(path, "a gzip file without its end (truncated)", "all of it")
    return header, np.ndarray(shape, kind, data, offset, order="F")


def _scaled(values: Any, slope: float, intercept: float) -> np.ndarray:
    """As float32, or float64 where whole numbers have more than 16 bits; whole numbers that only move stay whole."""
    if (slope, intercept) == (1, 0):
        return values
    whole, wide = values.dtype.kind in "iu", values.dtype.itemsize > 2
    if whole and slope == 1 and intercept == int(intercept):
        low, high = int(values.min()) + int(intercept), int(values.max()) + int(intercept)
        if INT32.min <= low and high <= INT32.max:
            return (values.astype(np.int64 if wide else np.int32) + int(intercept)).astype(np.int32)
    if values.dtype.kind == "c":
        return values * slope + intercept
    kind = np.float64 if values.dtype.itemsize > 4 or (whole and wide) else np.float32
    return values.astype(kind) * kind(slope) + kind(intercept)
