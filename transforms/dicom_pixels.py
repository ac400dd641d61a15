"""The values of DICOM frames, decoded by pydicom, in colour or rescaled by each frame's own slope."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixel_data_handlers.util import apply_color_lut, apply_modality_lut, apply_voi_lut, convert_color_space

from ..errors import InputError
from .grid import check_size

BITS = (1, 8, 16, 32)


@dataclass(frozen=True)
class Rescale:
    """stored value x slope + intercept."""

    slope: float = 1.0
    intercept: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether integers stay integers."""
        return self.slope == 1 and self.intercept.is_integer()


def check_pixels(path: Path, dataset: pydicom.Dataset) -> None:
    """Refuse what cannot be decoded before anything is allocated.

    Raises:
        InputError: pixels or what describes them is missing, cut off, or claims more than there can be.
    """
    kinds = [name for name in ("FloatPixelData", "DoubleFloatPixelData") if name in dataset]
    if kinds:
        raise InputError(path, f"a DICOM file with {kinds[0]}", "integer pixels")
    if "PixelData" not in dataset:
        raise InputError(path, "a DICOM file without pixels", "an image")
    for name in ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation"):
        if dataset.get(name) in (None, "", 0):
            raise InputError(path, f"no {name}", "a DICOM image that says how its pixels are stored")
    if dataset.BitsAllocated not in BITS or dataset.get("SamplesPerPixel", 1) not in (1, 3):
        found = f"{dataset.get('SamplesPerPixel', 1)} samples of {dataset.BitsAllocated} bits"
        raise InputError(path, found, f"1 or 3 samples of {', '.join(map(str, BITS))} bits")
    frames = frame_count(path, dataset)
    needed = (
        dataset.Rows * dataset.Columns * frames * int(dataset.get("SamplesPerPixel", 1)) * dataset.BitsAllocated + 7
    ) // 8
    if dataset.PhotometricInterpretation == "YBR_FULL_422" and not is_packed(dataset):
        needed = needed * 2 // 3
    check_size(path, needed, len(dataset.PixelData), packed=is_packed(dataset))


def frame_count(path: Path, dataset: pydicom.Dataset) -> int:
    """How many frames a file says that it has.

    Raises:
        InputError: none.
    """
    count = int(dataset.get("NumberOfFrames") or 1)
    if count < 1:
        raise InputError(path, f"{count} frames", "at least one")
    return count


def is_packed(dataset: pydicom.Dataset) -> bool:
    """Whether the pixels are compressed."""
    return bool(dataset.file_meta.TransferSyntaxUID.is_compressed)


def stored_frames(path: Path, dataset: pydicom.Dataset) -> np.ndarray:
    """Frames as they are stored, [n, rows, columns], or in RGB uint8 [n, rows, columns, 3].

    Raises:
        InputError: there is no decoder for them, or the colours are of an unknown kind.
    """
    check_pixels(path, dataset)
    try:
        values = dataset.pixel_array
    except (NotImplementedError, RuntimeError, AttributeError, ValueError, TypeError, IndexError, KeyError) as error:
        syntax = dataset.file_meta.TransferSyntaxUID
        if not syntax.is_compressed:
            raise
        found = f"pixels compressed by {syntax.name} that cannot be decoded ({str(error)[:120]})"
        raise InputError(path, found, "whole pixels, and `pip install python-gdcm` for their codec") from error
    kind, colour = str(dataset.PhotometricInterpretation), int(dataset.get("SamplesPerPixel", 1)) == 3
    frames = values.reshape(-1, dataset.Rows, dataset.Columns, *((3,) if colour else ()))
    if kind == "PALETTE COLOR":
        return _eight_bits(apply_color_lut(frames, dataset))
    if not colour:
        if kind not in ("MONOCHROME1", "MONOCHROME2"):
            raise InputError(path, f"one sample a pixel of {kind}", "MONOCHROME1, MONOCHROME2 or PALETTE COLOR")
        return _in_bits(frames, dataset)
    if kind in ("YBR_FULL", "YBR_FULL_422"):
        return convert_color_space(_eight_bits(frames), "YBR_FULL", "RGB", per_frame=True)
    if kind not in ("RGB", "YBR_ICT", "YBR_RCT"):  # what JPEG 2000 turns back by itself
        raise InputError(path, f"colours of {kind}", "RGB, YBR_FULL, YBR_FULL_422, YBR_ICT, YBR_RCT or PALETTE COLOR")
    return _eight_bits(frames)


def real_values(
    path: Path, frames: np.ndarray, dataset: pydicom.Dataset, rescales: list[Rescale]
) -> tuple[np.ndarray, np.ndarray]:
    """Stored frames [n, rows, columns] -> real values, each frame by its own rescale, and where there is padding. They stay
    integers where no rescale makes fractions; else float32.

    Raises:
        InputError: a rescale is no finite number.
    """
    padding = _padding(frames, dataset)
    if "ModalityLUTSequence" in dataset and dataset.ModalityLUTSequence:
        return np.asarray(apply_modality_lut(frames, dataset)), padding
    for rescale in rescales:
        if not np.isfinite([rescale.slope, rescale.intercept]).all() or rescale.slope == 0:
            found = f"rescale slope {rescale.slope:g} and intercept {rescale.intercept:g}"
            raise InputError(path, found, "finite ones, and a slope")
    slopes, intercepts = (np.array([getattr(r, n) for r in rescales]) for n in ("slope", "intercept"))
    if all(rescale.whole for rescale in rescales):
        if not intercepts.any():
            return frames, padding
        values = frames.astype(np.int32) + intercepts.astype(np.int32)[:, None, None]
        small = np.iinfo(np.int16)
        return values.astype(np.int16) if small.min <= values.min() and values.max() <= small.max else values, padding
    values = frames * slopes[:, None, None] + intercepts[:, None, None]
    return values.astype(np.float32), padding


def shown_picture(values: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Real values [rows, columns] of a picture through its own VOI LUT, where it has one; a window is not applied here."""
    if "VOILUTSequence" not in dataset or not dataset.VOILUTSequence or values.dtype.kind == "f":
        return values
    return np.asarray(apply_voi_lut(values, dataset, prefer_lut=True))


def _padding(frames: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Where frames hold the padding value, or one of its range; bool, of their shape."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros((1, 1, 1), dtype=bool)
    limit = dataset.get("PixelPaddingRangeLimit", value)
    bounds = []
    for number in (value, limit):
        if isinstance(number, bytes):
            number = int.from_bytes(number[:2], "little", signed=bool(dataset.get("PixelRepresentation", 0)))
        bounds.append(int(number))
    if dataset.get("PixelRepresentation", 0) == 0:  # some write an unsigned value as a signed one, or the other way
        bounds = [number & 0xFFFF if number < 0 else number for number in bounds]
    elif dataset.BitsAllocated == 16:
        bounds = [number - 0x10000 if number > 0x7FFF else number for number in bounds]
    return (frames >= min(bounds)) & (frames <= max(bounds))


def _in_bits(frames: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Without what other data is kept in the bits above those of the values."""
    allocated, stored = int(dataset.BitsAllocated), int(dataset.get("BitsStored") or dataset.BitsAllocated)
    if stored >= allocated or allocated == 1:
        return frames
    unused = allocated - stored
    if dataset.get("PixelRepresentation", 0):
        return (frames << unused) >> unused  # the sign is in the highest stored bit
    return frames & frames.dtype.type((1 << stored) - 1)


def _eight_bits(colours: np.ndarray) -> np.ndarray:
    """Colours as uint8; of 16 bits the upper 8."""
    return colours if colours.dtype == np.uint8 else (colours >> 8).astype(np.uint8)
