"""Phantom pictures: X-ray, dermoscopy, endoscopy, ultrasound and fundus, uint8 with bool masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


Picture = tuple[np.ndarray, dict[str, np.ndarray | None]]  # an entity that was looked for and is absent has no mask


def draw_xray(rng: Rng) -> Picture:
    """A frontal chest: the patient's left lung is at the right of the image and smaller, beside the heart."""
    shape = (208, 192)
    size = rng.uniform(0.88, 1.06)
    row, column = 92 + rng.uniform(-6, 6), 96 + rng.uniform(-6, 6)

    def blob(dr: float, dc: float, rr: float, rc: float, wobble: float = 0.06, angle: float = 0.0) -> np.ndarray:
        return ellipsoid(shape, (row + dr * size, column + dc * size), (rr * size, rc * size), rng, wobble, angle)

    body = blob(30, 0, 150, 84, 0.03) | blob(-60, 0, 60, 40, 0.03)
    image = np.full(shape, 0.05) + 0.6 * body
    right = blob(0, -34, 62, 25, angle=-0.12)
    left = blob(-4, 34, 56, 24, angle=0.12) & ~blob(34, 14, 34, 26, 0.08)
    for lung in (left, right):
        image[lung] = rng.uniform(0.16, 0.26)
    image[blob(34, 14, 32, 25, 0.08) & ~left & ~right] += 0.12  # heart
    image[blob(0, 0, 150, 8, 0.03)] += 0.15  # spine and mediastinum
    for rib in range(9):  # ribs cross the lungs
        for side in (-1, 1):
            start = (row + (rib - 5) * 15 * size, column + side * 8)
            path = wander(start, np.pi / 2 - side * (np.pi / 2 - 0.35), 9, 8, rng, 0.12)
            image[tube(shape, path, rng.uniform(1.6, 2.4)) & body] += rng.uniform(0.05, 0.09)
    image = (
        gaussian_filter(image, 1.4)
        + 0.03 * smooth_field(shape, 4, rng)
        + rng.uniform(0.01, 0.03) * rng.standard_normal(shape)
    )
    return to_uint8(image * rng.uniform(0.9, 1.1)), {"left lung": left, "right lung": right}


def draw_dermoscopy(rng: Rng) -> Picture:
    """A pigmented lesion on skin, with hairs, a ruler and a vignette that are dark as well."""
    shape = (160, 208)
    skin = np.array([0.86, 0.66, 0.56]) * rng.uniform(0.85, 1.08) + rng.normal(0, 0.02, 3)
    image = np.ones((*shape, 3)) * skin + 0.02 * smooth_field(shape, 5, rng)[..., None]
    center = (80 + rng.uniform(-18, 18), 104 + rng.uniform(-30, 30))
    lesion = ellipsoid(shape, center, rng.uniform(20, 48, size=2), rng, 0.2, rng.uniform(0, 3))
    brown = np.array([0.42, 0.26, 0.2]) * rng.uniform(0.75, 1.35)
    image = paint(image, lesion, brown, rng.uniform(1, 3))
    image = paint(image, lesion & (smooth_field(shape, 4, rng) > 0.7), brown * 0.6, 1)
    for _ in range(int(rng.integers(3, 14))):
        hair = wander((rng.uniform(0, shape[0]), rng.uniform(0, shape[1])), rng.uniform(0, 6.3), 14, 9, rng, 0.1)
        image = paint(image, tube(shape, hair, rng.uniform(0.7, 1.4)), (0.12, 0.09, 0.08), 0.4)
    if rng.random() < 0.4:
        for tick in range(10, shape[1], 14):
            image[-9:-3, tick : tick + 2] = 0.15
    rows, columns = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    image *= (1 - rng.uniform(0.1, 0.5) * np.clip(rows**2 + columns**2 - 0.7, 0, 1))[..., None]
    return to_uint8(image + 0.012 * rng.standard_normal(image.shape)), {"skin lesion": lesion}


def draw_endoscopy(rng: Rng) -> Picture:
    """A colon: folds and the dark lumen, specular highlights, and a polyp in most patients."""
    shape = (176, 192)
    wall = np.array([0.78, 0.42, 0.34]) * rng.uniform(0.85, 1.1) + rng.normal(0, 0.02, 3)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    lumen = (rng.uniform(40, 136), rng.uniform(40, 152))
    distance = np.hypot(rows - lumen[0], columns - lumen[1])
    light = np.clip(distance / rng.uniform(60, 100), 0.15, 1.05)
    folds = 1 + 0.1 * np.sin(distance / rng.uniform(5, 8) + 2 * smooth_field(shape, 16, rng))
    image = wall * (light * folds)[..., None] * (1 + 0.05 * smooth_field(shape, 6, rng))[..., None]
    for _ in range(4):
        vessel = wander((rng.uniform(0, shape[0]), rng.uniform(0, shape[1])), rng.uniform(0, 6.3), 20, 5, rng, 0.4)
        image = paint(image, tube(shape, vessel, 0.9), wall * [0.7, 0.5, 0.5], 0.8)
    polyp = None
    if rng.random() < 0.8:
        angle, reach = rng.uniform(0, 6.3), rng.uniform(45, 70)
        center = np.clip(lumen + reach * np.array([np.sin(angle), np.cos(angle)]), 30, (shape[0] - 30, shape[1] - 30))
        radii = rng.uniform(15, 32, size=2)
        polyp = ellipsoid(shape, center, radii, rng, 0.1, rng.uniform(0, 3))
        color = np.array([0.9, 0.46, 0.42]) * rng.uniform(0.92, 1.1)
        dome = 1.12 - 0.5 * (((rows - center[0]) / radii[0]) ** 2 + ((columns - center[1]) / radii[1]) ** 2) / 2
        image = image * ~gaussian_filter_edge(polyp)[..., None] + 0.6 * image * gaussian_filter_edge(polyp)[..., None]
        image = paint(image, polyp, (0, 0, 0), 1) + gaussian_filter(polyp * 1.0, 1)[..., None] * color * dome[..., None]
        image *= (1 + 0.06 * polyp * smooth_field(shape, 2, rng))[..., None]
    for _ in range(int(rng.integers(4, 10))):
        spot = ellipsoid(shape, rng.uniform(8, 168, size=2), rng.uniform(1.5, 4.5, size=2), rng, 0.2)
        image = paint(image, spot, (1, 0.98, 0.95), 0.7)
    corner = np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) > 118
    image[corner] = 0.02
    if polyp is not None:
        polyp = polyp & ~corner
    return to_uint8(image + 0.015 * rng.standard_normal(image.shape)), {"polyp": polyp}


def gaussian_filter_edge(mask: np.ndarray) -> np.ndarray:
    """A ring just outside `mask`, bool: the shadow that a raised thing throws."""
    return (gaussian_filter(mask.astype(np.float32), 3) > 0.12) & ~mask


def draw_ultrasound(rng: Rng) -> Picture:
    """A nerve: a speckled oval with a bright rim, under fascia lines, beside dark round vessels; absent in some."""
    shape = (176, 208)
    rows = np.arange(shape[0])[:, None]
    echo = np.full(shape, rng.uniform(0.25, 0.35)) * np.exp(-rows / rng.uniform(220, 400))
    for depth in np.cumsum(rng.uniform(18, 38, size=6)):
        path = np.stack([depth + 5 * smooth_field((shape[1],), 25, rng), np.arange(shape[1])], axis=1)[::8]
        echo[tube(shape, path, rng.uniform(1, 2.2))] += rng.uniform(0.2, 0.4)
    for _ in range(int(rng.integers(1, 4))):
        center = (rng.uniform(50, 150), rng.uniform(20, 188))
        echo[ellipsoid(shape, center, rng.uniform(8, 15, size=2), rng, 0.05)] = 0.03
    nerve = None
    if rng.random() < 0.8:
        center = (rng.uniform(55, 130), rng.uniform(50, 158))
        radii = (rng.uniform(14, 21), rng.uniform(20, 34))
        nerve = ellipsoid(shape, center, radii, rng, 0.08, rng.uniform(-0.3, 0.3))
        inner = gaussian_filter(nerve.astype(np.float32), 2.5) > 0.85
        echo[nerve] = rng.uniform(0.62, 0.75)
        echo[inner] = rng.uniform(0.34, 0.42)
        fascicles = smooth_field(shape, 2.2, rng) > 0.8
        echo[inner & fascicles] = 0.1
    speckle = np.hypot(
        gaussian_filter(rng.standard_normal(shape), 0.8), gaussian_filter(rng.standard_normal(shape), 0.8)
    )
    image = gaussian_filter(echo, 1.0) * (0.35 + 1.5 * speckle / speckle.mean() * 0.45)
    return to_uint8(image * rng.uniform(0.9, 1.25)), {"nerve": nerve}


def draw_fundus(rng: Rng) -> Picture:
    """A retina: vessels leave the optic disc, which holds the cup; bright exudates look like a small disc."""
    shape = (192, 192)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    retina = np.array([0.72, 0.34, 0.16]) * rng.uniform(0.75, 1.1)
    field = np.hypot(rows - 96, columns - 96) < 92
    image = np.ones((*shape, 3)) * retina * (1 + 0.07 * smooth_field(shape, 12, rng))[..., None]
    side = rng.choice([-1, 1])  # right or left eye
    center = np.array([96 + rng.uniform(-12, 12), 96 + side * rng.uniform(26, 46)])
    macula = ellipsoid(shape, (center[0] + 4, center[1] - side * 62), (16, 16), rng, 0.1)
    image = paint(image, macula, retina * 0.72, 6)
    for _ in range(int(rng.integers(0, 5))):
        spot = ellipsoid(shape, rng.uniform(30, 162, size=2), rng.uniform(2, 6, size=2), rng, 0.25)
        image = paint(image, spot, (0.95, 0.82, 0.5), 1)
    radius = rng.uniform(19, 27)
    disc = ellipsoid(shape, center, (radius * rng.uniform(1, 1.12), radius), rng, 0.04)
    cup_radius = radius * rng.uniform(0.42, 0.68)
    cup = ellipsoid(shape, center + rng.uniform(-2, 2, size=2), (cup_radius * 1.05, cup_radius), rng, 0.05) & disc
    image = paint(image, disc, np.array([0.93, 0.68, 0.38]) * rng.uniform(0.93, 1.03), 1.2)
    image = paint(image, cup, np.array([0.99, 0.91, 0.7]), 1.2)
    for vertical in (-1, 1):
        for turn in (-0.7, 0.2, 0.8):
            path = wander(tuple(center), vertical * (np.pi / 2 + side * turn), 22, 6, rng, 0.14)
            image = paint(image, tube(shape, path, rng.uniform(1.2, 2.4)), (0.45, 0.1, 0.07), 0.6)
    image[~field] = 0.01
    return to_uint8(image + 0.012 * rng.standard_normal(image.shape)), {
        "optic disc": disc & field,
        "optic cup": cup & field,
    }


DRAW: dict[str, Callable[[Rng], Picture]] = {
    "X-ray": draw_xray,
    "dermoscopy": draw_dermoscopy,
    "endoscopy": draw_endoscopy,
    "ultrasound": draw_ultrasound,
    "fundus": draw_fundus,
}


SIDE = 128


def draw_chest(seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A frontal chest radiograph, the same for the same seed.

    Returns:
        uint8 [128, 128], in which bone is bright, and the masks bool [128, 128] of the lung (both sides), the heart and the
        clavicle (both sides), of which no two overlap. Every one of them has room for a click.
    """
    rng, shape = np.random.default_rng(seed), (SIDE, SIDE)

    def blob(row: float, column: float, height: float, width: float, angle: float = 0.0) -> np.ndarray:
        center = (row + rng.uniform(-1.5, 1.5), column + rng.uniform(-1.5, 1.5))
        return ellipsoid(shape, center, (height / 2, width / 2), rng, wobble=0.03, angle=angle)

    rows, columns = np.mgrid[:SIDE, :SIDE]
    off = np.abs(columns - 64)
    body = ((rows > 4 + 0.2 * off) & (off < 56 + 3 * np.sin(rows / 20))) | (off < 15)  # shoulders, trunk and neck
    sides = blob(62, 37, 100, 42, angle=-0.05), blob(62, 92, 98, 40, angle=0.05)
    domes = blob(108, 36, 36, 60), blob(112, 93, 36, 60)  # of the diaphragm
    heart = blob(76, 71, 40, 46, angle=0.5) & ~domes[0] & ~domes[1]
    bones = [
        tube(shape, np.array([[28.0, 64 + side * 7], [26.0, 64 + side * 20], [19.0, 64 + side * 42]]), 2.4)
        for side in (-1, 1)
    ]
    clavicle = bones[0] | bones[1]
    lung = (sides[0] | sides[1]) & ~domes[0] & ~domes[1] & ~heart & ~clavicle & body

    image = np.where(body, 0.78 + 0.12 * rows / SIDE, 0.04)
    in_lung = lung | (clavicle & (sides[0] | sides[1]))  # the bone lies before it, and air shines through
    image[in_lung] = 0.3 + 0.18 * (rows[in_lung] / SIDE)
    image[(off < 6) & body] += 0.08  # spine
    image[heart] = 0.86
    for rib in range(7):
        for side in (-1, 1):
            start = (24.0 + 10 * rib, 64.0 + side * 8)
            path = wander(start, np.pi / 2 - side * (np.pi / 2 - 0.3), 9, 6, rng, 0.1)
            image[tube(shape, path, 1.1) & in_lung] += 0.07
    image[clavicle] += 0.22
    image = gaussian_filter(image, 0.8) + 0.015 * smooth_field(shape, 5, rng) + 0.012 * rng.standard_normal(shape)
    return to_uint8(image), {"lung": lung, "heart": heart, "clavicle": clavicle}
