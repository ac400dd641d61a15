"""What a mask tells: how many parts it has, on which side it lies, how large it is. What is in doubt is none, and not asked.

A mask is bool [h, w], not empty, as the image is shown; `spacing_mm` is (row, column).
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt, label, maximum
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from ...transforms.prompts import tight_box

NEIGHBOURS = np.ones((3, 3), dtype=bool)  # pixels that touch at a corner belong together
SPECK_PIXELS, SPECK_PART = 16, 0.05  # a part below either (of the largest part) is a speck, and not counted
DOUBT = 1.5  # a part that is less than so many times smaller or larger than the limit may be either
GAP = 0.01  # parts that are nearer to each other than this part of the image's longer side, or two pixels, may be one
WAIST = 0.65  # a part that is narrower than this part of its width somewhere between two wider places may be two
ON_SIDE = 0.95  # of the pixels lie in the half or quarter that is said
RATIO = 1.25  # of areas that are compared, at least: the smaller is more than 20 % below the larger


def count_parts(mask: np.ndarray) -> int | None:
    """How many separate parts there are without the specks; none where that is in doubt."""
    x0, y0, x1, y1 = tight_box(mask)
    labels, _ = label(np.pad(mask[y0:y1, x0:x1], 1), NEIGHBOURS)
    sizes = np.bincount(labels.ravel())[1:]
    limit = max(SPECK_PIXELS, SPECK_PART * sizes.max())
    counted = 1 + np.flatnonzero(sizes >= limit)
    if len(counted) == 0 or ((limit / DOUBT < sizes) & (sizes < limit * DOUBT)).any():
        return None
    kept = np.isin(labels, counted)
    reach = max(1.0, GAP * max(mask.shape) / 2)
    apart = np.pad(kept, int(np.ceil(reach)))
    _, near = label(distance_transform_edt(~apart) <= reach, NEIGHBOURS)
    depth = distance_transform_edt(kept)
    deepest = np.zeros(len(sizes) + 1)
    deepest[counted] = maximum(depth, labels, counted)
    _, cores = label(kept & (depth >= WAIST * deepest[labels]), NEIGHBOURS)
    return len(counted) if near == cores == len(counted) else None


def count_large_parts(mask: np.ndarray) -> int:
    """How many separate parts there are without the specks, also where that is in doubt; at least one."""
    sizes = np.bincount(label(mask, NEIGHBOURS)[0].ravel())[1:]
    return max(1, int((sizes >= max(SPECK_PIXELS, SPECK_PART * sizes.max())).sum()))


def largest_part(mask: np.ndarray) -> np.ndarray:
    """Its largest separate part alone."""
    labels, _ = label(mask, NEIGHBOURS)
    return labels == 1 + np.bincount(labels.ravel())[1:].argmax()


def image_half(mask: np.ndarray, axis: int) -> str | None:
    """The half of the image in which it lies: "upper" or "lower" (axis 0), "left" or "right" (axis 1); none where it straddles
    the middle."""
    lines = mask.sum(axis=1 - axis)  # pixels of each row or column
    size = len(lines)
    parts = lines[: size // 2].sum() / lines.sum(), lines[size - size // 2 :].sum() / lines.sum()
    names = ("left", "right") if axis else ("upper", "lower")
    return next((name for name, part in zip(names, parts) if part >= ON_SIDE), None)


def quarter(mask: np.ndarray) -> str | None:
    """The quarter of the image in which it lies, e.g. "upper left"; none where it reaches into another."""
    sides = image_half(mask, 0), image_half(mask, 1)
    if sides[0] is None or sides[1] is None:
        return None
    (h, w), (y, x) = mask.shape, sides
    rows = slice(0, h // 2) if y == "upper" else slice(h - h // 2, h)
    columns = slice(0, w // 2) if x == "left" else slice(w - w // 2, w)
    return f"{y} {x}" if np.count_nonzero(mask[rows, columns]) >= ON_SIDE * np.count_nonzero(mask) else None


def is_larger(one: np.ndarray, other: np.ndarray) -> bool | None:
    """Whether `one` covers more of the image than `other`; none where they differ by less than a fifth."""
    a, b = np.count_nonzero(one), np.count_nonzero(other)  # many times as fast as the sum of a mask
    return a > b if max(a, b) >= RATIO * min(a, b) else None


def longest_diameter(mask: np.ndarray, spacing_mm: tuple[float, float] = (1.0, 1.0)) -> float | None:
    """The largest distance between two corners of its pixels; none for a mask of several parts."""
    x0, y0, x1, y1 = tight_box(mask)
    if label(mask[y0:y1, x0:x1], NEIGHBOURS)[1] > 1:
        return None
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    # the corners at both ends of each row of pixels; what is farthest apart is among those
    corners = np.concatenate([np.stack([y, x], axis=1) for y in (rows, rows + 1) for x in (first, last)])
    corners = corners * np.asarray(spacing_mm, dtype=float)
    return float(pdist(corners[ConvexHull(corners).vertices]).max())


def area(mask: np.ndarray, spacing_mm: tuple[float, float]) -> float:
    """In square mm."""
    return float(np.count_nonzero(mask)) * spacing_mm[0] * spacing_mm[1]


def percent(mask: np.ndarray) -> float:
    """Of the pixels of the image."""
    return 100 * float(mask.mean())


def two_digits(value: float) -> str:
    """A positive number as it is said, with two significant digits: "0.43", "4.3", "43", "430"."""
    return f"{float(f'{value:.1e}'):.10g}"
