"""Points and boxes drawn from masks, as a user would place them."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.random import Generator, RandomState

GRID = 64  # cells along the longer side of a mask's box: distances between them are fine enough to draw a point by


class PromptTarget:
    """A mask that any number of prompts are drawn from; what they need of it is computed once.

    Args:
        mask: bool [h, w], not empty.
        avoid: bool [h, w], never hit by a point unless it covers the mask; a smaller structure inside, say.
    """

    def __init__(self, mask: np.ndarray, avoid: np.ndarray | None = None) -> None:
        self.mask, self._avoid = mask, avoid

    @cached_property
    def box(self) -> tuple[int, int, int, int]:
        """The tight box (x0, y0, x1, y1), inclusive-exclusive."""
        return tight_box(self.mask)

    @cached_property
    def _chances(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels inside: x, y, and the sum of the chances up to each of them."""
        from scipy.ndimage import distance_transform_edt  # slow to import, and a box needs none

        mask, (x0, y0, x1, y1) = self.mask, self.box
        if self._avoid is not None and (mask & ~self._avoid).any():
            mask = mask & ~self._avoid
            x0, y0, x1, y1 = tight_box(mask)
        part = mask[y0:y1, x0:x1]  # what lies outside is farther than its own border
        step = 1 + (max(part.shape) - 1) // GRID
        if not part[::step, ::step].any():
            step = 1
        cells = np.pad(part[::step, ::step], 1)  # the image's border is an edge too
        weight = distance_transform_edt(cells)[1:-1, 1:-1] ** 2
        rows, columns = np.nonzero(weight)
        return x0 + step * columns, y0 + step * rows, np.cumsum(weight[rows, columns])

    def point(self, rng: Generator | RandomState) -> tuple[int, int]:
        """Draw a pixel (x, y) inside, likelier the farther it is from the edge."""
        x, y, chances = self._chances
        place = min(int(np.searchsorted(chances, rng.random() * chances[-1], side="right")), len(x) - 1)
        return int(x[place]), int(y[place])

    def near_box(self, rng: Generator | RandomState, jitter: float = 0.05) -> tuple[int, int, int, int]:
        """The tight box, each edge of it moved at random by up to `jitter` of the box's side; it stays in the image."""
        x0, y0, x1, y1 = self.box
        move = rng.uniform(-jitter, jitter, size=4) * (x1 - x0, y1 - y0, x1 - x0, y1 - y0)
        height, width = self.mask.shape
        left, top = max(0, round(x0 + move[0])), max(0, round(y0 + move[1]))
        right, bottom = min(width, round(x1 + move[2])), min(height, round(y1 + move[3]))
        return left, top, max(right, left + 1), max(bottom, top + 1)


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The box (x0, y0, x1, y1), inclusive-exclusive, around `mask` bool [h, w], which is not empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[y0:y1].any(axis=0))
    return int(columns[0]), y0, int(columns[-1]) + 1, y1


def inside(masks: np.ndarray, number: int) -> np.ndarray:
    """The union [h, w] of masks [n, h, w] that lie mostly inside mask `number` and are smaller: a click there means them."""
    mask = masks[number]
    areas = masks.sum(axis=(1, 2))
    shared = (masks & mask).sum(axis=(1, 2))
    smaller = (areas < mask.sum()) & (shared > areas / 2)
    return masks[smaller].any(axis=0)


def sample_point(mask: np.ndarray, rng: Generator | RandomState, avoid: np.ndarray | None = None) -> tuple[int, int]:
    """One point (x, y) of a `PromptTarget`."""
    return PromptTarget(mask, avoid).point(rng)


def sample_box(mask: np.ndarray, rng: Generator | RandomState, jitter: float = 0.05) -> tuple[int, int, int, int]:
    """One box (x0, y0, x1, y1) near that of a `PromptTarget`."""
    return PromptTarget(mask).near_box(rng, jitter)
