"""Points and boxes as a person would give them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_mimo.transforms import (
    PromptTarget,
    sample_box,
    sample_point,
)


@given(st.integers(0, 1000))
def test_points_and_boxes_stay_in_the_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((20, 30), dtype=bool)
    y, x = rng.integers(0, 15), rng.integers(0, 25)
    mask[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = True
    px, py = sample_point(mask, rng)
    assert mask[py, px]
    x0, y0, x1, y1 = sample_box(mask, rng)
    assert 0 <= x0 < x1 <= 30
    assert 0 <= y0 < y1 <= 20


def test_points_prefer_the_middle() -> None:
    mask = np.ones((21, 21), dtype=bool)
    rng = np.random.default_rng(0)
    points = np.array([sample_point(mask, rng) for _ in range(400)])
    distance = np.abs(points - 10).max(axis=1)
    assert distance.mean() < 5  # of a uniform draw it would be 7
    assert sample_point(mask, rng, avoid=mask) is not None  # nothing else to hit


@given(st.integers(0, 1000))
def test_points_of_large_masks_are_inside_too(seed: int) -> None:
    """Large masks are looked at on a coarser grid, which a thin one may miss."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((300, 260), dtype=bool)
    if seed % 2:
        mask[np.arange(1, 200), np.arange(1, 200) + rng.integers(0, 2)] = True
    else:
        mask[20:280, 30:220] = rng.random((260, 190)) < 0.5
    avoid = np.zeros_like(mask)
    avoid[: rng.integers(0, 200)] = True
    target = PromptTarget(mask, avoid)
    for _ in range(5):
        x, y = target.point(rng)
        assert mask[y, x]
        assert not avoid[y, x]
    rows, columns = np.nonzero(mask)
    assert target.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_points_of_a_large_disc_are_drawn_by_distance_squared() -> None:
    """For weights (R - r)^2 on a disc the mean of r is 2 R / 5."""
    y, x = np.mgrid[-150:151, -150:151]
    target, rng = PromptTarget(np.hypot(x, y) < 150), np.random.default_rng(0)
    radii = [np.hypot(px - 150, py - 150) for px, py in (target.point(rng) for _ in range(2000))]
    assert np.mean(radii) == pytest.approx(60, rel=0.05)
