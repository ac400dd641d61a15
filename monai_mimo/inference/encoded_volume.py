"""A volume that questions can be asked about: its slices are encoded in batches, when they are first needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..calibration.domain import ImageDomain
from ..data.feature_cache import EncoderMaps
from ..errors import InputError
from ..models import Mimo
from ..models.image_encoder import ImageFeatures
from ..transforms import MedicalImage
from ..transforms.resize import SquareResize
from .encoded_image import EncodedImage, features_nbytes

BATCH = 16  # slices that are read at a time
MEMORY = 2**30  # bytes of features that are kept


class _Kept(NamedTuple):
    features: ImageFeatures
    looks_like: str | None
    ood_score: float | None


class EncodedVolume:
    """The features of a volume's slices, of which the latest are kept. Voxels are counted as in the file: (x, y, z) is
    `mask[x, y, z]`; slices are those of `MedicalImage` in its plane.

    Args:
        model: in evaluation mode.
        image: a volume with a place in space.
        domain: tells what a slice looks like, and whether it is unlike those of training.
        memory: bytes of features that are kept at most, but always those of one batch.

    Raises:
        InputError: a picture, or pages without a place in space.
    """

    def __init__(
        self, model: Mimo, image: MedicalImage, domain: ImageDomain | None = None, memory: int = MEMORY
    ) -> None:
        if image.affine is None:
            raise InputError(image.path, "pictures without a place in space", "a volume")
        self.model, self.image, self.domain, self.memory = model, image, domain, memory
        self.device = next(model.parameters()).device
        self.resize = SquareResize(*image.size, model.config.image_size)
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self.outlined: OrderedDict[str, tuple[dict[int, Tensor], dict[int, float]]] = (
            OrderedDict()
        )  # see `whole_structure`
        self.encoded = 0  # slices, those that were forgotten and encoded again too

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, h, w] of the slices."""
        return self.image.frames.shape[:3]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml."""
        assert self.image.affine is not None
        return abs(float(np.linalg.det(self.image.affine[:3, :3]))) / 1000

    @property
    def nbytes(self) -> int:
        """Memory of the features that are kept."""
        return sum(features_nbytes(k.features) for k in self._kept.values())

    def forget(self) -> None:
        """Let go of all features; they are made again when they are needed."""
        self._kept.clear()
        self.outlined.clear()

    def features(self, numbers: Sequence[int]) -> ImageFeatures:
        """Of the slices `numbers`, at most a batch of them at a time."""
        kept = [self._kept[n].features for n in self._encode(numbers)]
        return join(kept)

    def slices(self, numbers: Sequence[int]) -> list[EncodedImage]:
        """The slices `numbers` as images that a question can be asked about, at most a batch of them at a time."""
        about = self.image.modality, self.image.spacing_mm, tuple(self.image.notes)
        second_look = self.model.region_names is not None
        return [
            EncodedImage(
                self._kept[n].features,
                self.resize,
                n,
                *about,
                self.image.slice(n) if second_look else None,
                self.image.modality or self._kept[n].looks_like,
                self._kept[n].ood_score,
            )
            for n in self._encode(numbers)
        ]

    @torch.no_grad()
    def _encode(self, numbers: Sequence[int]) -> Sequence[int]:
        missing = [n for n in dict.fromkeys(numbers) if n not in self._kept]
        if missing:
            pixels = torch.stack([self.resize.image(self.image.slice(n)) for n in missing])
            maps = self.model.encoder_maps(pixels.to(self.device))
            new = self.model.features(maps)
            scores = [None] * len(missing) if self.domain is None else self.domain.ood_score(maps, new).tolist()
            for place, number in enumerate(missing):
                own = torch.tensor([place], device=self.device)
                one = new.select(own)
                looks = None if self.domain is None else self.domain.modality(_of(maps, place), one)
                self._kept[number] = _Kept(one, looks, scores[place])
            self.encoded += len(missing)
        for number in numbers:
            self._kept.move_to_end(number)
        each = features_nbytes(self._kept[numbers[-1]].features)
        while len(self._kept) * each > self.memory and len(self._kept) > len(set(numbers)):
            self._kept.popitem(last=False)
        return numbers

    def place(self, voxel: Sequence[float]) -> tuple[int, int, int]:
        """A voxel (x, y, z) of the file -> (slice, row, column).

        Raises:
            InputError: it is outside.
        """
        shape = self.image.shape
        at = [int(np.floor(v)) for v in voxel[:3]]
        if len(at) != 3 or not all(0 <= v < n for v, n in zip(at, shape)):
            found, expected = ", ".join(f"{v:g}" for v in voxel), " x ".join(map(str, shape))
            raise InputError("point", f"({found})", f"x, y, z of a voxel of {expected}, counted from 0")
        number, row, column = (shape[a] - 1 - at[a] if back else at[a] for a, back in self.image.axes)
        return number, row, column

    def box(self, box: Sequence[float]) -> tuple[range, tuple[int, int, int, int]]:
        """(x0, y0, z0, x1, y1, z1) in voxels, inclusive-exclusive -> its slices, and (x0, y0, x1, y1) on each of them.

        Raises:
            InputError: it is empty, or leaves the volume.
        """
        found = f"({', '.join(f'{v:g}' for v in box)})"
        if len(box) != 6 or not all(low < high for low, high in zip(box[:3], box[3:])):
            raise InputError("box", found, "x0,y0,z0,x1,y1,z1 with x0 < x1, y0 < y1 and z0 < z1")
        if min(box[:3]) < 0 or any(high > n for high, n in zip(box[3:], self.image.shape)):
            raise InputError("box", found, f"a box inside {' x '.join(map(str, self.image.shape))}")
        ends = np.sort([self.place(box[:3]), self.place([np.ceil(v) - 1 for v in box[3:]])], axis=0)
        (z0, y0, x0), (z1, y1, x1) = ends.tolist()
        return range(z0, z1 + 1), (x0, y0, x1 + 1, y1 + 1)

    def to_voxels(self, frames: np.ndarray) -> np.ndarray:
        """An array [n, h, w] of the slices -> [x, y, z] on the voxels of the file, a view."""
        axes = self.image.axes
        order = np.argsort([axis for axis, _ in axes])
        return frames.transpose(order)[tuple(np.s_[::-1] if axes[position][1] else np.s_[:] for position in order)]

    def to_frames(self, mask: np.ndarray) -> np.ndarray:
        """A mask [x, y, z] on the voxels of the file -> bool [n, h, w] of the slices.

        Raises:
            InputError: it has another shape.
        """
        if mask.shape != self.image.shape:
            raise InputError("mask", f"shape {list(mask.shape)}", f"{list(self.image.shape)} as the volume")
        return np.array(self.image.to_display(mask.astype(bool)))


def _of(maps: EncoderMaps, place: int) -> EncoderMaps:
    return EncoderMaps(*([m[place : place + 1] for m in kind] for kind in maps))


def join(parts: Sequence[ImageFeatures]) -> ImageFeatures:
    """The features of several images as those of one batch."""
    if len(parts) == 1:
        return parts[0]
    context = torch.cat([p.context for p in parts])
    feature_map = context if parts[0].one_encoder else torch.cat([p.feature_map for p in parts])

    def joined(levels: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        return tuple(torch.cat(maps) for maps in zip(*levels))

    return ImageFeatures(
        context, feature_map, joined([p.high_resolution for p in parts]), joined([p.fine for p in parts])
    )
