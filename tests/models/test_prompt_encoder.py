"""Prompts as maps and as what lies under them."""

from __future__ import annotations

import torch
from segment_anything.modeling import PromptEncoder as SamPromptEncoder

from monai_mimo.data.prompt_maps import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, PADDING, POSITIVE
from monai_mimo.models.prompt_encoder import PromptEncoder

SIDE, CELLS = 64, (8, 8)
BOX_LABELS = torch.tensor([[BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]])


def encoder() -> PromptEncoder:
    return PromptEncoder(16, SIDE)


def test_tokens_are_those_of_sam() -> None:
    """The same weights in SAM's own prompt encoder give the same tokens."""
    ours = encoder()
    sam = SamPromptEncoder(16, (8, 8), (SIDE, SIDE), 4)
    sam.pe_layer.positional_encoding_gaussian_matrix = ours.position.positional_encoding_gaussian_matrix
    for kind, embedding in enumerate(sam.point_embeddings):
        embedding.weight.data = ours.kind.weight.data[kind : kind + 1]
    boxes = torch.tensor([[[4.0, 8.0], [40.0, 50.0]]])
    expected = sam._embed_boxes(boxes.reshape(1, 4) - 0.5)  # SAM adds the half pixel itself
    torch.testing.assert_close(ours(boxes, BOX_LABELS), expected)
    points = torch.tensor([[[4.0, 8.0]]])
    for kind in (0, 1):
        expected = sam._embed_points(points - 0.5, torch.tensor([[kind]]), pad=False)
        torch.testing.assert_close(ours(points, torch.tensor([[kind]])), expected)
    assert not ours(points, torch.tensor([[PADDING]])).any()


def test_a_box_covers_its_inside() -> None:
    regions = encoder().regions(torch.tensor([[[16.0, 8.0], [48.0, 64.0]]]), BOX_LABELS, CELLS)
    expected = torch.zeros(8, 8)
    expected[1:8, 2:6] = 1
    assert ((regions[0, 0] > 0.5) == (expected > 0.5)).all()
    torch.testing.assert_close(regions[0, 0], regions[0, 1])


def test_a_point_covers_its_cell_most() -> None:
    labels = torch.tensor([[POSITIVE, PADDING]])
    regions = encoder().regions(torch.tensor([[[20.0, 44.0], [0.0, 0.0]]]), labels, CELLS)
    assert divmod(int(regions[0, 0].argmax()), 8) == (5, 2)
    assert not regions[0, 1].any()


def test_look_sees_what_lies_under_the_prompt() -> None:
    prompts = encoder()
    prompts.seen = torch.nn.Identity()
    features = torch.zeros(1, 16, *CELLS)
    features[0, 3, :4] = 1  # the upper half
    features[0, 5, 4:] = 1
    for y, channel in ((4.0, 3), (60.0, 5)):
        seen = prompts.pool_features(torch.tensor([[[30.0, y]]]), torch.tensor([[POSITIVE]]), [features])
        assert seen[0, 0, channel] > 0.99
    seen = prompts.pool_features(torch.tensor([[[0.0, 0.0], [64.0, 48.0]]]), BOX_LABELS, [features])
    torch.testing.assert_close(seen[0, :, 3], torch.full((2,), 4 / 6), atol=0.02, rtol=0)
