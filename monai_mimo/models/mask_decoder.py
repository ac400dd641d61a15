"""SAM's mask decoder, driven by the hidden state of a `<SEG>` token, for many masks of many images in one call."""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder as SamMaskDecoder
from segment_anything.modeling import TwoWayTransformer
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from .config import MaskDecoderConfig
from .image_encoder import ImageFeatures


def attend(layer: Attention, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None) -> Tensor:
    """SAM's attention layer by torch's fused kernel, with a mask of the keys (`allowed` [M, 1, 1, K], true to attend)."""
    q, k, v = (
        p(x).unflatten(-1, (layer.num_heads, -1)).transpose(1, 2)
        for p, x in ((layer.q_proj, q), (layer.k_proj, k), (layer.v_proj, v))
    )
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    return layer.out_proj(out.transpose(1, 2).flatten(2))


class MaskedTwoWayTransformer(TwoWayTransformer):
    """SAM's two-way transformer, with the same weights, that ignores padded prompt tokens: SAM itself never batches
    masks with different numbers of prompts."""

    def forward(self, image: Tensor, image_place: Tensor, tokens: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            image: [M, D, h, w], `image_place` [1, D, h, w].
            tokens: [M, K, D], `padding` [M, K], true where a token is padding.

        Returns:
            tokens [M, K, D] and image [M, h * w, D], both updated.
        """
        keys = image.flatten(2).transpose(1, 2)
        place = image_place.flatten(2).transpose(1, 2)
        allowed = ~padding[:, None, None, :]
        queries = tokens
        for layer in self.layers:
            if layer.skip_first_layer_pe:
                queries = attend(layer.self_attn, queries, queries, queries, allowed)
            else:
                q = queries + tokens
                queries = queries + attend(layer.self_attn, q, q, queries, allowed)
            queries = layer.norm1(queries)
            queries = queries + attend(layer.cross_attn_token_to_image, queries + tokens, keys + place, keys)
            queries = layer.norm2(queries)
            queries = layer.norm3(queries + layer.mlp(queries))
            update = attend(layer.cross_attn_image_to_token, keys + place, queries + tokens, queries, allowed)
            keys = layer.norm4(keys + update)
        queries = queries + attend(self.final_attn_token_to_image, queries + tokens, keys + place, keys)
        return self.norm_final_attn(queries), keys


class MaskDecoder(SamMaskDecoder):
    """SAM's decoder with two changes: its sparse prompt starts with the projected `<SEG>` state, and where it upscales,
    finer encoder maps are added as SAM 2 does. Everything else, names of weights included, is SAM's.

    Args:
        config: sizes; D = `config.width`.
        text_width: channels H of the LLM.
    """

    def __init__(self, config: MaskDecoderConfig, text_width: int) -> None:
        transformer = MaskedTwoWayTransformer(config.layers, config.width, config.heads, config.mlp_width)
        super().__init__(
            transformer_dim=config.width,
            transformer=transformer,
            num_multimask_outputs=config.multimask_outputs,
            iou_head_hidden_dim=config.width,
        )
        self.text_projection = nn.Sequential(
            nn.Linear(text_width, text_width),
            nn.GELU(),
            nn.Linear(text_width, config.width),
            nn.LayerNorm(config.width),
        )
        self.no_mask_embed = nn.Embedding(1, config.width)  # of SAM's prompt encoder: "no mask was given"

    def forward(  # type: ignore[override]
        self, features: ImageFeatures, image_place: Tensor, states: Tensor, prompts: Tensor, prompt_padding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode M masks.

        Args:
            features: of the M masks' images; `image_place` [1, D, h, w].
            states: [M, H], the LLM's hidden states at `<SEG>`.
            prompts: [M, P, D], the user's encoded prompts, and `prompt_padding` [M, P].

        Returns:
            mask logits [M, 4h, 4w] and the predicted IoU of each mask [M].
        """
        count = len(states)
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(count, -1, -1)
        tokens = torch.cat([output_tokens, self.text_projection(states)[:, None], prompts], dim=1)
        always = prompt_padding.new_zeros(count, tokens.shape[1] - prompts.shape[1])
        image = features.tokens + self.no_mask_embed.weight[:, :, None, None]
        tokens, image_tokens = self.transformer(image, image_place, tokens, torch.cat([always, prompt_padding], dim=1))

        up1, norm, activation1, up2, activation2 = self.output_upscaling
        x = image_tokens.transpose(1, 2).unflatten(2, features.tokens.shape[2:])
        x = activation1(norm(up1(x) + features.high_resolution[0]))
        x = activation2(up2(x) + features.high_resolution[1])
        weights = self.output_hypernetworks_mlps[0](tokens[:, 1])  # SAM's single-mask output
        logits = torch.einsum("mc,mchw->mhw", weights, x)
        return logits, self.iou_prediction_head(tokens[:, 0])[:, 0]
