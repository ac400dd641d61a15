"""What is drawn to train on regions is true of the image, and known from the number of the step alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monai_mimo.data.prompt_maps import prompt_tokens
from monai_mimo.data.region_images import STORED, RegionImage, region_images
from monai_mimo.data.regions import REGION_KINDS, RegionDataset, rough_logits, swap_sides
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.transforms.prompts import tight_box

from ..engines.small_set import NAMES, write_set
from .test_prompt_maps import blob

SIDE = 64


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = write_set(tmp_path_factory.mktemp("set"))
    return load_mimoseg(folder, "train")


def dataset(rows, **options) -> RegionDataset:
    return RegionDataset(region_images(rows), NAMES, SIDE, images_per_batch=3, targets_per_image=5, **options)


def test_images_hold_what_their_questions_tell(rows) -> None:
    images = region_images(rows)
    assert len(images) == len(set(rows["image_id"]))
    for image in images:
        assert max(image.inner) == STORED
        assert not set(image.names) & set(image.absent)
        for number in range(len(image.names)):
            mask = image.mask(number)
            inside = image.pixels.reshape(STORED, STORED, -1).max(-1)
            assert inside[mask].mean() > inside[: image.inner[0], : image.inner[1]].mean()  # squares on dark images


def test_a_step_is_known_from_its_number(rows) -> None:
    one, other = dataset(rows, seed=3), dataset(rows, seed=3)
    other[7]  # whatever was drawn before
    for key, value in vars(one[4]).items():
        assert torch.equal(value, getattr(other[4], key)), key
    assert not torch.equal(one[5].images, one[4].images)


@pytest.mark.parametrize("kind", REGION_KINDS)
def test_each_kind_of_target_is_what_it_says(rows, kind: str) -> None:
    drawn = dataset(rows, kinds={kind: 1.0})
    region = drawn.ids["region"]
    for step in range(6):
        batch = drawn[step]
        empty = ~batch.masks.flatten(1).any(1)
        prompted = (batch.labels >= 0).any(1)
        unnamed = batch.asked == region
        if kind == "absent":
            known = empty  # an image of which nothing is absent is asked for regions instead
            assert not prompted[known].any()
            assert not unnamed[known].any()
        else:
            assert not empty.any()
        if kind == "named":
            here = ~unnamed
            assert here.any()
            assert not prompted[here].any()
            assert torch.equal(batch.asked[here], batch.called[here])
        if kind == "named with prompt":
            assert prompted.all()
        if kind in ("pointed", "region"):
            assert unnamed.all()
            assert prompted.all()


def test_masks_move_with_their_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that is bright where a structure is stays so, however it is turned, bent and zoomed."""
    monkeypatch.setattr("monai_mimo.data.regions.change_intensity", lambda image, _: image.expand(3, -1, -1))
    images = []
    for seed in range(4):
        mask = np.kron(blob(seed), np.ones((4, 4), dtype=bool))
        pixels = (mask * 255).astype(np.uint8)
        images.append(RegionImage(pixels, (STORED, STORED), "s", "CT", ["liver"], [np.packbits(mask)], ()))
    drawn = RegionDataset(images, NAMES, SIDE, images_per_batch=4, targets_per_image=1, kinds={"named": 1.0})
    for step in range(10):
        batch = drawn[step]
        named = batch.asked == drawn.ids["liver"]
        assert named.any()
        shown = batch.images[batch.image_index][named].mean(1) >= 0.5
        assert (shown == batch.masks[named]).float().mean() > 0.99


def test_sides_change_places_in_a_mirror() -> None:
    known = dict.fromkeys(["left kidney", "right kidney", "left ventricle", "right ventricle", "left lung"], 0)
    assert swap_sides("left kidney", known) == "right kidney"
    assert swap_sides("left ventricle", known) == "left ventricle"  # a chamber is told by its form
    assert swap_sides("left lung", known) == "left lung"  # there is no name for the other


def test_a_rough_look_is_near_the_mask() -> None:
    for seed in range(10):
        mask = blob(seed)
        found = rough_logits(mask, np.random.default_rng(seed)) > 0
        x0, y0, x1, y1 = tight_box(mask)
        wide = np.zeros_like(mask)
        wide[max(y0 - 16, 0) : y1 + 16, max(x0 - 16, 0) : x1 + 16] = True
        assert not (found & ~wide).any()


def test_tokens_follow_sams_numbering() -> None:
    from monai_mimo.data.prompt_maps import RegionPrompts

    line = np.zeros((SIDE, SIDE), dtype=bool)
    line[3, 4:9] = True
    places, kinds = prompt_tokens(RegionPrompts([(1.5, 2.5, 0)], [(1, 2, 3, 4)], (line, None)))
    assert kinds.tolist() == [2, 3, 0, 1]
    assert places.tolist() == [[1, 2], [3, 4], [1.5, 2.5], [6.5, 3.5]]
