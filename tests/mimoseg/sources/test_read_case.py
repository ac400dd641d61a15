"""What the masks of a slice know of each other."""

from __future__ import annotations

import numpy as np

from monai_mimo.mimoseg.sources.read_case import SliceMasks


def square(first: int, last: int) -> np.ndarray:
    mask = np.zeros((40, 40), dtype=bool)
    mask[first:last, first:last] = True
    return mask


def test_overlaps() -> None:
    assert not SliceMasks({"a": square(0, 5), "b": square(5, 9)}).overlaps
    assert SliceMasks({"a": square(0, 5), "b": square(4, 9)}).overlaps
    many = {str(n): square(n % 30, n % 30 + 2) for n in range(512)}  # more layers than a byte can count
    assert SliceMasks(many).overlaps


def test_a_point_in_the_whole_is_not_in_its_part() -> None:
    masks = SliceMasks({"disc": square(5, 35), "cup": square(12, 28)})
    rng = np.random.default_rng(0)
    for _ in range(50):
        x, y = masks.target("disc").point(rng)
        assert masks["disc"][y, x]
        assert not masks["cup"][y, x]
        x, y = masks.target("cup").point(rng)
        assert masks["cup"][y, x]
