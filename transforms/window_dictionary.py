"""`window` as a MONAI dictionary transform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from .window import window


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
