"""Points and boxes drawn from masks, as a user would place them."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator, RandomState
from scipy.ndimage import distance_transform_edt


def sample_point(mask: np.ndarray, rng: Generator | RandomState, avoid: np.ndarray | None = None) -> tuple[int, int]:
    """Draw a pixel (x, y) inside `mask` bool [h, w], likelier the farther it is from the edge.

    Args:
        avoid: bool [h, w], never hit unless it covers the mask; a smaller structure inside, say.
    """
    if avoid is not None and (mask & ~avoid).any():
        mask = mask & ~avoid
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    part = mask[
        rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1
    ]  # what lies outside is farther than its own border
    padded = np.pad(part, 1)  # the image's border is an edge too
    weight = distance_transform_edt(padded)[1:-1, 1:-1].ravel() ** 2
    place = int(rng.choice(weight.size, p=weight / weight.sum()))
    y, x = divmod(place, part.shape[1])
    return int(columns[0]) + x, int(rows[0]) + y


def sample_box(mask: np.ndarray, rng: Generator | RandomState, jitter: float = 0.05) -> tuple[int, int, int, int]:
    """The tight box (x0, y0, x1, y1), inclusive-exclusive, of `mask` bool [h, w]; each edge is moved at random by up to
    `jitter` of the box's side, and stays in the image."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    x0, x1, y0, y1 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    move = rng.uniform(-jitter, jitter, size=4) * (x1 - x0, y1 - y0, x1 - x0, y1 - y0)
    height, width = mask.shape
    left, top = max(0, round(x0 + move[0])), max(0, round(y0 + move[1]))
    right, bottom = min(width, round(x1 + move[2])), min(height, round(y1 + move[3]))
    return left, top, max(right, left + 1), max(bottom, top + 1)
