"""An image that questions can be asked about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..models.image_encoder import ImageFeatures
from ..transforms.resize import SquareResize


@dataclass(frozen=True)
class EncodedImage:
    """The features of one image, and what is known of it; any number of questions can be asked about it, by any thread."""

    features: ImageFeatures
    resize: SquareResize
    slice: int | None = None
    modality: str | None = None
    spacing_mm: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()  # what was odd about its file, see `MedicalImage`
    pixels: np.ndarray | None = None  # uint8 [h, w, 3], for a second look
    looks_like: str | None = None  # its modality, by its features where the file does not tell
    ood_score: float | None = None  # above 1 it is out of the domain of training (see `ImageDomain`)

    @property
    def nbytes(self) -> int:
        """Memory of the features and the pixels."""
        return features_nbytes(self.features) + (0 if self.pixels is None else self.pixels.nbytes)


def features_nbytes(features: ImageFeatures) -> int:
    """Memory of features; one tensor under two names counts once."""
    context, feature_map, high_resolution, fine = features
    return sum({id(m): m.nbytes for m in (context, feature_map, *high_resolution, *fine)}.values())
