"""Reading any image of ours inside a chain of MONAI transforms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from .medical_image import MedicalImage


class ReadSliced(MapTransform):
    """From a path to one slice as it is shown: `MetaTensor` uint8 [3, h, w], windowed by modality.

    Args:
        slice: of a volume, counted from 0.
        modality: of files that do not tell.

    Raises:
        InputError: a file cannot be read, or has no such slice.
    """

    def __init__(
        self,
        keys: KeysCollection,
        slice: int | None = None,
        modality: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.slice, self.modality = slice, modality

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            image = MedicalImage.open(out[key], modality=self.modality)
            pixels = torch.from_numpy(image.slice(self.slice).copy()).permute(2, 0, 1)
            out[key] = MetaTensor(pixels, meta={"filename_or_obj": str(out[key]), "modality": image.modality or ""})
        return out
