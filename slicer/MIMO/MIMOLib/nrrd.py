"""Volumes and label maps as NRRD, the form in which they go to the server and come from it."""

from __future__ import annotations

import gzip
import zlib

import numpy as np

from .errors import MimoError
from .geometry import LPS, Grid

TYPES = {
    "uint8": "<u1",
    "unsigned char": "<u1",
    "uchar": "<u1",
    "uint16": "<u2",
    "unsigned short": "<u2",
    "ushort": "<u2",
}
WRITTEN = {"int8", "uint8", "int16", "uint16", "int32", "uint32", "float", "double"}
SPACES = {
    "left-posterior-superior": LPS,
    "lps": LPS,
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
}


def write(voxels: np.ndarray, grid: Grid) -> bytes:
    """A volume or label map [i, j, k] of numbers, in LPS as ITK writes one.

    Raises:
        MimoError: its voxels are no single numbers.
    """
    kind = voxels.dtype.name.replace("float32", "float").replace("float64", "double")
    if voxels.ndim != 3 or kind not in WRITTEN:
        raise MimoError("Only volumes of single numbers can be sent to the server, no colours.")
    affine = LPS @ grid.affine
    directions = " ".join(f"({','.join(repr(float(v)) for v in column)})" for column in affine[:3, :3].T)
    header = [
        "NRRD0004",
        f"type: {kind}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, voxels.shape))}",
        f"space directions: {directions}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: ({','.join(repr(float(v)) for v in affine[:3, 3])})",
    ]
    data = voxels.astype(voxels.dtype.newbyteorder("<")).tobytes(order="F")
    return "\n".join([*header, "", ""]).encode("ascii") + gzip.compress(data, 1)


def read(data: bytes) -> tuple[np.ndarray, Grid]:
    """A label map [i, j, k] and its grid.

    Raises:
        MimoError: it is none, or of a form that is not read.
    """
    head, found, body = data.partition(b"\n\n")
    if not data.startswith(b"NRRD") or not found:
        raise MimoError("The server sent something that is no label map.")
    fields: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").splitlines()[1:]:
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            fields[name.strip().lower()] = value.lstrip("=").strip()
    try:
        kind = np.dtype(TYPES[fields["type"].lower()])
        if kind.itemsize > 1 and fields.get("endian", "little") != "little":
            raise ValueError("endian")
        shape = [int(n) for n in fields["sizes"].split()]
        axes = [_vector(v) for v in fields["space directions"].split()]
        to_ras = SPACES[fields["space"].lower()]
        encoding = fields["encoding"].lower()
        raw = zlib.decompress(body, 47) if encoding in ("gzip", "gz") else {"raw": body}[encoding]
        labels = np.frombuffer(raw, kind).reshape(shape, order="F")
        if len(shape) != 3 or len(axes) != 3:
            raise ValueError("dimension")
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = np.transpose(axes), _vector(fields["space origin"])
    except (KeyError, ValueError, zlib.error) as error:
        raise MimoError(f"The server sent a label map that cannot be read ({error}).") from error
    return labels, Grid(shape, to_ras @ affine)


def _vector(text: str) -> list[float]:
    values = [float(v) for v in text.strip("()").split(",")]
    if len(values) != 3:
        raise ValueError(text[:40])
    return values
