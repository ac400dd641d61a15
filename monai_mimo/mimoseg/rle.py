"""Masks as COCO run-length encodings (pycocotools)."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """bool [h, w] -> {"size": [h, w], "counts": compressed counts as text}."""
    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_rle(rle: dict[str, Any]) -> np.ndarray:
    """The inverse of `encode_rle`: bool [h, w]."""
    return coco.decode({"size": list(rle["size"]), "counts": rle["counts"].encode("ascii")}).astype(bool)
