"""Which slices of a labelled volume are worth asking about."""

from __future__ import annotations

import numpy as np


def select_slices(areas: np.ndarray, count: int) -> list[int]:
    """Up to `count` slices, spread evenly over those whose mask area is at least a quarter of the largest one.

    A volume without any mask gives `count` slices spread over its middle half: what is absent there can be asked for.

    Args:
        areas: pixels of all masks together, for each slice [n].
    """
    if areas.max() > 0:
        candidates = np.flatnonzero(areas >= max(1, areas.max() / 4))
    else:
        candidates = np.arange(len(areas) // 4, max(len(areas) // 4 + 1, len(areas) * 3 // 4))
    picked = np.linspace(0, len(candidates) - 1, min(count, len(candidates))).round().astype(int)
    return [int(candidates[i]) for i in picked]
