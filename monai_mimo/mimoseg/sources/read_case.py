"""One case, read: its slices as they are shown, each with its masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

import numpy as np

from ...errors import DataError
from ...transforms.medical_image import MedicalImage
from ...transforms.metadata import without_metadata
from ...transforms.pictures import encode_png
from ...transforms.prompts import PromptTarget, inside
from ...transforms.slices import select_slices
from ..label_files import read_masks
from .cases import Case

MIN_PIXELS, MIN_PART = 16, 0.0005  # smaller masks are neither asked for nor called absent


class SliceMasks(dict[str, np.ndarray]):
    """Entity -> mask bool [h, w], none empty. A slice is asked about many times, so each target is made once."""

    def __init__(self, masks: Mapping[str, np.ndarray] = {}) -> None:
        super().__init__(masks)
        self._targets: dict[str, PromptTarget] = {}

    @cached_property
    def overlaps(self) -> bool:
        """Whether any two masks share a pixel."""
        covered = np.zeros_like(next(iter(self.values())))
        for mask in self.values():
            if (covered & mask).any():
                return True
            covered |= mask
        return False

    def target(self, name: str) -> PromptTarget:
        """Of entity `name`; a point in it never falls on a smaller entity that lies mostly inside, for it would mean that."""
        if name not in self._targets:
            self._targets[name] = PromptTarget(self[name], self._inside(name))
        return self._targets[name]

    def _inside(self, name: str) -> np.ndarray | None:
        return inside(np.stack(list(self.values())), list(self).index(name)) if self.overlaps else None


@dataclass
class ShownSlice:
    """One slice of a case.

    Attributes:
        encoded: the bytes of a PNG or JPEG file.
        number: in the volume, -1 for a picture.
        masks: entities that can be asked for; absent: entities that are labelled and not there.
        notes: what was odd about the case, with its first slice, and about this slice.
        passed: with the first slice, how many others of the volume are not shown, by reason.
    """

    encoded: bytes
    size: tuple[int, int]
    number: int
    spacing_mm: tuple[float, float] | None
    masks: SliceMasks
    absent: list[str]
    notes: list[str] = field(default_factory=list)
    passed: dict[str, int] = field(default_factory=dict)


def read_case(case: Case, slices_per_volume: int) -> Iterator[ShownSlice]:
    """Read the slices of a case that are worth asking about; only these are windowed and encoded.

    An empty mask says that its entity is not there, and masks may overlap, as a part and its whole do: both are notes.

    Raises:
        InputError: a file cannot be read.
        DataError: image and masks differ in size or place, a mask holds a value that stands for no label, or the image is
            zero everywhere.
    """
    image = MedicalImage.open(
        case.image, plane=case.plane, modality=case.modality, channel=case.channel, window=case.window
    )
    masks = read_masks(case, image)
    areas = np.sum([m.areas for m in masks.values()], axis=0)
    numbers = select_slices(areas, slices_per_volume) if image.is_volume else [0]
    if not any(image.frames[number].any() for number in numbers) and not image.frames.any():
        raise DataError(case.image, "the value 0 everywhere", "an image")
    notes = [f"{case.image.name}: {note}" for note in image.notes]
    notes += dict.fromkeys(mask.note for mask in masks.values() if mask.note)
    notes += [f"{case.image.name}: no {entity}" for entity, m in masks.items() if not m.areas.any()]
    empty, hidden = (areas == 0).sum(), len(areas) - len(numbers)
    passed = {
        "slice without a mask": int(min(empty, hidden)),
        "slice beyond the number for each volume": int(max(hidden - empty, 0)),
    }
    for number in numbers:
        height, width = image.size
        least = max(MIN_PIXELS, MIN_PART * height * width)
        shown = SliceMasks({entity: m[number] for entity, m in masks.items() if m.areas[number] >= least})
        if len(shown) > 1 and shown.overlaps:
            for one, other in combinations(shown, 2):
                if (shown[one] & shown[other]).any():
                    notes.append(f"{case.image.name}: {one} and {other} overlap on slice {number}")
        yield ShownSlice(
            encoded=encoded_slice(image, number),
            size=image.size,
            number=number if image.is_volume else -1,
            spacing_mm=image.spacing_mm,
            masks=shown,
            absent=[entity for entity, m in masks.items() if not m.areas[number]],
            notes=notes,
            passed=passed,
        )
        notes, passed = [], {}


def encoded_slice(image: MedicalImage, number: int) -> bytes:
    """The source's own pixels as they are coded, where they are shown so, else a PNG of the slice; never with EXIF or other
    data beside the pixels."""
    own = without_metadata(image.path.read_bytes()) if image.grid.as_stored else None
    return own or encode_png(image.grey_or_rgb(number))
