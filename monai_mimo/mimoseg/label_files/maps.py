"""Label maps in any image format: values, or colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...transforms.medical_image import MedicalImage
from ...transforms.reading import PICTURES, has_suffix, read_rgb
from ..cases import Reader
from .masks import BoxMasks, Masks, ValueMasks

Values = tuple[int | str, ...]


def map_masks(path: Path, reader: Reader, image: MedicalImage, wanted: Sequence[Values]) -> list[Masks]:
    """The masks of each group of values (none: every value but 0) in a file that lies on the voxels of `image`.

    Raises:
        DataError: it lies elsewhere, or holds a value that stands for nothing.
    """
    if any(isinstance(value, str) for values in wanted for value in values):
        return _colour_masks(path, reader, image, wanted)
    labels = MedicalImage.open(path, plane=image.plane, channel=reader.option("channel"))
    if labels.is_volume != image.is_volume or labels.shape != image.shape:
        raise DataError(path, f"size {list(labels.shape)}", f"{list(image.shape)} as in {image.path.name}")
    if image.affine is not None and not np.allclose(labels.affine, image.affine, atol=1e-2):
        raise DataError(path, "another affine than the image's", f"the one of {image.path.name}")
    frames = labels.frames
    if frames.ndim == 4:
        if not (frames == frames[..., :1]).all():
            raise DataError(path, "a mask in colour", "grey values")
        frames = frames[..., 0]
    above, below = reader.option("above"), reader.option("below")
    if above is not None or below is not None:
        mask = np.ones(frames.shape, dtype=bool) if above is None else frames > above
        return [BoxMasks(mask if below is None else mask & (frames < below))] * len(wanted)
    numbers = [tuple(int(value) for value in values) for values in wanted]
    known = reader.known
    if known is None and all(numbers):
        known = tuple(value for values in numbers for value in values)
    if known is None and len(numbers) == 1:
        return [BoxMasks(frames != 0)]
    frames = _whole_numbers(frames, path)
    counts = _count(frames)
    seen = {value: True for frame in counts for value in frame}
    unknown = [] if known is None else sorted(set(seen) - {0, *map(int, known)})
    if unknown:
        raise DataError(path, f"label value {unknown[0]}", f"0 or one of {sorted(v for v in set(known or ()) if v)}")
    if len(numbers) == 1:
        return [BoxMasks(np.isin(frames, numbers[0]) if len(numbers[0]) > 1 else frames == numbers[0][0])]
    return [ValueMasks(frames, values, _areas(counts, values)) for values in numbers]


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


def _colour_masks(path: Path, reader: Reader, image: MedicalImage, wanted: Sequence[Values]) -> list[Masks]:
    if not has_suffix(path, PICTURES):
        raise DataError(path, "colours asked of a file that has none", "a picture")
    pixels = read_rgb(path)
    if pixels.shape[:2] != image.shape:
        raise DataError(path, f"size {list(pixels.shape[:2])}", f"{list(image.shape)} as in {image.path.name}")
    tolerance = reader.option("tolerance")
    if tolerance:
        near = pixels.astype(np.int16)
        return [
            BoxMasks(np.any([(abs(near - _rgb(c)) <= tolerance).all(axis=2) for c in colours], axis=0)[None])
            for colours in wanted
        ]
    codes = (pixels.astype(np.int32) * [1 << 16, 1 << 8, 1]).sum(axis=2)
    known = reader.known if reader.known is not None else [c for colours in wanted for c in colours]
    unknown = sorted(set(np.unique(codes).tolist()) - {0, *(_code(colour) for colour in known)})
    if unknown:
        names = ", ".join(map(str, sorted(set(known), key=str)))
        raise DataError(path, f"colour #{unknown[0]:06x}", f"black or one of {names}")
    return [BoxMasks(np.isin(codes, [_code(colour) for colour in colours])[None]) for colours in wanted]


def _code(colour: Any) -> int:
    return int(str(colour).lstrip("#"), 16)


def _rgb(colour: Any) -> np.ndarray:
    code = _code(colour)
    return np.array([code >> 16, code >> 8 & 255, code & 255], dtype=np.int16)
