"""Phantom CT, MR and PET volumes, drawn in RAS order: x grows to the patient's right, y to the front, z to the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from .draw_pictures import Rng, ellipsoid, smooth_field


@dataclass
class PhantomVolume:
    """values [x, y, z], labels uint8 on the same voxels, and the size of a voxel in mm."""

    values: np.ndarray
    labels: np.ndarray
    spacing_mm: tuple[float, float, float]


CT_LABELS = {1: "liver", 2: "left kidney", 3: "right kidney", 4: "spleen", 5: "liver lesion"}
MR_LABELS = {1: "edema", 2: "tumor"}
PET_LABELS = {1: "bladder", 2: "tumor"}


def draw_ct(rng: Rng) -> PhantomVolume:
    """An upper abdomen in HU: organs that differ little from each other, spine, vessels, gas, sometimes a liver lesion."""
    shape = (112, 96, int(rng.integers(10, 15)))
    x, y, z = (n / 2 for n in shape)
    size = rng.uniform(0.88, 1.05)
    shift = rng.uniform(-3, 3, size=2)

    def blob(dx: float, dy: float, dz: float, rx: float, ry: float, rz: float, wobble: float = 0.1) -> np.ndarray:
        jitter = rng.uniform(0.9, 1.1, size=3)
        center = (x + shift[0] + dx * size + rng.normal(0, 1.5), y + shift[1] + dy * size + rng.normal(0, 1.5), z + dz)
        radii = np.array([rx * size, ry * size, rz]) * jitter
        return ellipsoid(shape, center, radii, rng, wobble, rng.uniform(-0.15, 0.15))

    body = blob(0, 0, 0, 48, 38, 60, 0.02)
    liver = blob(19, 6, 1, 22, 22, 9) | blob(4, 15, 2, 16, 11, 7)
    spleen = blob(-33, -7, 1, 8, 15, 7)
    right_kidney = blob(19, -20, -1, 9, 8, 8)
    left_kidney = blob(-19, -21, 0, 9, 8, 8)
    stomach = blob(-17, 13, 2, 14, 10, 7)
    spine = blob(0, -24, 0, 8, 8, 60, 0.04)
    aorta = blob(-4, -11, 0, 4, 4, 60, 0.03)
    cava = blob(6, -10, 0, 4, 4, 60, 0.03)

    organ = rng.uniform(75, 105)  # the contrast phase moves all of them together
    values = np.full(shape, -1000.0)
    values[body] = -95
    inside = blob(0, 0, 0, 44, 34, 58, 0.03) & body
    values[inside] = 35
    for mask, hu in (
        (stomach, rng.uniform(-20, 40)),
        (spleen, organ + rng.uniform(5, 25)),
        (liver, organ),
        (right_kidney, organ + rng.uniform(30, 60)),
        (left_kidney, organ + rng.uniform(30, 60)),
        (spine, rng.uniform(250, 400)),
        (aorta, organ + rng.uniform(40, 80)),
        (cava, organ + rng.uniform(10, 50)),
    ):
        values[mask & inside] = hu
    labels = np.zeros(shape, dtype=np.uint8)
    taken = spine | aorta | cava
    for value, mask in ((1, liver), (4, spleen), (3, right_kidney), (2, left_kidney)):
        labels[mask & inside & ~taken] = value
    # Hepatic vessels look like lesions in one slice, but are thin and bright.
    for _ in range(3):
        vessel = blob(rng.uniform(8, 30), rng.uniform(-4, 16), rng.uniform(-3, 3), 9, 2, 2)
        values[vessel & (labels == 1)] = organ + 45
    if rng.random() < 0.5:
        radius = rng.uniform(6, 9)
        lesion = blob(rng.uniform(14, 26), rng.uniform(0, 12), rng.uniform(-1, 2), radius, radius, 4) & (labels == 1)
        values[lesion] = organ - rng.uniform(45, 65)
        labels[lesion] = 5
    values = gaussian_filter(values, (0.7, 0.7, 0.3))
    values += 6 * smooth_field(shape, 3, rng) + rng.uniform(8, 16) * rng.standard_normal(shape)
    return PhantomVolume(values.round().astype(np.int16), labels, (rng.uniform(3.0, 3.6),) * 2 + (rng.uniform(5, 8),))


def draw_mr(rng: Rng) -> PhantomVolume:
    """A FLAIR-like head in arbitrary units: edema around a tumor in some patients, and bright vessels in all."""
    shape = (96, 112, int(rng.integers(10, 15)))
    x, y, z = (n / 2 for n in shape)
    size = rng.uniform(0.9, 1.05)

    def blob(dx: float, dy: float, dz: float, rx: float, ry: float, rz: float, wobble: float = 0.08) -> np.ndarray:
        center = (x + dx * size, y + dy * size, z + dz)
        return ellipsoid(shape, center, (rx * size, ry * size, rz), rng, wobble, rng.uniform(-0.2, 0.2))

    head, skull, brain = (
        blob(0, 0, 0, 42, 50, 40, 0.02),
        blob(0, 0, 0, 38, 46, 38, 0.02),
        blob(0, 0, 0, 35, 43, 36, 0.03),
    )
    values = np.zeros(shape)
    values[head] = 0.55
    values[skull] = 0.12
    values[brain] = 0.42
    white = gaussian_filter(rng.standard_normal(shape), (6, 6, 2))
    values[brain & (white > 0)] = 0.5
    for side in (-1, 1):
        values[blob(8 * side, 4, 1, 4, 13, 4, 0.15) & brain] = 0.1  # ventricles: dark in FLAIR
    for _ in range(int(rng.integers(5, 9))):  # vessels: as bright as edema, but small
        radius = rng.uniform(1.5, 2.6)
        values[blob(rng.uniform(-26, 26), rng.uniform(-32, 32), rng.uniform(-4, 4), radius, radius, 6) & brain] = 0.92
    labels = np.zeros(shape, dtype=np.uint8)
    if rng.random() < 0.67:
        side = rng.choice([-1, 1])
        dx, dy, dz = side * rng.uniform(13, 20), rng.uniform(-20, 20), rng.uniform(-2, 2)
        radius = rng.uniform(11, 16)
        edema = blob(dx, dy, dz, radius, radius * rng.uniform(0.9, 1.3), 5, 0.1) & brain
        tumor = blob(dx, dy, dz, radius * 0.55, radius * 0.6, 4, 0.08) & edema
        values[edema], labels[edema] = rng.uniform(0.75, 0.88), 1
        values[tumor], labels[tumor] = rng.uniform(0.25, 0.34) if rng.random() < 0.5 else rng.uniform(0.56, 0.62), 2
    values = gaussian_filter(values, (0.8, 0.8, 0.3))
    values *= 1 + 0.12 * smooth_field(shape, 30, rng)  # coil sensitivity
    values = np.abs(values + rng.uniform(0.02, 0.045) * rng.standard_normal(shape))
    return PhantomVolume((values * rng.uniform(600, 1400)).astype(np.float32), labels, (2.0, 2.0, rng.uniform(5, 7)))


def draw_pet(rng: Rng) -> PhantomVolume:
    """A trunk in SUV: liver, heart and kidneys take up tracer as tumors do; the bladder is always hot."""
    shape = (80, 64, int(rng.integers(20, 26)))
    x, y, _ = (n / 2 for n in shape)
    top = shape[2]
    size = rng.uniform(0.9, 1.05)

    def blob(dx: float, dy: float, height: float, rx: float, ry: float, rz: float, wobble: float = 0.08) -> np.ndarray:
        center = (x + dx * size + rng.normal(0, 1), y + dy * size + rng.normal(0, 1), height * top)
        return ellipsoid(shape, center, (rx * size, ry * size, rz), rng, wobble)

    body = blob(0, 0, 0.5, 30, 22, 100, 0.02)
    values = np.zeros(shape)
    values[body] = rng.uniform(0.5, 0.8)
    for side in (-1, 1):
        values[blob(13 * side, 1, 0.85, 9, 13, 6) & body] = 0.25  # lungs
        values[blob(12 * side, -10, 0.42, 4, 4, 3) & body] = rng.uniform(2.5, 4)  # kidneys
    values[blob(12, 2, 0.55, 13, 13, 3.5) & body] = rng.uniform(1.6, 2.2)  # liver
    values[blob(-6, 5, 0.75, 6, 6, 2.5) & body] = rng.uniform(2, 5)  # heart
    labels = np.zeros(shape, dtype=np.uint8)
    bladder = blob(0, 4, 0.08, rng.uniform(7, 10), rng.uniform(6, 8), 2.5) & body
    values[bladder], labels[bladder] = rng.uniform(5, 9), 1
    if rng.random() < 0.67:
        for _ in range(int(rng.integers(1, 3))):
            radius = rng.uniform(4, 7)
            side = rng.choice([-1, 1])
            place = (side * rng.uniform(10, 16), rng.uniform(-4, 8), rng.uniform(0.62, 0.92))
            tumor = blob(*place, radius, radius, 2.5, 0.15) & body & (labels == 0)
            values[tumor], labels[tumor] = rng.uniform(5, 9), 2
    values = gaussian_filter(values, (1.1, 1.1, 0.4))  # the scanner's resolution
    values *= np.clip(1 + 0.12 * rng.standard_normal(shape), 0, None)
    return PhantomVolume(values.astype(np.float32), labels, (5.0, 5.0, rng.uniform(6, 9)))
