"""The values of DICOM frames: decoded, by each frame's own slope and intercept or tables, padding apart; colours as RGB.

pydicom decodes and applies palettes. Compressed pixels go through GDCM, the one plug-in with all kinds of JPEG for pydicom 2 and
3.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.uid import RLELossless

from ..errors import InputError
from .dicom_files import HIGH_THROUGHPUT, NEWER, OTHER_CODEC, DicomFile, attribute, numbers
from .dicom_frames import PALETTE_COLOUR, Frame
from .dicom_tables import by_table, read_table
from .jpeg_colours import jpeg_colours

try:  # pydicom 3
    from pydicom.pixels import apply_color_lut, convert_color_space
except ImportError:
    from pydicom.pixel_data_handlers import apply_color_lut, convert_color_space

MEMORY = 2 << 30  # bytes that a decoder may take, and more for large files
SECONDS, SLOWEST = 20, 1 << 19  # of the processor that it may take, and bytes a second
MANY_OFFSETS = 1 << 16  # bytes in which the first codestream begins, after the table of offsets
GROUP_OF_PIXELS = 0x7FE00000
INTEGERS, FLOAT, DOUBLE = "PixelData", "FloatPixelData", "DoubleFloatPixelData"
# Pixels may shrink a thousandfold where all is black; a file that claims more than that, and much, is damaged.
MOST_SHRUNK, MUCH = 1000, 256 << 20
GDCM = (
    *("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"),  # JPEG
    *("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"),  # JPEG-LS
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),  # JPEG 2000
)
BY_DCT = GDCM[:2]
VIDEO = "1.2.840.10008.1.2.4.10"  # and a digit: MPEG, H.264, H.265
TABLES = ("ModalityLUTSequence", "VOILUTSequence")  # in the order in which they are applied
COLOURS = (PALETTE_COLOUR, "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
QUANTITIES = ("CT", "PT")  # values with a unit, which no table for display may change
TYPES = (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64)


def check_pixel_data(file: DicomFile) -> None:
    """Before anything is decoded or reserved.

    Raises:
        InputError: pixels are missing, cut off, compressed in a way that is not known, or more than their bytes can hold.
    """
    [name] = [n for n in (INTEGERS, FLOAT, DOUBLE) if n in file.dataset][:1] or [""]
    if not name:
        raise InputError(file.path, "a DICOM file without pixels", "an image")
    bits = {FLOAT: 32, DOUBLE: 64}.get(name) or file.whole("BitsAllocated")
    if bits not in (1, 8, 16, 32, 64):
        raise InputError(file.path, f"BitsAllocated {bits}", "1, 8, 16, 32 or 64")
    samples = file.whole("SamplesPerPixel", 1)
    if samples not in (1, 3):
        raise InputError(file.path, f"{samples} samples for each pixel", "1 or 3")
    pixels = file.whole("Rows") * file.whole("Columns") * file.whole("NumberOfFrames", 1) * samples
    if min(file.whole("Rows"), file.whole("Columns"), file.whole("NumberOfFrames", 1)) < 1:
        raise InputError(file.path, "an image without a pixel", "at least one")
    if not file.compressed:
        found = _bytes_there(file, name)
        needed = (pixels * bits + 7) // 8
        if file.text("PhotometricInterpretation") == "YBR_FULL_422":
            if found >= needed:  # it is called so, and has colours for every pixel
                file.dataset.PhotometricInterpretation = "YBR_FULL"
            else:
                needed = needed // 3 * 2
        if found < needed:
            raise InputError(file.path, f"{found} bytes of pixels (truncated)", f"{needed}")
    else:
        found = len(file.dataset[name].value)
        if pixels * bits // 8 > max(MUCH, MOST_SHRUNK * found):
            raise InputError(file.path, f"{pixels} values in {found} compressed bytes", "what so many bytes can hold")


def _bytes_there(file: DicomFile, name: str) -> int:
    """How many bytes an element has in its file, from which it need not have been read."""
    [element] = [e for e in file.dataset.values() if e.tag == tag_for_keyword(name)]
    if element.value is not None:
        return len(element.value)
    return min(element.length, file.path.stat().st_size - element.value_tell)


@dataclass(frozen=True)
class Scale:
    """How the stored values of a frame become its values.

    Attributes:
        slope, intercept: of its modality, where that has no table.
        tables: whether the file has a modality or a VOI table.
        low, high: the least and the highest value there can be.
        turned: high stored values are dark.
        exact: values are whole numbers.
        bits: that the file allots to each, which its values are then shown by.
    """

    slope: float
    intercept: float
    tables: bool
    low: float
    high: float
    turned: bool
    exact: bool
    bits: int


def values_of(frames: Sequence[Frame]) -> np.ndarray:
    """The values of frames of one size [n, rows, columns], or their colours, uint8 [n, rows, columns, 3].

    Whole numbers stay so where all slopes are 1; else values are float32. MONOCHROME1 is turned over, within the range of
    what can be stored, except for PET, whose values are quantities. Padding gets the smallest value of all that is no padding.

    Raises:
        InputError: pixels cannot be decoded or mean something unknown.
    """
    with tempfile.TemporaryDirectory(prefix="mimo-dicom-") as folder:
        decode([*{id(frame.file): frame.file for frame in frames}.values()], Path(folder))
        return _values(frames)


def _values(frames: Sequence[Frame]) -> np.ndarray:
    rows, columns = frames[0].size
    by_file: dict[int, list[int]] = {}
    for place, frame in enumerate(frames):
        by_file.setdefault(id(frame.file), []).append(place)
    if frames[0].colour:
        colours = np.empty((len(frames), rows, columns, 3), np.uint8)
        for places in by_file.values():
            file = frames[places[0]].file
            colours[places] = _rgb(file)[[frames[place].number for place in places]]
            file.dataset = file.dataset[:GROUP_OF_PIXELS]
        return colours
    scales = [_scale(frame) for frame in frames]
    values = np.empty((len(frames), rows, columns), _type(scales))
    padding: list[tuple[int, np.ndarray]] = []
    for places in by_file.values():
        file = frames[places[0]].file
        stored = _stored(file)
        for place in places:
            one = stored[frames[place].number]
            _fill(values[place], one, scales[place], file)
            padded = _padding(file, one)
            if padded is not None:
                padding.append((place, padded))
        file.dataset = file.dataset[:GROUP_OF_PIXELS]  # so that they are not kept twice
    if padding:
        _fill_padding(values, padding)
    return values


def _type(scales: Sequence[Scale]) -> Any:
    """The smallest type that holds all, of no fewer bits than the file allots: pictures of 8 bits are shown as they are."""
    bits = max(scale.bits for scale in scales)
    low, high = min(s.low for s in scales), max(s.high for s in scales)
    if all(scale.exact for scale in scales):
        for kind in TYPES:
            if np.iinfo(kind).bits >= bits and np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return kind
    return np.float32


def _scale(frame: Frame) -> Scale:
    file = frame.file
    interpretation, modality = file.text("PhotometricInterpretation"), file.text("Modality")
    if interpretation not in ("MONOCHROME1", "MONOCHROME2", ""):
        found = f"one sample for each pixel with PhotometricInterpretation {interpretation!r}"
        raise InputError(file.path, found, f"MONOCHROME1, MONOCHROME2 or {PALETTE_COLOUR}")
    turned = interpretation == "MONOCHROME1" and modality != "PT"
    group = frame.group("PixelValueTransformationSequence")
    source = file.dataset if group is None else group
    slope, intercept = _factor(file, source, "RescaleSlope", 1), _factor(file, source, "RescaleIntercept", 0)
    if slope == 0:
        raise InputError(file.path, "RescaleSlope 0", "another number")
    tables = [file.dataset[name][0] for name in TABLES if file.dataset.get(name)]
    if "VOILUTSequence" in file.dataset and file.dataset.VOILUTSequence and modality in QUANTITIES:
        found = f"a table for display (VOI LUT Sequence) in a file of modality {modality}"
        raise InputError(file.path, found, "values in their unit, with a window at most")
    if tables:
        *_, bits = read_table(file, tables[-1])
        return Scale(slope, intercept, True, 0, 2**bits - 1, turned, True, bits)
    if INTEGERS not in file.dataset:
        return Scale(slope, intercept, False, 0, 0, turned, False, 32)
    bits = file.whole("BitsAllocated")
    stored, signed = _stored_bits(file)[0], file.whole("PixelRepresentation", 0)
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if signed else (0, 2**stored - 1)
    ends = sorted((low * slope + intercept, high * slope + intercept))
    return Scale(slope, intercept, False, ends[0], ends[1], turned, slope == 1 and intercept.is_integer(), bits)


def _factor(file: DicomFile, source: pydicom.Dataset, name: str, default: float) -> float:
    given = numbers(source, name, 1)
    if given is not None:
        return float(given[0])
    if attribute(file.path, source, name) not in (None, ""):
        raise InputError(file.path, f"{name} {source.get(name)!r}"[:200], "one finite number")
    return float(default)


def _stored_bits(file: DicomFile) -> tuple[int, int]:
    """How many bits of a value count, and the highest of them."""
    allocated = file.whole("BitsAllocated")
    stored = file.whole("BitsStored", allocated)
    high = file.whole("HighBit", stored - 1)
    if not 1 <= stored <= high + 1 <= allocated:
        found = f"BitsStored {stored} and HighBit {high} of BitsAllocated {allocated}"
        raise InputError(file.path, found, "bits that are allotted")
    return stored, high


def _fill(out: np.ndarray, stored: np.ndarray, scale: Scale, file: DicomFile) -> None:
    """The values of one frame, into `out`."""
    if scale.tables:
        signed = stored.dtype.kind == "i"
        if file.dataset.get("ModalityLUTSequence"):
            values, signed = by_table(file, "ModalityLUTSequence", stored, signed), False
        else:
            signed |= scale.intercept < 0
            values = np.rint(stored * np.float64(scale.slope) + scale.intercept).astype(np.int64)
        out[...] = by_table(file, "VOILUTSequence", values, signed) if file.dataset.get("VOILUTSequence") else values
    elif scale.exact and out.dtype.kind in "iu":
        np.add(stored, int(scale.intercept), out=out, dtype=out.dtype, casting="unsafe")
    else:
        with np.errstate(over="ignore"):  # what becomes infinite is told by the reader
            out[...] = stored * np.float64(scale.slope) + scale.intercept
    if scale.turned:
        low, high = (
            (out.dtype.type(v) for v in (scale.low, scale.high)) if scale.high > scale.low else (out.min(), out.max())
        )
        np.subtract(high, out, out=out)
        np.add(low, out, out=out)


def _padding(file: DicomFile, stored: np.ndarray) -> np.ndarray | None:
    """Which pixels of a frame are padding, bool [rows, columns]; none if none is."""
    ends = [numbers(file.dataset, name, 1) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if ends[0] is None or INTEGERS not in file.dataset:
        return None
    info = np.iinfo(stored.dtype)
    given = [int(end[0]) for end in ends if end is not None]
    # They are written as signed or unsigned in 16 bits, not always as the pixels are.
    given = [v - 65536 if v > info.max else v + 65536 if v < info.min else v for v in given]
    low, high = min(given), max(given)
    padded = stored == low if low == high else (stored >= low) & (stored <= high)
    return padded if padded.any() else None


def _fill_padding(values: np.ndarray, padding: Sequence[tuple[int, np.ndarray]]) -> None:
    """Give padding the smallest value that is none; if all is padding, it stays."""
    padded = dict(padding)
    parts = (values[k][~padded[k]] if k in padded else values[k] for k in range(len(values)))
    lowest = min((part.min() for part in parts if part.size), default=None)
    if lowest is not None:
        for place, where in padding:
            values[place][where] = lowest


def _stored(file: DicomFile) -> np.ndarray:
    """The stored values of all frames [n, rows, columns] or [n, rows, columns, 3], without bits that do not count."""
    if INTEGERS not in file.dataset or file.whole("BitsAllocated") == 1:
        return decoded(file)
    stored, high = _stored_bits(file)
    if file.compressed and file.syntax != RLELossless:
        high = stored - 1  # whatever a decoder gives stands in the lower bits
    elif high != stored - 1:  # pydicom 3 would cut off the bits above those, wherever they stand
        file.dataset.BitsStored = file.whole("BitsAllocated")
    pixels = decoded(file)
    allocated = pixels.dtype.itemsize * 8
    if stored < allocated:
        pixels = (pixels << (allocated - 1 - high)) >> (allocated - stored)
    return pixels


def decoded(file: DicomFile) -> np.ndarray:
    """The pixels as they are stored [frames, rows, columns] or [frames, rows, columns, samples]; subsampled colours at full size.

    Raises:
        InputError: they are damaged, or there is no plug-in for their codec.
    """
    if file.decoded is not None:
        pixels = np.load(file.decoded)
    else:
        if hasattr(file.dataset, "pixel_array_options"):  # pydicom 3
            file.dataset.pixel_array_options(raw=True)
        try:
            pixels = file.dataset.pixel_array
        except Exception as error:
            raise _undecoded(file, f"{type(error).__name__}: {error}") from error
    samples, count = file.whole("SamplesPerPixel", 1), file.whole("NumberOfFrames", 1)
    shape = (file.whole("Rows"), file.whole("Columns"), *([samples] if samples > 1 else []))
    return pixels.reshape(-1, *shape)[:count]  # pydicom 3 gives frames that the header does not count, too


def stored_frames(file: DicomFile) -> np.ndarray:
    """The stored values of a file alone, as of a SEG: [frames, rows, columns].

    Raises:
        InputError: see `check_pixel_data` and `decoded`.
    """
    check_pixel_data(file)
    with tempfile.TemporaryDirectory(prefix="mimo-dicom-") as folder:
        decode([file], Path(folder))
        return _stored(file)


def decode(files: Sequence[DicomFile], folder: Path) -> None:
    """Unpack those that are compressed by a codec of GDCM, by `dicom_decoder` in a process of its own, into a folder.

    Raises:
        InputError: one is damaged, takes too long or too much memory, or there is no plug-in for its codec.
    """
    packed = [file for file in files if file.compressed and file.syntax != RLELossless]
    if not packed:
        return
    stored = sum(file.path.stat().st_size for file in packed)
    seconds = int(SECONDS + stored / SLOWEST)
    asked = {
        "files": [str(file.path.resolve()) for file in packed],
        "folder": str(folder),
        "bytes": max(MEMORY, MEMORY // 2 + 4 * max(_unpacked_bytes(file) for file in packed)),
        "seconds": seconds,
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("dicom_decoder.py"))],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        timeout=10 * seconds,
    )
    said = [json.loads(line) for line in done.stdout.splitlines() if line == "null" or line.startswith('"')]
    for number, file in enumerate(packed):
        if number >= len(said):
            raise _undecoded(file, f"its decoder ended with {done.returncode}")
        if said[number] is not None:
            raise _undecoded(file, said[number])
        file.decoded = folder / f"{number}.npy"


def _unpacked_bytes(file: DicomFile) -> int:
    frame = file.whole("Rows") * file.whole("Columns") * file.whole("SamplesPerPixel", 1)
    return frame * file.whole("NumberOfFrames", 1) * file.whole("BitsAllocated") // 8


def _undecoded(file: DicomFile, reason: str) -> InputError:
    """The error of a file whose pixels cannot be decoded: by whose fault."""
    syntax = file.syntax
    missing = file.compressed and syntax != RLELossless and (syntax not in GDCM or find_spec("gdcm") is None)
    if not missing:
        return InputError(file.path, f"pixels that cannot be decoded ({syntax.name}; {reason})"[:300], "whole ones")
    expected = "pictures, which video is not: convert it" if syntax.startswith(VIDEO) else OTHER_CODEC
    if syntax in GDCM:
        expected = "a decoder: pip install python-gdcm"
    elif syntax.startswith(HIGH_THROUGHPUT):
        expected = NEWER[HIGH_THROUGHPUT][1]
    return InputError(file.path, f"pixels compressed by {syntax.name} ({syntax})", expected)


def _rgb(file: DicomFile) -> np.ndarray:
    """The colours of all frames, uint8 [n, rows, columns, 3]."""
    interpretation, samples = file.text("PhotometricInterpretation"), file.whole("SamplesPerPixel", 1)
    if (
        INTEGERS not in file.dataset
        or interpretation not in COLOURS
        or samples != (1 if interpretation == PALETTE_COLOUR else 3)
    ):
        found = f"{samples} samples for each pixel with PhotometricInterpretation {interpretation!r}"
        raise InputError(file.path, found, f"three with {', '.join(COLOURS[1:])}, or one with {PALETTE_COLOUR}")
    coded = jpeg_colours(bytes(file.dataset.PixelData[:MANY_OFFSETS])) if file.syntax in BY_DCT else None
    bits, pixels = _stored_bits(file)[0], _stored(file)
    if interpretation == PALETTE_COLOUR:
        pixels = apply_color_lut(pixels, file.dataset)[..., :3]
        return pixels.astype(np.uint8) if pixels.max() < 256 else (pixels >> 8).astype(np.uint8)
    if bits > 8:
        pixels = (pixels >> (bits - 8)).astype(np.uint8)
    if (coded or interpretation).startswith("YBR_FULL"):
        return np.asarray(convert_color_space(pixels, "YBR_FULL", "RGB", per_frame=True))
    return pixels
