"""SAM's mask decoder, driven by the hidden state of a `<SEG>` token, for many masks of many images in one call."""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder as SamMaskDecoder
from segment_anything.modeling import TwoWayTransformer
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.prompt_maps import CHANNELS
from .config import MaskDecoderConfig


def attend(layer: Attention, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
    """SAM's attention layer by torch's fused kernel, with a mask of the keys (`allowed` [M, 1, 1, K], true to attend)."""
    q, k, v = (
        p(x).unflatten(-1, (layer.num_heads, -1)).transpose(1, 2)
        for p, x in ((layer.q_proj, q), (layer.k_proj, k), (layer.v_proj, v))
    )
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    return layer.out_proj(out.transpose(1, 2).flatten(2))


# A mask has a handful of tokens (K) and hundreds of image tokens (N). Between the two kinds, the projections of the image
# side are moved to the side of the few: q . (W k) is (W' q) . k, so K vectors are projected for each head instead of N.


def tokens_to_image(layer: Attention, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """SAM's attention of tokens [M, K, D] to an image, keys and values [M, N, D] -> [M, K, D]."""
    heads = layer.num_heads
    queries = layer.q_proj(tokens).unflatten(-1, (heads, -1))
    to_key, to_value = (p.weight.unflatten(0, (heads, -1)) for p in (layer.k_proj, layer.v_proj))
    scale = to_key.shape[1] ** -0.5
    vectors = scale * torch.einsum("mkhc,hcd->mhkd", queries, to_key).flatten(1, 2)
    offsets = scale * torch.einsum("mkhc,hc->mhk", queries, layer.k_proj.bias.unflatten(0, (heads, -1))).flatten(1)
    attention = (vectors @ keys.transpose(1, 2) + offsets.unsqueeze(2)).softmax(-1)
    mixed = (attention @ values).unflatten(1, (heads, -1))
    out = torch.einsum("mhkd,hcd->mkhc", mixed, to_value).flatten(2)
    return layer.out_proj(out + layer.v_proj.bias)


def image_to_tokens(layer: Attention, image: Tensor, keys: Tensor, values: Tensor, allowed: Tensor) -> Tensor:
    """SAM's attention of an image [M, N, D] to tokens, keys and values [M, K, D], with a mask of the tokens (`allowed`
    [M, 1, 1, K]) -> [M, N, D]."""
    heads = layer.num_heads
    keys, values = (p(x).unflatten(-1, (heads, -1)) for p, x in ((layer.k_proj, keys), (layer.v_proj, values)))
    to_query, of_query = layer.q_proj.weight.unflatten(0, (heads, -1)), layer.q_proj.bias.unflatten(0, (heads, -1))
    scale = to_query.shape[1] ** -0.5
    vectors = scale * torch.einsum("mkhc,hcd->mhkd", keys, to_query).flatten(1, 2)
    offsets = scale * torch.einsum("mkhc,hc->mhk", keys, of_query)
    logits = (image @ vectors.transpose(1, 2)).unflatten(2, (heads, -1)) + offsets.unsqueeze(1)
    attention = logits.masked_fill(~allowed, -torch.inf).softmax(-1).flatten(2)
    out = torch.einsum("mkhc,dhc->mhkd", values, layer.out_proj.weight.unflatten(1, (heads, -1))).flatten(1, 2)
    return attention @ out + layer.out_proj.bias


class MaskedTwoWayTransformer(TwoWayTransformer):
    """SAM's two-way transformer, with the same weights, that ignores padded prompt tokens: SAM itself never batches
    masks with different numbers of prompts."""

    def forward(self, image: Tensor, image_pe: Tensor, tokens: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            image: [M, D, h, w], `image_pe` [1, D, h, w].
            tokens: [M, K, D], `padding` [M, K], true where a token is padding.

        Returns:
            tokens [M, K, D] and image [M, h * w, D], both updated.
        """
        keys = image.flatten(2).transpose(1, 2)
        key_pe = image_pe.flatten(2).transpose(1, 2)
        allowed = ~padding[:, None, None, :]
        queries = tokens
        for layer in self.layers:
            if layer.skip_first_layer_pe:
                queries = attend(layer.self_attn, queries, queries, queries, allowed)
            else:
                q = queries + tokens
                queries = queries + attend(layer.self_attn, q, q, queries, allowed)
            queries = layer.norm1(queries)
            queries = queries + tokens_to_image(layer.cross_attn_token_to_image, queries + tokens, keys + key_pe, keys)
            queries = layer.norm2(queries)
            queries = layer.norm3(queries + layer.mlp(queries))
            attention = layer.cross_attn_image_to_token
            update = image_to_tokens(attention, keys + key_pe, queries + tokens, queries, allowed)
            keys = layer.norm4(keys + update)
        queries = queries + tokens_to_image(self.final_attn_token_to_image, queries + tokens, keys + key_pe, keys)
        return self.norm_final_attn(queries), keys


class MaskDecoder(SamMaskDecoder):
    """SAM's decoder with three changes: its sparse prompt starts with the projected `<SEG>` state; where it upscales, finer
    encoder maps are added as SAM 2 does; and with `config.fine`, the fine branch (`FineDecoder`) adds to the masks and their
    scores. Everything else, names of weights included, is SAM's.

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
        del self.output_hypernetworks_mlps[1:]  # of the masks that only SAM's multi-mask output has
        self.text_projection = nn.Sequential(
            nn.Linear(text_width, text_width),
            nn.GELU(),
            nn.Linear(text_width, config.width),
            nn.LayerNorm(config.width),
        )
        self.fine = FineDecoder(config.fine, config.width) if config.fine else None
        self.no_mask_embed = nn.Embedding(1, config.width)  # of SAM's prompt encoder: "no mask was given"

    def forward(  # type: ignore[override]
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        high_resolution: tuple[Tensor, ...],
        image_index: Tensor,
        condition: Tensor,
        sparse_prompt_embeddings: Tensor,
        prompt_padding: Tensor,
        fine_image: tuple[Tensor, ...] = (),
        prompt_maps: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode M masks in B images.

        Args:
            image_embeddings: [M, D, h, w], the features of each mask's image; `image_pe` [1, D, h, w].
            high_resolution: see `ImageFeatures`, of the B images (SAM has none); `image_index` [M], the image of each mask.
            condition: [M, D], what says which region is meant: the LLM's hidden states at `<SEG>`, projected (`text_projection`).
            sparse_prompt_embeddings: [M, P, D], the user's encoded prompts, and `prompt_padding` [M, P].
            fine_image: `ImageFeatures.fine` of the B images, and prompt_maps: [M, 5, S / 2, S / 2], for the fine branch.

        Returns:
            mask logits [M, 4h, 4w], with a fine branch [M, S / 2, S / 2], and the predicted IoU of each mask [M].
        """
        count = len(condition)
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(count, -1, -1)
        tokens = torch.cat([output_tokens, condition[:, None], sparse_prompt_embeddings], dim=1)
        always = prompt_padding.new_zeros(count, tokens.shape[1] - sparse_prompt_embeddings.shape[1])
        image_embeddings = image_embeddings + self.no_mask_embed.weight[:, :, None, None]
        tokens, image_tokens = self.transformer(
            image_embeddings, image_pe, tokens, torch.cat([always, prompt_padding], dim=1)
        )

        weights = self.output_hypernetworks_mlps[0](tokens[:, 1])  # SAM's single-mask output
        fine, finer = (
            (_by_quads(m, n).index_select(0, image_index) for n, m in enumerate(high_resolution, start=1))
            if high_resolution
            else (0, 0)
        )
        logits = self._upscale(image_tokens.unflatten(1, image_embeddings.shape[2:]), fine, finer, weights)
        scores = self.iou_prediction_head(tokens[:, 0])[:, 0]
        if self.fine is None:
            return logits, scores
        assert prompt_maps is not None
        fine_logits, fine_scores = self.fine(fine_image, image_index, condition, prompt_maps)
        if fine_logits.shape != logits.shape:
            logits = F.interpolate(logits[:, None], fine_logits.shape[-2:], mode="bilinear")[:, 0]
        return logits + fine_logits, scores + fine_scores

    def _upscale(self, x: Tensor, fine: Tensor | int, finer: Tensor | int, weights: Tensor) -> Tensor:
        """SAM's upscaling of image tokens [M, h, w, D], with the finer maps added (as `_by_quads` gives them, or 0), and its
        product with `weights` [M, D / 8]: mask logits [M, 4h, 4w].

        A transposed convolution whose stride is its kernel makes 2 x 2 pixels of each pixel by one matrix. Channels stay
        last and the four stay together until the masks are whole, so all of it is matrix products and layer norms over
        the last axis, which take half the time of the convolutions on CPU.
        """
        up1, norm, activation1, up2, activation2 = self.output_upscaling
        x = x @ up1.weight.permute(0, 2, 3, 1).flatten(1)
        x = x.unflatten(-1, (2, 2, -1)) + up1.bias + fine
        x = activation1(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
        x = x @ up2.weight.permute(0, 2, 3, 1).flatten(1)
        x = activation2(x.unflatten(-1, (2, 2, -1)) + up2.bias + finer)
        masks, height, width = x.shape[:3]
        logits = torch.bmm(x.flatten(1, -2), weights.unsqueeze(2)).view(masks, height, width, 2, 2, 2, 2)
        return logits.permute(0, 1, 3, 5, 2, 4, 6).reshape(masks, 4 * height, 4 * width)


def _by_quads(maps: Tensor, levels: int) -> Tensor:
    """maps [M, C, h * 2^levels, w * 2^levels] -> [M, h, w, 2, 2, ..., C] with a pair of axes (row, column) for each level."""
    count, channels, height, width = maps.shape
    twos = (2,) * levels
    split = maps.view(count, channels, height >> levels, *twos, width >> levels, *twos)
    rows, columns = range(2, 3 + levels), range(3 + levels, 4 + 2 * levels)
    order = [axis for pair in zip(rows, columns) for axis in pair]
    return split.permute(0, *order, 1).contiguous()


# The fine branch: prompts enter as maps, at half of the image's resolution, into convolutions that see the image, while the
# `<SEG>` state says what to look for (FiLM, Perez et al. 2018). SAM's decoder finds a prompt by the Fourier features of its
# position, on a coarse grid; a small model that has seen few images learns where a prompt is from maps, as ScribblePrompt (Wong
# et al. 2024) does.


class FineBlock(nn.Module):
    """A 3 x 3 convolution, what the image adds to it, a group norm, and scale and shift by the condition."""

    def __init__(self, channels: int, width: int, condition: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(8, width)
        self.film = nn.Linear(condition, 2 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, condition: Tensor, image: Tensor | None = None) -> Tensor:
        x = self.conv(x)
        if image is not None:
            x = x + image
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift, self.norm(x), 1 + scale).relu()


class FineDecoder(nn.Module):
    """A U-shaped network over prompt maps, joined by the image at every level of its way down.

    Args:
        widths: D_i of its five levels, of strides 2 to 32; multiples of 8.
        condition: channels D of what says which region is meant.
    """

    def __init__(self, widths: tuple[int, ...], condition: int) -> None:
        super().__init__()
        finest, *_, coarsest = widths
        self.down = nn.ModuleList(FineBlock(a, b, condition) for a, b in zip((CHANNELS, *widths), widths))
        self.middle = FineBlock(coarsest, coarsest, condition)
        self.up = nn.ModuleList(
            FineBlock(coarse + fine, fine, condition) for coarse, fine in zip(widths[:0:-1], widths[-2::-1])
        )
        self.output = nn.Conv2d(finest, 1, 1)
        nn.init.zeros_(self.output.weight)  # at the start, masks are those of SAM's decoder
        nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]
        self.score = nn.Sequential(
            nn.Linear(coarsest + 2 * finest + condition, condition), nn.ReLU(), nn.Linear(condition, 1)
        )
        nn.init.zeros_(self.score[-1].weight)
        nn.init.zeros_(self.score[-1].bias)

    def forward(
        self, image: tuple[Tensor, ...], image_index: Tensor, condition: Tensor, prompts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode M masks in B images.

        Args:
            image: what `FineNeck` gives of the B images; image_index: [M], the image of each mask.
            condition: [M, D], the projected `<SEG>` states.
            prompts: [M, `CHANNELS`, S / 2, S / 2], see `data.prompt_maps`.

        Returns:
            what to add to the mask logits [M, S / 2, S / 2] and to the logit of their score [M].
        """
        x, skips = prompts, []
        for level, (block, features) in enumerate(zip(self.down, image)):
            x = block(F.max_pool2d(x, 2) if level else x, condition, features.index_select(0, image_index))
            skips.append(x)
        x = coarsest = self.middle(skips.pop(), condition)
        for block in self.up:
            skip = skips.pop()
            x = block(torch.cat([F.interpolate(x, skip.shape[-2:], mode="nearest"), skip], dim=1), condition)
        logits = self.output(x)
        inside = logits.detach().sigmoid()
        means = [
            (x * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1.0) for weight in (inside, 1 - inside)
        ]  # what is inside and outside of the mask
        score = self.score(torch.cat([coarsest.mean((2, 3)), *means, condition], dim=1))
        return logits[:, 0], score[:, 0]
