"""Masks that are kept and saved: nothing is lost, whatever overlaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from MIMOLib.errors import MimoError
from MIMOLib.masks import OVERLAP, Mask, Segment, label_map, unique

from monai_mimo.mimoseg.sources.labelled import OVERLAP as OF_THE_SERVER

GREY = (0.5, 0.5, 0.5)


@given(st.tuples(*[st.integers(1, 7)] * 3), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=50, deadline=None)
def test_a_mask_comes_back_as_it_was(shape: tuple[int, int, int], seed: int, transposed: bool) -> None:
    voxels = np.random.default_rng(seed).random(shape) < 0.5
    if transposed:  # as arrays of 3D Slicer are, once their axes are turned
        voxels = np.ascontiguousarray(voxels.T).T
    mask = Mask.of(voxels)
    np.testing.assert_array_equal(mask.voxels(), voxels)
    assert mask.count == voxels.sum()
    assert mask == Mask.of(np.ascontiguousarray(voxels))
    np.testing.assert_array_equal((mask | Mask.of(~voxels)).voxels(), np.ones(shape, bool))


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_every_segment_gets_all_its_voxels_back(count: int, seed: int) -> None:
    """Read as the server reads it: a value belongs to each name that its name joins."""
    rng = np.random.default_rng(seed)
    masks = {f"part {n}": rng.random((4, 5, 3)) < rng.uniform(0.1, 0.9) for n in range(count)}
    masks = {name: mask for name, mask in masks.items() if mask.any()}
    if not masks:
        return
    labels, values, colors = label_map([Segment(name, GREY, Mask.of(mask)) for name, mask in masks.items()])
    assert labels.dtype in (np.uint8, np.uint16)
    assert set(np.unique(labels)) - {0} <= set(values.values())
    for name, mask in masks.items():
        of_name = [value for text, value in values.items() if name in text.split(OVERLAP)]
        np.testing.assert_array_equal(np.isin(labels, of_name), mask)
    assert sorted(colors) == list(range(1, len(masks) + 1))
    assert colors[1] == [128, 128, 128]


def test_overlaps_are_written_as_the_server_reads_them() -> None:
    assert OVERLAP == OF_THE_SERVER


def test_empty_segments_are_left_out() -> None:
    full, empty = Mask.of(np.ones((2, 2, 2), bool)), Mask.of(np.zeros((2, 2, 2), bool))
    labels, values, _ = label_map([Segment("a", GREY, empty), Segment("b", GREY, full)])
    assert values == {"b": 1}
    assert (labels == 1).all()
    with pytest.raises(MimoError, match="nothing to save"):
        label_map([Segment("a", GREY, empty)])


def test_two_of_one_name_are_refused() -> None:
    full = Mask.of(np.ones((2, 2, 2), bool))
    with pytest.raises(MimoError, match="the same name"):
        label_map([Segment("a", GREY, full), Segment("a", GREY, full)])


def test_more_segments_than_a_byte_counts() -> None:
    masks = [np.zeros((300, 1, 1), bool) for _ in range(300)]
    for n, mask in enumerate(masks):
        mask[n] = True
    labels, values, _ = label_map([Segment(f"s{n}", GREY, Mask.of(mask)) for n, mask in enumerate(masks)])
    assert labels.dtype == np.uint16
    assert [labels[n, 0, 0] for n in range(300)] == list(values.values()) == list(range(1, 301))


def test_names_that_are_taken_get_a_number() -> None:
    assert unique("liver", []) == "liver"
    assert unique("liver", ["liver", "liver 2"]) == "liver 3"
