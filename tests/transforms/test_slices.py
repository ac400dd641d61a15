"""The choice of slices of a volume."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monai_mimo.transforms import (
    select_slices,
)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60), st.integers(1, 9))
def test_slices_hold_enough_and_are_sorted(areas: list[int], count: int) -> None:
    picked = select_slices(np.array(areas), count)
    assert 1 <= len(picked) <= count
    assert picked == sorted(set(picked))
    if max(areas) > 0:
        assert all(4 * areas[k] >= max(areas) for k in picked)
