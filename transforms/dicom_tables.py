"""Tables of DICOM files (Modality LUT, VOI LUT: PS3.3 C.11.1, C.11.2), which turn stored values into others.

pydicom takes the first value that a table is for as it is written: values below zero, which are often written as unsigned, then
all get the last entry; and it reads no table of bytes.
"""

from __future__ import annotations

import numpy as np
import pydicom

from ..errors import InputError
from .dicom_files import DicomFile, attribute, numbers


def by_table(file: DicomFile, name: str, values: np.ndarray, signed: bool) -> np.ndarray:
    """Whole numbers of any shape by the table in the sequence `name`; what is below or above it gets its first or last entry.

    Args:
        signed: whether the values may be below zero.

    Raises:
        InputError: the table is not what it says.
    """
    entries, first, _ = read_table(file, file.dataset[name][0])
    if first > 0x7FFF and signed:
        first -= 0x10000
    places = values.astype(np.int64)
    places -= first
    return entries[np.clip(places, 0, len(entries) - 1)]


def read_table(file: DicomFile, item: pydicom.Dataset) -> tuple[np.ndarray, int, int]:
    """The entries of a table, the value that the first one is for, as it is written, and how many bits they have.

    Raises:
        InputError: see `by_table`.
    """
    descriptor = numbers(item, "LUTDescriptor", 3)
    if descriptor is None or not 1 <= descriptor[2] <= 16:
        raise InputError(file.path, "a table without LUTDescriptor", "three numbers, the last from 1 to 16")
    count, first, bits = (int(v) for v in descriptor)
    count = count % 0x10000 or 0x10000  # written as signed, and 0 for as many as there can be
    data = attribute(file.path, item, "LUTData")
    if isinstance(data, bytes):
        small = bits <= 8 and len(data) in (count, count + 1)  # a byte for each, and one to make them even
        big = file.syntax == pydicom.uid.ExplicitVRBigEndian
        kind = "u1" if small else ">u2" if big else "<u2"
        entries = np.frombuffer(data[: len(data) // np.dtype(kind).itemsize * np.dtype(kind).itemsize], kind)
    else:
        entries = np.ravel(np.asarray([] if data is None else data, dtype=np.int64)) & 0xFFFF
        if bits <= 8 and len(entries) in (count // 2, (count + 1) // 2) and count > 1:
            entries = entries.astype("<u2").view(np.uint8)  # two in each word
    if len(entries) < count:
        raise InputError(file.path, f"a table of {len(entries)} entries", f"{count} as its LUTDescriptor says")
    return entries[:count].astype(np.uint16), first, bits
