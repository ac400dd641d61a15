"""The small picture with several structures: each named, apart from the others, and to be told from them by a prompt."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.ndimage import label

from monai_mimo.phantom import draw_chest
from monai_mimo.transforms.prompts import PromptTarget

SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_three_structures_that_share_no_pixel(seed: int) -> None:
    image, masks = draw_chest(seed)
    assert (image.shape, image.dtype) == ((128, 128), np.uint8)
    assert list(masks) == ["lung", "heart", "clavicle"]
    for mask in masks.values():
        assert (mask.shape, mask.dtype) == (image.shape, bool)
        assert 300 < mask.sum() < 0.4 * mask.size
    assert not any((a & b).any() for a, b in combinations(masks.values(), 2))
    assert {name: label(mask)[1] for name, mask in masks.items() if name != "lung"} == {"heart": 1, "clavicle": 2}


def test_the_same_seed_gives_the_same_picture() -> None:
    (one, masks), (again, masks_again), (other, _) = draw_chest(3), draw_chest(3), draw_chest(4)
    np.testing.assert_array_equal(one, again)
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask, masks_again[name])
    assert (one != other).mean() > 0.2
    np.testing.assert_array_equal(draw_chest()[0], draw_chest(0)[0])


@pytest.mark.parametrize("seed", SEEDS)
def test_it_looks_like_a_radiograph(seed: int) -> None:
    """Lungs are dark, heart and bone bright; the lungs lie on both sides, the heart more at the right of the image."""
    image, masks = draw_chest(seed)
    shade = {name: image[mask].mean() for name, mask in masks.items()}
    assert shade["lung"] + 40 < shade["clavicle"]
    assert shade["lung"] + 60 < shade["heart"]
    columns = {name: np.nonzero(mask)[1] for name, mask in masks.items()}
    assert 0.4 < (columns["lung"] < 64).mean() < 0.65
    assert columns["heart"].mean() > 66


@pytest.mark.parametrize("seed", SEEDS)
def test_a_prompt_on_one_is_none_on_another(seed: int) -> None:
    """No mask would do for two of them: a box has an IoU of at most a half with another's mask, and a click lies on one."""
    _, masks = draw_chest(seed)
    rng = np.random.default_rng(seed)
    for one, other in permutations(masks.values(), 2):
        x, y = PromptTarget(one).point(rng)
        assert one[y, x]
        assert not other[y, x]
        x0, y0, x1, y1 = PromptTarget(one).box
        inside = np.zeros_like(one)
        inside[y0:y1, x0:x1] = True
        assert (inside & other).sum() / (inside | other).sum() < 0.5
