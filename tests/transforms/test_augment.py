"""Moving an image with its masks."""

from __future__ import annotations

import pytest
import torch

from monai_mimo.transforms import (
    RandMove,
)


def test_move_takes_masks_along() -> None:
    """Image and mask are the same blob, so wherever it goes they must stay the same."""
    move = RandMove(prob=1.0)
    move.set_random_state(3)
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[:, 20:44, 18:40] = True
    image = mask.float().expand(3, -1, -1)
    shifts = []
    for _ in range(10):
        moved, moved_masks = move(image, mask)
        assert ((moved[0] >= 0.5) == moved_masks[0]).all()
        shifts.append(not torch.equal(moved_masks, mask))
    assert any(shifts)


def test_move_never_pushes_a_mask_out() -> None:
    move = RandMove(prob=1.0, shift=0.6)
    move.set_random_state(0)
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[:, :12, :12] = True
    for _ in range(20):
        _, moved = move(torch.zeros(3, 64, 64), mask)
        assert moved.sum() > 0.4 * mask.sum()


def test_bent_and_mirrored_images_keep_their_masks() -> None:
    move = RandMove(prob=1.0, bend=0.03)
    move.set_random_state(1)
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[:, 10:50, 30:44] = True
    for _ in range(10):
        moved, moved_masks = move(mask.float().expand(3, -1, -1), mask, (True, True))
        assert ((moved[0] >= 0.5) == moved_masks[0]).all()


def test_mirroring_reaches_all_eight_and_only_what_is_allowed() -> None:
    move = RandMove(prob=0.0)
    move.set_random_state(0)
    image = torch.arange(9.0).view(1, 3, 3).expand(3, -1, -1)
    none = torch.zeros(0, 3, 3, dtype=torch.bool)
    seen = {tuple(move(image, none, (True, True))[0][0].flatten().tolist()) for _ in range(200)}
    assert len(seen) == 8
    seen = {tuple(move(image, none, (True, False))[0][0].flatten().tolist()) for _ in range(50)}
    assert seen == {tuple(image[0].flatten().tolist()), tuple(image[0].flip(1).flatten().tolist())}


@pytest.mark.parametrize("prob", [0.0])
def test_move_can_be_off(prob: float) -> None:
    image, mask = torch.rand(3, 8, 8), torch.ones(1, 8, 8, dtype=torch.bool)
    moved, masks = RandMove(prob=prob)(image, mask)
    assert torch.equal(moved, image)
    assert torch.equal(masks, mask)
