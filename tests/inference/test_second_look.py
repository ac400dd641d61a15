"""A second look sees a part of the image larger, and finds there what was meant at the place where it was meant."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_mimo.data.prompt_maps import BOX_MAP, HAS_LOGITS_MAP, LOGITS_MAP, POSITIVE_MAP, RegionPrompts
from monai_mimo.inference.second_look import GAIN, Crop, Sought, crop_around, look_again

SIDE = 64


@given(st.integers(20, 400), st.integers(20, 400), st.data())
def test_a_crop_holds_the_box_and_shows_it_larger(height: int, width: int, data: st.DataObject) -> None:
    x0, y0 = data.draw(st.floats(0, width - 2)), data.draw(st.floats(0, height - 2))
    box = x0, y0, data.draw(st.floats(x0 + 1, width)), data.draw(st.floats(y0 + 1, height))
    crop = crop_around(box, height, width)
    longer = max(box[2] - box[0], box[3] - box[1])
    if crop is None:
        assert longer * 2 * GAIN > max(height, width) - 4 or max(height, width) * 0.12 < 8
        return
    assert crop.left <= x0
    assert crop.top <= y0
    assert crop.left + crop.side >= box[2]
    assert crop.top + crop.side >= box[3]
    assert crop.left >= 0
    assert crop.top >= 0
    assert crop.side * GAIN <= max(height, width)


class Echo:
    """Stands for a model: its features are the image, and its mask is what a map of the prompts shows, or where it is bright."""

    def __init__(self, channel: int | None) -> None:
        self.channel = channel
        self.config = type("Config", (), {"image_size": SIDE})

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def decode(self, images, index, condition, coordinates, labels, maps):
        self.maps, self.coordinates, self.labels = maps, coordinates, labels
        shown = (
            images.mean(1)[index]
            if self.channel is None
            else torch.nn.functional.interpolate(maps[:, self.channel, None], SIDE)[:, 0]
        )
        return shown - 0.5 + condition[:, :1, None], torch.full((len(index),), 0.75)


def image(height: int = 200, width: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """An image with a bright thing of 12 x 16 pixels, and its mask."""
    mask = np.zeros((height, width), dtype=bool)
    mask[150:166, 70:82] = True
    return np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255, mask


def sought(prompts: RegionPrompts, logits: torch.Tensor | None = None) -> Sought:
    return Sought(torch.zeros(1, 8), prompts, torch.zeros(SIDE // 2, SIDE // 2) if logits is None else logits)


@pytest.mark.parametrize(
    ("channel", "prompts"),
    [
        (None, RegionPrompts(points=[(76.5, 158.5, 1)])),
        (BOX_MAP, RegionPrompts(boxes=[(70, 150, 82, 166)])),
    ],
)
def test_what_is_found_lies_where_it_is(channel: int | None, prompts: RegionPrompts) -> None:
    pixels, mask = image()
    crop = crop_around((70, 150, 82, 166), *mask.shape)
    assert crop is not None
    model = Echo(channel)
    [found], [score] = look_again(model, pixels, [crop], [sought(prompts)])
    whole = np.zeros_like(mask)
    whole[crop.top : crop.top + found.shape[0], crop.left : crop.left + found.shape[1]] = found > (
        0.1 if channel is not None else 0
    )
    assert score == 0.75
    if channel is None:
        np.testing.assert_array_equal(whole, mask)
    else:  # the ellipse in the box
        assert not (whole & ~mask).any()
        assert whole.sum() / mask.sum() == pytest.approx(np.pi / 4, abs=0.12)
    assert not model.maps[:, HAS_LOGITS_MAP].any()


def test_a_click_and_a_scribble_stay_on_their_pixels() -> None:
    pixels, mask = image()
    line = np.zeros_like(mask)
    line[155, 72:80] = True
    model = Echo(None)
    crop = Crop(50, 130, 40)
    look_again(
        model,
        pixels,
        [crop] * 2,
        [sought(RegionPrompts(points=[(60.5, 140.5, 1)])), sought(RegionPrompts(scribbles=(line, None)))],
    )
    scale = SIDE / 40
    np.testing.assert_allclose(model.coordinates[0, 0], [10.5 * scale, 10.5 * scale])
    drawn = model.maps[1, POSITIVE_MAP] > 0.4
    rows, columns = np.nonzero(drawn.numpy())
    assert abs(2 * rows.mean() + 1 - 25.5 * scale) < 2
    assert abs(2 * columns.mean() + 1 - 26 * scale) < 2


def test_a_name_without_a_prompt_is_told_of_the_first_look() -> None:
    pixels, mask = image()
    logits = torch.nn.functional.interpolate(
        torch.from_numpy(np.pad(mask, ((0, 0), (0, 80))))[None, None].float(), SIDE // 2, mode="area"
    )
    model = Echo(LOGITS_MAP)
    crop = crop_around((70, 150, 82, 166), *mask.shape)
    assert crop is not None
    [found], _ = look_again(model, pixels, [crop], [sought(RegionPrompts(), logits[0, 0] * 20 - 10)])
    assert (model.maps[:, HAS_LOGITS_MAP] == 1).all()
    rows, columns = np.nonzero(found > -0.5)
    assert abs(rows.mean() + crop.top - 157.5) < 3
    assert abs(columns.mean() + crop.left - 75.5) < 3


def test_a_window_beyond_the_edge_of_a_narrow_image_gives_what_lies_in_it() -> None:
    pixels = np.zeros((200, 30, 3), np.uint8)
    [found], _ = look_again(Echo(None), pixels, [Crop(0, 20, 60)], [sought(RegionPrompts(points=[(5.0, 40.0, 1)]))])
    assert found.shape == (60, 30)


def test_of_several_conditions_the_mean_is_found() -> None:
    pixels, _ = image()
    crop = Crop(50, 130, 40)
    click = RegionPrompts(points=[(76.5, 158.5, 1)])
    alone = [Sought(torch.full((1, 8), value), click, torch.zeros(SIDE // 2, SIDE // 2)) for value in (0.1, 0.3)]
    both = Sought(torch.cat([s.conditions for s in alone]), click, torch.zeros(SIDE // 2, SIDE // 2))
    [one, other, mean], scores = look_again(Echo(None), pixels, [crop] * 3, [*alone, both])
    np.testing.assert_allclose(mean, (one + other) / 2, atol=1e-6)
    assert scores == pytest.approx([0.75] * 3)
