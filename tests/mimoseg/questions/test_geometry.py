"""What masks tell, against closed forms and brute force over pixels."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from monai_mimo.mimoseg.questions import geometry as measures


def disc(size: tuple[int, int], y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def discs(*places: tuple[float, float, float], size: tuple[int, int] = (100, 120)) -> np.ndarray:
    return np.logical_or.reduce([disc(size, *place) for place in places])


def box(y0: int, x0: int, y1: int, x1: int, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "count"),
    [
        (discs((50, 60, 20)), 1),
        (discs((20, 20, 8), (20, 60, 9), (70, 90, 10)), 3),
        (discs((20, 20, 15), (80, 90, 1)), 1),  # a speck
        (discs((20, 20, 15), (80, 90, 4)), None),  # a speck or a part, of 7 % of the other
        (discs((50, 40, 10), (50, 58, 10)), None),  # they touch, with a waist: one or two
        (discs((50, 40, 10), (50, 61.4, 10)), None),  # a pixel lies between them
        (discs((50, 40, 10), (50, 66, 10)), 2),
        (discs((20, 20, 1.5)), None),  # nine pixels are too few to tell
        (discs((0, 0, 12), (99, 119, 12)), 2),  # at the image's edge
    ],
)
def test_parts_are_counted_where_they_are_clear(mask: np.ndarray, count: int | None) -> None:
    assert measures.count_parts(mask) == count


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(5, 7)), min_size=1, max_size=12), st.data())
def test_a_count_is_that_of_the_connected_parts(places: list[tuple[int, int, int]], data: st.DataObject) -> None:
    """Discs in the cells of a grid, which are apart, and specks between: as many as scipy finds parts of 16 pixels."""
    mask = np.zeros((120, 160), dtype=bool)
    for row, column, radius in places:
        mask |= disc(mask.shape, 20 * row + 10, 20 * column + 10, radius)
    for _ in range(data.draw(st.integers(0, 3))):
        row, column = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 7))
        mask[20 * row, 20 * column] = True
    parts, _ = label(mask, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    assert measures.count_parts(mask) == (sizes >= 16).sum() == len({place[:2] for place in places})


@settings(max_examples=60, deadline=None)
@given(st.integers(5, 30), st.integers(5, 30), st.integers(0, 10_000), st.floats(0.02, 0.98))
def test_sides_are_those_of_pixels(height: int, width: int, seed: int, chance: float) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < chance * (np.arange(width) < rng.integers(1, width + 1))
    mask[rng.integers(height), rng.integers(width)] = True
    centers = np.argwhere(mask) + 0.5
    parts = {
        "upper": (centers[:, 0] < height / 2).mean(),
        "lower": (centers[:, 0] > height / 2).mean(),
        "left": (centers[:, 1] < width / 2).mean(),
        "right": (centers[:, 1] > width / 2).mean(),
    }
    if not any(abs(part - measures.ON_SIDE) < 1e-9 for part in parts.values()):
        expected = {name for name, part in parts.items() if part > measures.ON_SIDE}
        assert {measures.image_half(mask, 0), measures.image_half(mask, 1)} - {None} == expected


def test_quarters() -> None:
    for y, rows in (("upper", (2, 18)), ("lower", (22, 38))):
        for x, columns in (("left", (3, 28)), ("right", (32, 59))):
            assert measures.quarter(box(rows[0], columns[0], rows[1], columns[1])) == f"{y} {x}"
    assert measures.quarter(box(2, 10, 18, 50)) is None  # straddles
    assert measures.image_half(box(2, 10, 18, 50), 0) == "upper"
    # nearly all above the middle, and nearly all left of it, but 8 % outside of the quarter
    reaching = box(0, 0, 20, 30)
    reaching[20:24, :6] = reaching[:4, 30:36] = True
    assert (measures.image_half(reaching, 0), measures.image_half(reaching, 1)) == ("upper", "left")
    assert measures.quarter(reaching) is None


@pytest.mark.parametrize(("other", "expected"), [(80, True), (81, None), (100, None), (124, None), (125, False)])
def test_only_clear_differences_are_compared(other: int, expected: bool | None) -> None:
    one, two = np.zeros(400, dtype=bool), np.zeros(400, dtype=bool)
    one[:100], two[:other] = True, True
    assert measures.is_larger(one.reshape(20, 20), two.reshape(20, 20)) is expected


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)))
def test_the_longest_diameter_is_the_longest_of_all(seed: int, spacing: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    mask = disc((16, 18), *rng.uniform(4, 12, 2), rng.uniform(1, 5)) | disc((16, 18), 8, 9, 1)
    parts, count = label(mask, np.ones((3, 3)))
    if count > 1:
        assert measures.longest_diameter(mask, spacing) is None
        mask = parts == 1
    corners = {(y + dy, x + dx) for y, x in np.argwhere(mask) for dy in (0, 1) for dx in (0, 1)}
    longest = max(np.hypot((a[0] - b[0]) * spacing[0], (a[1] - b[1]) * spacing[1]) for a, b in combinations(corners, 2))
    assert measures.longest_diameter(mask, spacing) == pytest.approx(longest)


def test_sizes_in_closed_form() -> None:
    mask = box(4, 6, 24, 36)  # 20 x 30 pixels
    assert measures.area(mask, (0.5, 2.0)) == pytest.approx(10 * 60)
    assert measures.percent(mask) == pytest.approx(100 * 600 / 2400)
    assert measures.longest_diameter(mask, (0.5, 2.0)) == pytest.approx(np.hypot(10, 60))
    circle = disc((401, 401), 200, 200, 150)
    assert measures.longest_diameter(circle, (0.1, 0.1)) == pytest.approx(30.1, abs=0.1)
    assert measures.area(circle, (0.1, 0.1)) == pytest.approx(np.pi * 15**2, rel=2e-3)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0512, "0.051"), (0.4, "0.4"), (4.32, "4.3"), (9.97, "10"), (43.21, "43"), (436, "440"), (12345, "12000")],
)
def test_two_digits(value: float, said: str) -> None:
    assert measures.two_digits(value) == said
    assert float(said) == pytest.approx(value, rel=0.05)
