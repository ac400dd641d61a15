"""The images of a built set with every region that is known of them, kept small enough that all stay in memory."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from datasets import Dataset as Rows
from datasets import Image
from PIL import Image as PILImage

from ..mimoseg.catalogue.plausible import safely_absent
from ..mimoseg.encoding import decode_rle

STORED = 256  # side in pixels of the squares that images are kept as


@dataclass
class RegionImage:
    """One image as uint8 [S0, S0] or [S0, S0, 3], resized to the upper left of a square of S0 = `STORED` pixels.

    Attributes:
        inner: (h, w) of the image in that square.
        names, masks: of its structures, the masks packed (`np.packbits`) from bool [S0, S0].
        absent: names that are surely not in it.
    """

    pixels: np.ndarray
    inner: tuple[int, int]
    source: str
    modality: str
    names: list[str]
    masks: list[np.ndarray]
    absent: tuple[str, ...]

    def mask(self, number: int) -> np.ndarray:
        return np.unpackbits(self.masks[number]).reshape(STORED, STORED).astype(bool)


def region_images(rows: Rows) -> list[RegionImage]:
    """The images of a built set with all that its questions tell of them, and what no image of their set can show."""
    known: dict[str, dict[str, dict]] = {}
    missing: dict[str, set[str]] = {}
    first: dict[str, int] = {}
    labels: dict[str, set[str]] = {}  # of each source
    for number, (image_id, source, entities, absent) in enumerate(
        zip(*(rows[column] for column in ("image_id", "source", "entities", "absent")))
    ):
        first.setdefault(image_id, number)
        here = known.setdefault(image_id, {})
        missing.setdefault(image_id, set()).update(absent)
        for entity in entities:
            here[entity["phrase"]] = entity["mask"]
            labels.setdefault(source, set()).add(entity["phrase"])
    every = set().union(*labels.values())
    images = []
    raw = rows.cast_column("image", Image(decode=False))
    for image_id, number in first.items():
        row = raw[number]
        opened = PILImage.open(io.BytesIO(row["image"]["bytes"]))
        picture = opened.convert("L" if opened.mode in ("L", "I", "1") else "RGB")
        scale = STORED / max(picture.size)
        width, height = (max(1, round(n * scale)) for n in picture.size)
        pixels = np.asarray(picture.resize((width, height), PILImage.Resampling.BILINEAR, reducing_gap=3.0))
        if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
            pixels = pixels[..., 0]
        square = np.zeros((STORED, STORED, *pixels.shape[2:]), dtype=np.uint8)
        square[:height, :width] = pixels
        names, masks = [], []
        for name, rle in known[image_id].items():
            part = PILImage.fromarray(decode_rle(rle).astype(np.uint8) * 255).resize(
                (width, height), PILImage.Resampling.BILINEAR, reducing_gap=3.0
            )
            mask = np.zeros((STORED, STORED), dtype=bool)
            mask[:height, :width] = np.asarray(part) >= 128
            if mask.any():
                names.append(name)
                masks.append(np.packbits(mask))
        source = row["source"]
        gone = {*safely_absent(source, labels.get(source, ()), row["modality"], every), *(missing[image_id] & every)}
        gone -= set(known[image_id])
        images.append(
            RegionImage(square, (height, width), row["source"], row["modality"], names, masks, tuple(sorted(gone)))
        )
    return images
