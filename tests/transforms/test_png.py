"""PNG files written by `encode_png`, read by PIL."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from monai_mimo.transforms.pictures import encode_png

sides = st.integers(1, 40)


@given(st.one_of(arrays(np.uint8, st.tuples(sides, sides)), arrays(np.uint8, st.tuples(sides, sides, st.just(3)))))
def test_pil_reads_what_was_written(pixels: np.ndarray) -> None:
    image = Image.open(io.BytesIO(encode_png(pixels)))
    assert image.mode == ("L" if pixels.ndim == 2 else "RGB")
    np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("view", [np.s_[::-1, ::2], np.s_[:, ::-1]])
def test_views_and_fortran_order(rng: np.random.Generator, view: tuple) -> None:
    pixels = np.asfortranarray(rng.integers(0, 256, (30, 50), dtype=np.uint8))[view]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(pixels)))), pixels)


def test_files_are_no_larger_than_pils(rng: np.random.Generator) -> None:
    smooth = (
        (np.add.outer(np.arange(200), np.arange(150)) / 2 + rng.normal(0, 2, (200, 150))).clip(0, 255).astype(np.uint8)
    )
    buffer = io.BytesIO()
    Image.fromarray(smooth).save(buffer, "PNG", compress_level=1)
    assert len(encode_png(smooth)) < 1.15 * len(buffer.getvalue())
