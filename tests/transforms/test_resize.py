"""The mapping to the model's square and back, on images whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.utils.transforms import ResizeLongestSide

from monai_mimo.transforms.resize import SquareResize


@pytest.mark.parametrize(("height", "width"), [(64, 64), (100, 40), (40, 100), (33, 257), (1, 5)])
def test_inner_size_and_scale_are_those_of_sam(height: int, width: int) -> None:
    resize, sam = SquareResize(height, width, 64), ResizeLongestSide(64)
    inner = sam.get_preprocess_shape(height, width, 64)
    assert resize.inner == pytest.approx(inner, abs=1)  # SAM rounds halves up, Python to even
    if resize.inner == inner:
        boxes = np.array([[1, 2, 30, 20]], dtype=float)
        np.testing.assert_allclose(
            resize.boxes(boxes).reshape(1, 4), sam.apply_boxes(boxes, (height, width)), rtol=1e-5
        )


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 150), st.integers(8, 150), st.data())
def test_a_click_on_a_bright_square_lands_on_it(height: int, width: int, data: st.DataObject) -> None:
    """Paint a block, click in it: at the mapped coordinates the resized image is bright."""
    side = max(3, max(height, width) // 8)
    side = min(side, height, width)
    x = data.draw(st.integers(0, width - side))
    y = data.draw(st.integers(0, height - side))
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[y : y + side, x : x + side] = 255
    resize = SquareResize(height, width, 64)
    image = resize.image(pixels)
    assert image.shape == (3, 64, 64)
    [(cx, cy)] = resize.points(np.array([(x + side // 2, y + side // 2)]))
    assert image[0, int(cy), int(cx)] > 0.5


@settings(max_examples=60, deadline=None)
@given(st.integers(16, 150), st.integers(16, 150), st.data())
def test_masks_come_back_to_their_pixels(height: int, width: int, data: st.DataObject) -> None:
    """A rectangle through the square and back overlaps itself, to within a pixel of the coarser grid at each edge."""
    x0, x1 = sorted((data.draw(st.integers(0, width - 8)), data.draw(st.integers(0, width - 8))))
    y0, y1 = sorted((data.draw(st.integers(0, height - 8)), data.draw(st.integers(0, height - 8))))
    mask = np.zeros((1, height, width), dtype=bool)
    mask[0, y0 : y1 + 8, x0 : x1 + 8] = True
    resize = SquareResize(height, width, 128)
    square = resize.masks(mask)
    back = resize.logits_to_image(square.float() * 2 - 1) > 0
    assert back.shape == (1, height, width)
    edge = int(np.ceil(max(height, width) / 128)) + 1
    wrong = np.argwhere(back.numpy()[0] != mask[0])
    for row, column in wrong:
        near_row = min(abs(row - y0), abs(row - y1 - 8), abs(row - y0 + 1), abs(row - y1 - 7)) <= edge
        near_column = min(abs(column - x0), abs(column - x1 - 8), abs(column - x0 + 1), abs(column - x1 - 7)) <= edge
        assert near_row or near_column


def test_padding_is_right_and_below() -> None:
    image = SquareResize(10, 40, 64).image(np.full((10, 40, 3), 255, dtype=np.uint8))
    assert torch.all(image[:, :16] == 1)
    assert torch.all(image[:, 16:] == 0)
