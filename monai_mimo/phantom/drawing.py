"""Blobs, textures and noise from which the phantoms are drawn. All lengths are in voxels or pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

Rng = np.random.Generator
Vector = Sequence[float] | np.ndarray


def smooth_field(shape: Sequence[int], scale: float, rng: Rng) -> np.ndarray:
    """Random values of mean 0 and deviation 1 that vary over about `scale` pixels."""
    noise = gaussian_filter(rng.standard_normal(shape), scale, mode="reflect")
    return (noise - noise.mean()) / (noise.std() + 1e-9)


def ellipsoid(
    shape: Sequence[int],
    center: Vector,
    radii: Vector,
    rng: Rng,
    wobble: float = 0.08,
    angle: float = 0.0,
) -> np.ndarray:
    """A blob bool [shape]: an ellipsoid, turned by `angle` radians in its first two axes, with a smooth random surface.

    Args:
        wobble: how far the surface wanders, as a part of the radius.
    """
    reach = [1.3 * r if number > 1 else 1.3 * max(radii[:2]) for number, r in enumerate(radii)]
    near = tuple(slice(max(0, int(c - far)), min(n, int(c + far) + 2)) for n, c, far in zip(shape, center, reach))
    out = np.zeros(shape, dtype=bool)
    if out[near].size:
        grids = np.ogrid[near]
        offsets = [grid - c for grid, c in zip(grids, center)]
        cos, sin = np.cos(angle), np.sin(angle)
        a, b = offsets[0] * cos + offsets[1] * sin, offsets[1] * cos - offsets[0] * sin
        distance = np.sqrt(sum((d / r) ** 2 for d, r in zip([a, b, *offsets[2:]], radii)))
        surface = wobble * smooth_field(out[near].shape, max(2.0, min(min(radii), 40) / 2), rng)
        out[near] = distance + surface < 1
    return out


def tube(shape: Sequence[int], points: np.ndarray, radius: float) -> np.ndarray:
    """A bent line bool [h, w] of `radius` through `points` [(row, column), ...]."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    nearest = np.full(shape, np.inf)
    for (r0, c0), (r1, c1) in zip(points[:-1], points[1:]):
        length = max((r1 - r0) ** 2 + (c1 - c0) ** 2, 1e-6)
        t = np.clip(((rows - r0) * (r1 - r0) + (columns - c0) * (c1 - c0)) / length, 0, 1)
        nearest = np.minimum(nearest, (rows - r0 - t * (r1 - r0)) ** 2 + (columns - c0 - t * (c1 - c0)) ** 2)
    return nearest < radius**2


def wander(
    start: tuple[float, float], heading: float, steps: int, step: float, rng: Rng, bend: float = 0.25
) -> np.ndarray:
    """A random walk [(row, column), ...] that keeps its direction: a vessel, a hair, a fold."""
    headings = heading + np.cumsum(rng.normal(0, bend, steps))
    moves = step * np.stack([np.sin(headings), np.cos(headings)], axis=1)
    return np.concatenate([[start], start + np.cumsum(moves, axis=0)])


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Values in 0..1 -> uint8."""
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def paint(image: np.ndarray, mask: np.ndarray, color: Vector, soft: float = 1.0) -> np.ndarray:
    """Blend `color` into image [h, w, 3] where mask, with an edge of `soft` pixels."""
    weight = gaussian_filter(mask.astype(np.float32), soft)[..., None]
    return image * (1 - weight) + weight * np.asarray(color, dtype=np.float32)
