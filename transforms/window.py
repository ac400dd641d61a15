"""Intensities as they are shown: one rule for each modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

CT_LEVEL, CT_WIDTH = 40.0, 400.0  # the usual soft-tissue window, in HU
PERCENTILES = (0.5, 99.5)


def window(frames: np.ndarray, modality: str | None) -> np.ndarray:
    """Bring values to uint8.

    8-bit pictures stay as they are. CT goes through a soft-tissue window. Everything else, volumes of unknown modality
    included, is scaled between percentiles of the values above the lowest one (which is background, mostly).

    Args:
        frames: [n, h, w] or [n, h, w, 3], all slices of one image.
    """
    if frames.dtype == np.uint8:
        return frames
    values = frames.astype(np.float32)
    if modality == "CT":
        low, high = CT_LEVEL - CT_WIDTH / 2, CT_LEVEL + CT_WIDTH / 2
    else:
        above = values[values > values.min()]
        low, high = np.percentile(above, PERCENTILES) if above.size else (values.min(), values.min() + 1)
    return (np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255).round().astype(np.uint8)


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
