"""One case, read: its slices as they are shown, each with its masks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import DataError
from ..transforms.medical_image import MedicalImage
from ..transforms.reading import PICTURES, has_suffix
from ..transforms.slices import select_slices
from .cases import Case

MIN_PIXELS, MIN_PART = 16, 0.0005  # smaller masks are neither asked for nor called absent


@dataclass
class ShownSlice:
    """One slice of a case.

    Attributes:
        encoded: the bytes of a PNG or JPEG file.
        number: in the volume, -1 for a picture.
        masks: entities that can be asked for, bool [h, w]; absent: entities that are labelled and not there.
    """

    encoded: bytes
    size: tuple[int, int]
    number: int
    spacing_mm: tuple[float, float] | None
    masks: dict[str, np.ndarray]
    absent: list[str]


def read_case(case: Case, slices_per_volume: int) -> Iterator[ShownSlice]:
    """Read the slices of a case that are worth asking about.

    Raises:
        InputError: a file cannot be read.
        DataError: image and masks differ in size or place, or a mask holds a value that stands for no label.
    """
    image = MedicalImage.open(case.image, modality=case.modality)
    masks = read_masks(case, image)
    areas = np.sum([m.sum(axis=(1, 2)) for m in masks.values()], axis=0)
    for number in select_slices(areas, slices_per_volume) if image.is_volume else [0]:
        height, width = image.size
        least = max(MIN_PIXELS, MIN_PART * height * width)
        shown = {entity: mask[number] for entity, mask in masks.items()}
        yield ShownSlice(
            encoded=encoded_slice(image, number),
            size=image.size,
            number=number if image.is_volume else -1,
            spacing_mm=image.spacing_mm,
            masks={entity: mask for entity, mask in shown.items() if mask.sum() >= least},
            absent=[entity for entity, mask in shown.items() if not mask.any()],
        )


def read_masks(case: Case, image: MedicalImage) -> dict[str, np.ndarray]:
    """The masks of a case in display orientation: entity -> bool [n, h, w]."""
    maps: dict[Path, np.ndarray] = {}
    masks = {}
    for entity, label in case.labels.items():
        if label.path is None:
            masks[entity] = np.zeros(image.frames.shape[:3], dtype=bool)
            continue
        if label.path not in maps:
            values = {other.value for other in case.labels.values() if other.path == label.path}
            maps[label.path] = read_label_map(label.path, image, values)
        label_map = maps[label.path]
        masks[entity] = label_map > 0 if label.value is None else label_map == label.value
    return masks


def read_label_map(path: Path, image: MedicalImage, values: set[int | None]) -> np.ndarray:
    """The label values [n, h, w] of a mask file, which must lie on the voxels of `image` and hold known values only."""
    labels = MedicalImage.open(path)
    if labels.is_volume != image.is_volume or labels.shape != image.shape:
        raise DataError(path, f"size {list(labels.shape)}", f"{list(image.shape)} as in {image.path.name}")
    if image.affine is not None and not np.allclose(labels.affine, image.affine, atol=1e-2):
        raise DataError(path, "another affine than the image's", f"the one of {image.path.name}")
    frames = labels.frames
    if frames.ndim == 4:
        if not (frames == frames[..., :1]).all():
            raise DataError(path, "a mask in colour", "grey values")
        frames = frames[..., 0]
    if None not in values:
        unknown = sorted(set(np.unique(frames).tolist()) - {0, *values})
        if unknown:
            raise DataError(path, f"label value {unknown[0]:g}", f"0 or one of {sorted(v for v in values if v)}")
    return frames


def encoded_slice(image: MedicalImage, number: int) -> bytes:
    """The source's own bytes where they are shown as they are, else a PNG of the slice."""
    if has_suffix(image.path, PICTURES[:3]) and image.frames.dtype == np.uint8:
        return image.path.read_bytes()
    pixels = image.slice(number)
    grey = image.frames.ndim == 3
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if grey else pixels).save(buffer, "PNG")
    return buffer.getvalue()
