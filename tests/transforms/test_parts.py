"""Windows, choice of slices, prompts and augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_mimo.transforms import (
    PromptTarget,
    RandMove,
    WindowByModalityd,
    sample_box,
    sample_point,
    select_slices,
    window,
)


def test_ct_window_is_the_soft_tissue_one() -> None:
    values = np.array([-2000, -160, 40, 240, 3000], dtype=np.int16).reshape(1, 1, 5)
    assert window(values, "CT").ravel().tolist() == [0, 0, 128, 255, 255]


def test_other_values_are_scaled_between_percentiles() -> None:
    values = np.linspace(0, 1000, 10_001, dtype=np.float32).reshape(1, 73, 137)
    shown = window(values, "MR")
    low, high = np.percentile(values[values > 0], (0.5, 99.5))
    expected = np.clip((values - low) / (high - low), 0, 1) * 255
    np.testing.assert_allclose(shown, expected, atol=0.51)


def test_pictures_and_constants() -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    np.testing.assert_array_equal(window(picture, "X-ray"), picture)
    assert window(np.full((1, 3, 3), 5.0), None).max() == 0


def test_dictionary_version() -> None:
    values = np.array([[[0, 40]]], dtype=np.int16)
    out = WindowByModalityd("image")({"image": values, "modality": "CT"})
    np.testing.assert_array_equal(out["image"], window(values, "CT"))


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60), st.integers(1, 9))
def test_slices_hold_enough_and_are_sorted(areas: list[int], count: int) -> None:
    picked = select_slices(np.array(areas), count)
    assert 1 <= len(picked) <= count
    assert picked == sorted(set(picked))
    if max(areas) > 0:
        assert all(4 * areas[k] >= max(areas) for k in picked)


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


def test_move_takes_masks_along() -> None:
    """Image and mask are the same blob, so wherever it goes they must stay the same."""
    move = RandMove(prob=1.0)
    move.set_random_state(3)
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[:, 20:44, 18:40] = True
    image = mask.float().expand(3, -1, -1)
    shifts = []
    for _ in range(10):
        moved, moved_masks = move(image, mask)
        assert ((moved[0] >= 0.5) == moved_masks[0]).all()
        shifts.append(not torch.equal(moved_masks, mask))
    assert any(shifts)


def test_move_never_pushes_a_mask_out() -> None:
    move = RandMove(prob=1.0, shift=0.6)
    move.set_random_state(0)
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[:, :12, :12] = True
    for _ in range(20):
        _, moved = move(torch.zeros(3, 64, 64), mask)
        assert moved.sum() > 0.4 * mask.sum()


def test_bent_and_mirrored_images_keep_their_masks() -> None:
    move = RandMove(prob=1.0, bend=0.03)
    move.set_random_state(1)
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[:, 10:50, 30:44] = True
    for _ in range(10):
        moved, moved_masks = move(mask.float().expand(3, -1, -1), mask, (True, True))
        assert ((moved[0] >= 0.5) == moved_masks[0]).all()


def test_mirroring_reaches_all_eight_and_only_what_is_allowed() -> None:
    move = RandMove(prob=0.0)
    move.set_random_state(0)
    image = torch.arange(9.0).view(1, 3, 3).expand(3, -1, -1)
    none = torch.zeros(0, 3, 3, dtype=torch.bool)
    seen = {tuple(move(image, none, (True, True))[0][0].flatten().tolist()) for _ in range(200)}
    assert len(seen) == 8
    seen = {tuple(move(image, none, (True, False))[0][0].flatten().tolist()) for _ in range(50)}
    assert seen == {tuple(image[0].flatten().tolist()), tuple(image[0].flip(1).flatten().tolist())}


@pytest.mark.parametrize("prob", [0.0])
def test_move_can_be_off(prob: float) -> None:
    image, mask = torch.rand(3, 8, 8), torch.ones(1, 8, 8, dtype=torch.bool)
    moved, masks = RandMove(prob=prob)(image, mask)
    assert torch.equal(moved, image)
    assert torch.equal(masks, mask)
