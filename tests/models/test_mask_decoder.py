"""The decoder gives what SAM's own modules give with the same weights; only the order of the sums differs."""

from __future__ import annotations

import pytest
import torch
from segment_anything.modeling import TwoWayTransformer

from monai_mimo.models.config import MaskDecoderConfig
from monai_mimo.models.mask_decoder import MaskDecoder, MaskedTwoWayTransformer

H, W, D = 8, 6, 32


@pytest.mark.parametrize("padded", [0, 2])
def test_transformer_is_sams(padded: int) -> None:
    """Padded tokens change nothing for the others."""
    transformer = MaskedTwoWayTransformer(2, D, 2, 64)
    image, place, tokens = torch.randn(3, D, H, W), torch.randn(3, D, H, W), torch.randn(3, 5, D)
    expected = TwoWayTransformer.forward(transformer, image, place, tokens)
    padding = torch.tensor([[False] * 5 + [True] * padded] * 3)
    got_tokens, got_image = transformer(image, place, torch.cat([tokens, torch.randn(3, padded, D)], 1), padding)
    torch.testing.assert_close(got_tokens[:, :5], expected[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(got_image, expected[1], atol=1e-5, rtol=1e-4)


def test_upscaling_is_sams_with_finer_maps_added() -> None:
    """Two images, three masks, through SAM's own transposed convolutions one after the other."""
    decoder = MaskDecoder(MaskDecoderConfig(D, 2, 2, 64), 24).eval()
    image, place = torch.randn(3, D, H, W), torch.randn(1, D, H, W)
    fine, finer = torch.randn(2, D // 4, 2 * H, 2 * W), torch.randn(2, D // 8, 4 * H, 4 * W)
    index, states, prompts = torch.tensor([1, 0, 1]), torch.randn(3, 24), torch.randn(3, 2, D)
    padding = torch.zeros(3, 2, dtype=torch.bool)
    logits, scores = decoder(image, place, (fine, finer), index, decoder.text_projection(states), prompts, padding)

    output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(3, -1, -1)
    tokens = torch.cat([output_tokens, decoder.text_projection(states)[:, None], prompts], dim=1)
    with_no_mask = image + decoder.no_mask_embed.weight[:, :, None, None]
    tokens, x = TwoWayTransformer.forward(decoder.transformer, with_no_mask, place.expand(3, -1, -1, -1), tokens)
    up1, norm, activation1, up2, activation2 = decoder.output_upscaling
    x = activation1(norm(up1(x.transpose(1, 2).view(3, D, H, W)) + fine[index]))
    x = activation2(up2(x) + finer[index])
    expected = torch.einsum("mc,mchw->mhw", decoder.output_hypernetworks_mlps[0](tokens[:, 1]), x)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores, decoder.iou_prediction_head(tokens[:, 0])[:, 0], atol=1e-5, rtol=1e-4)
