"""Prompts land on the pixels that they mean, simulated ones lie where a person's would, and a correction hits what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_mimo.data.prompt_maps import (
    BOX_BOTTOM_RIGHT,
    BOX_MAP,
    BOX_TOP_LEFT,
    HAS_LOGITS_MAP,
    LOGITS_MAP,
    NEGATIVE,
    NEGATIVE_MAP,
    POSITIVE,
    POSITIVE_MAP,
    RegionPrompts,
    draw_prompts,
    halved,
    question_maps,
)
from monai_mimo.data.simulated_prompts import centerline, click_inside, correct, scribble, simulate

SIDE = 64


def blob(seed: int) -> np.ndarray:
    """Some ellipses, bool [SIDE, SIDE]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    for _ in range(rng.integers(1, 4)):
        y, x, a, b = rng.uniform(8, SIDE - 8, 2).tolist() + rng.uniform(2, 12, 2).tolist()
        mask |= ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 <= 1
    mask[SIDE // 2, SIDE // 2] = True
    return mask


@given(st.floats(0.5, SIDE - 0.5), st.floats(0.5, SIDE - 0.5), st.sampled_from([POSITIVE, NEGATIVE]))
def test_a_click_is_a_spot_around_its_place(x: float, y: float, label: int) -> None:
    maps = draw_prompts(RegionPrompts(points=[(x, y, label)]), SIDE)
    channel, other = (POSITIVE_MAP, NEGATIVE_MAP) if label else (NEGATIVE_MAP, POSITIVE_MAP)
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    expected = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
    expected[(abs(columns - 0.5 - int(x)) > 8) | (abs(rows - 0.5 - int(y)) > 8)] = 0
    np.testing.assert_allclose(maps[channel], expected, atol=1e-6)
    assert not maps[[other, BOX_MAP, LOGITS_MAP, HAS_LOGITS_MAP]].any()


def test_a_box_covers_what_it_touches_and_a_line_is_not_lost() -> None:
    line = np.zeros((SIDE, SIDE), dtype=bool)
    line[10, 5:30] = True
    logits = np.full((SIDE, SIDE), 25.0)
    maps = draw_prompts(RegionPrompts(boxes=[(3.5, 4, 20.2, 8)], scribbles=(line, None), logits=logits), SIDE)
    inside = np.zeros((SIDE, SIDE), dtype=bool)
    inside[4:8, 3:21] = True
    np.testing.assert_array_equal(maps[BOX_MAP] > 0.19, inside)
    assert not maps[BOX_MAP][~inside].any()
    assert maps[POSITIVE_MAP][10, 6:29].min() > 0.9
    assert maps[POSITIVE_MAP][20:].max() == 0
    assert (maps[LOGITS_MAP] == 1).all()
    assert (maps[HAS_LOGITS_MAP] == 1).all()


@given(st.tuples(*[st.floats(2, 30)] * 2), st.tuples(*[st.floats(4, 30)] * 2))
def test_a_threshold_on_a_box_gives_the_ellipse_that_fills_it(
    corner: tuple[float, float], size: tuple[float, float]
) -> None:
    (x, y), (width, height) = corner, size
    plane = draw_prompts(RegionPrompts(boxes=[(x, y, x + width, y + height)]), SIDE)[BOX_MAP]
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    radius = ((columns - x - width / 2) / (width / 2)) ** 2 + ((rows - y - height / 2) / (height / 2)) ** 2
    clear = abs(radius - 1) > 1e-4
    np.testing.assert_array_equal((plane > 0.6)[clear], (radius < 1)[clear])


def test_half_is_the_mean_of_four() -> None:
    maps = np.random.default_rng(0).random((2, 3, 8, 6)).astype(np.float32)
    np.testing.assert_allclose(
        halved(maps), torch.nn.functional.avg_pool2d(torch.from_numpy(maps), 2).numpy(), rtol=1e-6
    )


@pytest.mark.parametrize("kind", ["box", "click", "points", "scribble", "mixed", None])
def test_simulated_prompts_tell_of_their_mask(kind: str | None) -> None:
    for seed in range(20):
        mask, rng = blob(seed), np.random.default_rng(seed)
        prompts = simulate(mask, rng, kind=kind)
        for x, y, label in prompts.points:
            assert mask[int(y), int(x)] == label
        for line, wanted in zip(prompts.scribbles, (mask, ~mask)):
            assert line is None or (line.any() and not (line & ~wanted).any())
        rows, columns = np.nonzero(mask)
        for x0, y0, x1, y1 in prompts.boxes:
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert abs(x0 - columns.min()) <= 0.1 * width + 1e-6
            assert abs(y1 - rows.max() - 1) <= 0.1 * height + 1
            assert x0 < x1
            assert y0 < y1
        assert prompts.points or prompts.boxes or prompts.scribbles[0] is not None


def test_a_scribble_and_a_click_stay_inside_of_thin_things() -> None:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[30, 3:60] = True
    rng = np.random.default_rng(0)
    for _ in range(20):
        for line in (scribble(mask, rng), centerline(mask, rng)):
            assert line.any()
            assert not (line & ~mask).any()
        x, y = click_inside(mask, rng)
        assert mask[int(y), int(x)]


def test_a_correction_clicks_into_what_is_wrong() -> None:
    masks = torch.stack([torch.from_numpy(blob(seed)) for seed in range(12)])
    logits = torch.stack([torch.from_numpy(blob(seed + 50)) for seed in range(12)]).float() * 8 - 4
    logits[3] = masks[3].float() * 8 - 4  # nothing is wrong
    before = torch.rand(12, 5, SIDE, SIDE) * 0.1
    maps, clicks, positive = correct(before, logits, masks)
    for n in range(12):
        x, y = (clicks[n] / 2).long().tolist()  # in pixels of the square, twice the grid
        changed = (maps[n, POSITIVE_MAP] != before[n, POSITIVE_MAP], maps[n, NEGATIVE_MAP] != before[n, NEGATIVE_MAP])
        if n == 3:
            assert not changed[0].any()
            assert not changed[1].any()
            continue
        assert (logits[n, y, x] > 0) != masks[n, y, x]
        assert positive[n] == masks[n, y, x]
        assert maps[n, POSITIVE_MAP if positive[n] else NEGATIVE_MAP, y, x] == 1
        assert not changed[int(positive[n])].any()  # a positive click leaves the negative map as it is
    torch.testing.assert_close(maps[:, LOGITS_MAP], logits / 10)
    assert (maps[:, HAS_LOGITS_MAP] == 1).all()


def test_each_object_of_a_question_has_maps_of_its_own() -> None:
    coordinates = np.array([[2, 3], [20, 30], [40, 41], [50, 10]], dtype=np.float32)
    labels = np.array([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT, POSITIVE, NEGATIVE])
    one = question_maps(coordinates, labels, np.array([0, 0, 0, 0]), SIDE)
    two = question_maps(coordinates, labels, np.array([0, 0, 1, 1]), SIDE)
    assert one.shape == (1, 5, SIDE // 2, SIDE // 2)
    np.testing.assert_allclose(two.max(0), one[0])
    assert two[0, BOX_MAP].any()
    assert not two[1, BOX_MAP].any()
    assert len(question_maps(coordinates[:0], labels[:0], labels[:0], SIDE)) == 0
