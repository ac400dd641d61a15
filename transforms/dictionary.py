"""Windowing and slicing as MONAI dictionary transforms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey

from .medical_image import MedicalImage
from .window import window


class ReadSliced(MapTransform):
    """From a path to one slice as it is shown: `MetaTensor` uint8 [3, h, w], windowed by modality.

    Args:
        slice: of a volume, counted from 0; an entry "slice" beside the path comes before it, and files that are written are
            named by it.
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
            number = out.get("slice", self.slice)
            pixels = torch.from_numpy(image.slice(number).copy()).permute(2, 0, 1)
            meta = {"filename_or_obj": str(out[key]), "modality": image.modality or ""}
            out[key] = MetaTensor(pixels, meta=meta | ({} if number is None else {ImageMetaKey.PATCH_INDEX: number}))
        return out


class WindowByModalityd(MapTransform):
    """Dictionary version of `window`; the modality is the entry `modality_key`."""

    def __init__(self, keys: KeysCollection, modality_key: str = "modality", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.modality_key = modality_key

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = window(out[key], out.get(self.modality_key))
        return out
