"""Label maps in any image format: values, or colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...transforms.medical_image import MedicalImage
from ...transforms.reading import PICTURES, has_suffix
from ..sources.cases import Reader
from .label_pictures import LabelPicture
from .masks import BoxMasks, Masks, ValueMasks

Values = tuple[int | str, ...]
OFF_GRID = 0.1  # of a voxel; so far may the voxels of labels lie beside those of the image
SHOWN = 12  # values in a message


def map_masks(path: Path, reader: Reader, image: MedicalImage, wanted: Sequence[Values]) -> list[Masks]:
    """The masks of each group of values (none: every value but 0) in a file that lies on the voxels of `image`.

    Raises:
        InputError: it cannot be read.
        DataError: it lies elsewhere, or holds a value that stands for nothing.
    """
    in_colour = any(isinstance(value, str) for values in wanted for value in values)
    picture = LabelPicture(path, reader, image) if has_suffix(path, PICTURES) else None
    if in_colour:
        if picture is None:
            raise DataError(path, "colours asked of a file that has none", "a picture")
        return _colour_masks(picture, reader, wanted)
    numbers = [tuple(int(value) for value in values) for values in wanted]
    known = reader.known
    if known is None and all(numbers):
        known = tuple(value for values in numbers for value in values)
    above, below = reader.option("above"), reader.option("below")
    if above is not None or below is not None:
        frames = _volume(path, reader, image)[0] if picture is None else picture.grey()
        mask = np.ones(frames.shape, dtype=bool) if above is None else frames > above
        return [BoxMasks(mask if below is None else mask & (frames < below))] * len(wanted)
    if picture is None:
        frames, note = _volume(path, reader, image)
    else:
        frames = picture.whole_numbers(None if known is None else [int(value) for value in known])
        note = _note(picture)
    if known is None and len(numbers) == 1:
        return [BoxMasks(frames != 0, note)]
    frames = _whole_numbers(frames, path)
    counts = _count(frames)
    seen = sorted({value for frame in counts for value in frame})
    unknown = [] if known is None else [value for value in seen if value and value not in map(int, known)]
    if unknown:
        there = ", ".join(map(str, seen[:SHOWN])) + (f" and {len(seen) - SHOWN} more" if len(seen) > SHOWN else "")
        expected = f"0 or one of {sorted(v for v in set(known or ()) if v)}"
        raise DataError(path, f"label value {unknown[0]} (it holds {there})", expected)
    if len(numbers) == 1:
        mask = np.isin(frames, numbers[0]) if len(numbers[0]) > 1 else frames == numbers[0][0]
        return [BoxMasks(mask, note)]
    return [ValueMasks(frames, values, _areas(counts, values), note) for values in numbers]


def _volume(path: Path, reader: Reader, image: MedicalImage) -> tuple[np.ndarray, str]:
    """The label map of a volume on the slices of the image, and a note.

    Raises:
        InputError: it cannot be read.
        DataError: it lies elsewhere, is in colour, or holds what is no number.
    """
    labels = MedicalImage.open(path, plane=image.plane, channel=reader.option("channel"))
    frames = labels.frames
    if frames.ndim == 4:
        if not (frames == frames[..., :1]).all():
            raise DataError(path, "a mask in colour", "grey values")
        frames = frames[..., 0]
    if (labels.affine is None) != (image.affine is None) or frames.shape != image.frames.shape[:3]:
        raise DataError(path, f"size {list(labels.shape)}", f"{list(image.shape)} as in {image.path.name}")
    if labels.grid.not_finite:
        raise DataError(path, f"{labels.grid.not_finite} values that are NaN or infinite", "whole numbers")
    note = ""
    if image.affine is not None:
        apart = voxels_apart(labels, image)
        if apart > OFF_GRID:
            found = f"voxels up to {apart:.3g} voxels beside those of the image (another affine)"
            raise DataError(path, found, f"the affine of {image.path.name}")
        if labels.axes != image.axes:
            note = f"{path.name}: its axes run otherwise than those of {image.path.name}, and are turned"
    return frames, note


def voxels_apart(labels: MedicalImage, image: MedicalImage) -> float:
    """How far a corner of a label map lies from that of an image of the same size on its slices, in voxels of the image."""
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*np.subtract(image.frames.shape[:3], 1), 1]
    there, here = labels.slices_affine @ corners.T, image.slices_affine @ corners.T
    return float(np.linalg.norm((np.linalg.inv(image.slices_affine) @ (there - here))[:3], axis=0).max())


def _whole_numbers(frames: np.ndarray, path: Path) -> np.ndarray:
    if frames.dtype.kind in "iub":
        return frames
    whole = frames.astype(np.int32)
    if (whole != frames).any():
        value = frames[whole != frames][0]
        raise DataError(path, f"label value {value:g}", "whole numbers")
    return whole


def _count(frames: np.ndarray) -> list[dict[int, int]]:
    """Pixels of each value on each slice. Empty slices, which are many, are told by a faster look."""
    out = []
    size = frames[0].size
    small = frames.dtype.itemsize == 1 or (frames.min() >= 0 and frames.max() < 2**16)
    for frame in frames:
        if not frame.any():
            out.append({0: size})
        elif small and (frame.dtype.kind == "u" or frame.min() >= 0):
            counts = np.bincount(frame.ravel(order="K"))
            out.append({int(value): int(counts[value]) for value in np.flatnonzero(counts)})
        else:
            values, numbers = np.unique(frame, return_counts=True)
            out.append(dict(zip(values.tolist(), numbers.tolist())))
    return out


def _areas(counts: list[dict[int, int]], values: tuple[int, ...]) -> np.ndarray:
    if not values:
        return np.array([sum(n for value, n in frame.items() if value) for frame in counts])
    return np.array([sum(frame.get(value, 0) for value in values) for frame in counts])


def _colour_masks(picture: LabelPicture, reader: Reader, wanted: Sequence[Values]) -> list[Masks]:
    known = reader.known if reader.known is not None else [c for colours in wanted for c in colours]
    codes = picture.colours([_code(colour) for colour in known], reader.option("tolerance"))
    note = _note(picture)
    return [BoxMasks(np.isin(codes, [_code(colour) for colour in colours]), note) for colours in wanted]


def _note(picture: LabelPicture) -> str:
    return f"{picture.path.name}: {'; '.join(picture.notes)}" if picture.notes else ""


def _code(colour: Any) -> int:
    return int(str(colour).lstrip("#"), 16)
