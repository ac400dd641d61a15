"""One small picture with several named structures, for tests that ask about one and then about another."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from .shapes import ellipsoid, smooth_field, to_uint8, tube, wander

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
