"""Intensities as they are shown: one rule for each modality."""

from __future__ import annotations

import math

import numpy as np

CT_LEVEL, CT_WIDTH = 40.0, 400.0  # the usual soft-tissue window, in HU
PERCENTILES = (0.5, 99.5)


SAMPLE = 2**20  # so many values are enough for percentiles


def limits(frames: np.ndarray, modality: str | None, given: tuple[float, float] | None = None) -> tuple[float, float]:
    """The values that become black and white: those of a given window (level, width), the soft-tissue window for CT, and
    for everything else, volumes of unknown modality included, percentiles of the values above the lowest one (which is
    background, mostly). Large volumes are thinned out in rows and columns for it.

    Args:
        frames: [n, h, w] or [n, h, w, 3], all slices of one image.
    """
    if given is None and modality == "CT":
        given = CT_LEVEL, CT_WIDTH
    if given is not None:
        level, width = given
        return level - width / 2, level + width / 2
    step = math.ceil(math.sqrt(max(1, frames.size / SAMPLE)))
    values = frames[:, ::step, ::step].astype(np.float32)
    lowest = values.min()
    above = values[values > lowest]
    low, high = np.percentile(above, PERCENTILES) if above.size else (lowest, lowest + 1)
    return float(low), float(high)


def to_grey(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values of any shape to uint8, `low` and below to 0, `high` and above to 255."""
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / max(high - low, 1e-6))
    return np.clip(scaled, 0, 255, out=scaled).round(out=scaled).astype(np.uint8)


def window(frames: np.ndarray, modality: str | None, given: tuple[float, float] | None = None) -> np.ndarray:
    """Bring values to uint8 (see `limits`); 8-bit pictures stay as they are.

    Args:
        frames: [n, h, w] or [n, h, w, 3], all slices of one image.
    """
    return frames if frames.dtype == np.uint8 else to_grey(frames, *limits(frames, modality, given))
