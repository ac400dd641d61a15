"""Run-length codes, as COCO has them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monai_mimo.mimoseg.encoding import decode_rle, encode_rle


@given(arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_rle_round_trip(mask: np.ndarray) -> None:
    rle = encode_rle(mask)
    np.testing.assert_array_equal(decode_rle(rle), mask)
    assert rle["size"] == list(mask.shape)


def test_rle_is_column_major_as_in_coco() -> None:
    """COCO's uncompressed counts of this mask are 1, 2, 3 (down the first column, then the second); its compressed
    form stores each count in base 48 from the letter "0" on."""
    mask = np.array([[0, 0], [1, 0], [1, 0]], dtype=bool)
    assert encode_rle(mask)["counts"] == "123"
