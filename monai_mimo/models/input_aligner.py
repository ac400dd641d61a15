"""The multimodal input aligner: image, visual prompts and instruction become what the LLM reads."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.conversation import PRESENCE
from .config import AlignerConfig


class AlignerLayer(nn.Module):
    """Self-attention with the instruction in view, cross-attention to the image, an MLP."""

    def __init__(self, width: int, heads: int, image_width: int) -> None:
        super().__init__()
        self.norm_self, self.norm_cross, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(width, heads, kdim=image_width, vdim=image_width, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        for last in (self.self_attention.out_proj, self.cross_attention.out_proj, self.mlp[-1]):
            nn.init.normal_(last.weight, std=0.1 / width**0.5)  # a layer starts close to the identity

    def forward(
        self, x: Tensor, pos_embed: Tensor, padding: Tensor, instruction: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        y = self.norm_self(x)
        context = torch.cat([y + pos_embed, instruction], dim=1)
        x = x + self.self_attention(y + pos_embed, context, context, key_padding_mask=padding, need_weights=False)[0]
        y = self.norm_cross(x)
        x = x + self.cross_attention(y + pos_embed, keys, values, need_weights=False)[0]
        return x + self.mlp(self.norm_mlp(x))


class InputAligner(nn.Module):
    """N learned queries that self-attend with prompts and instruction and cross-attend to the image features.

    The prompt tokens take part like the queries, so that a click reaches the LLM together with what lies under it; so do the
    words of the instruction with `config.presence`, and otherwise they are only seen.

    Args:
        config: sizes; N = `config.queries`.
        prompt_width: channels of the prompt tokens and of the image features, D.
        text_width: channels of the LLM, H.
    """

    def __init__(self, config: AlignerConfig, prompt_width: int, text_width: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(config.queries, config.width) * 0.02)
        self.query_place = nn.Parameter(torch.randn(config.queries, config.width) * 0.02)
        self.words_take_part = config.presence
        self.prompt_projection = nn.Linear(prompt_width, config.width)
        self.text_projection = nn.Linear(text_width, config.width)
        self.neighbours = nn.Conv1d(config.width, config.width, 3, padding=1)  # a "liver lesion" is no "liver"
        self.layers = nn.ModuleList(
            AlignerLayer(config.width, config.heads, prompt_width) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Sequential(nn.Linear(config.width, text_width), nn.GELU(), nn.Linear(text_width, text_width))

    def forward(
        self,
        image: Tensor,
        image_pe: Tensor,
        prompts: Tensor,
        prompt_padding: Tensor,
        instruction: Tensor,
        instruction_padding: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Align Q questions, each with the features of its image.

        Args:
            image: [Q, D, h, w] image features, and `image_pe` [1, D, h, w], their positional encoding.
            prompts: [Q, P, D] encoded prompts, and `prompt_padding` [Q, P], true where there is none.
            instruction: [Q, T, H] the LLM's embeddings of the question, and `instruction_padding` [Q, T].

        Returns:
            image tokens [Q, N, H] and prompt tokens [Q, P, H] for the LLM, and word tokens [Q, T, width] if words take part.
        """
        count = len(image)
        values = image.flatten(2).transpose(1, 2)
        keys = (image + image_pe).flatten(2).transpose(1, 2)
        prompts = self.prompt_projection(prompts)
        words = self.text_projection(instruction) * ~instruction_padding.unsqueeze(-1)
        words = words + self.neighbours(words.transpose(1, 2)).transpose(1, 2) + sinusoids(words)
        x = torch.cat([self.queries.expand(count, -1, -1), prompts], dim=1)
        pos_embed = torch.cat([self.query_place.expand(count, -1, -1), prompts], dim=1)
        tokens = x.shape[1]
        if self.words_take_part:
            x, words = torch.cat([x, words], dim=1), words[:, :0]
            pos_embed = torch.cat([pos_embed, torch.zeros_like(x[:, tokens:])], dim=1)
        no_query_padding = prompt_padding.new_zeros(count, len(self.queries))
        padding = torch.cat([no_query_padding, prompt_padding, instruction_padding], dim=1)
        for layer in self.layers:
            x = layer(x, pos_embed, padding, words, keys, values)
        x = self.norm(x)
        image_tokens, prompt_tokens = self.output(x[:, :tokens]).tensor_split([len(self.queries)], dim=1)
        return image_tokens, prompt_tokens, x[:, tokens:] if self.words_take_part else None


def sinusoids(words: Tensor) -> Tensor:
    """The places of words [Q, T, width] in their text, as Vaswani et al. (2017) encode them: [T, width]."""
    length, width = words.shape[1:]
    rates = torch.exp(torch.arange(0, width, 2, device=words.device) * (-math.log(10000) / width))
    angles = torch.arange(length, device=words.device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1).to(words.dtype)


class Presence(nn.Module):
    """Tells the LLM which words of a question name what is there, by an embedding that is added to theirs.

    An LLM that can reason reads from the image tokens whether what it is asked for is there. One of a few layers cannot
    hold the words of the question against the image. Where regions have names (`models.region_names`), what is outlined by a
    name tells; elsewhere the aligner's word tokens are classified by `PRESENCE`.

    Args:
        width: channels of the aligner; image_width: channels D of the image features; text_width: channels H of the LLM.
        classifies: whether word tokens are classified.
    """

    def __init__(self, width: int, image_width: int, text_width: int, *, classifies: bool) -> None:
        super().__init__()
        self.classify: nn.Module | None = None
        if classifies:
            self.classify = nn.Sequential(
                nn.Linear(width + image_width, 2 * width), nn.GELU(), nn.Linear(2 * width, len(PRESENCE))
            )
        self.embedding = nn.Embedding(len(PRESENCE), text_width)
        nn.init.normal_(self.embedding.weight, std=text_width**-0.5)  # as long as a word

    def forward(self, words: Tensor, image: Tensor) -> Tensor | None:
        """words [Q, I, width] and image features [Q, D, h, w] -> logits [Q, I, 3], or none. What the words found in the image by
        attention is in them; the mean of the image says what kind of image it is."""
        if self.classify is None:
            return None
        kind = image.mean(dim=(2, 3)).unsqueeze(1).expand(-1, words.shape[1], -1)
        return self.classify(torch.cat([words, kind], dim=2))

    def embed(self, presence: Tensor) -> Tensor:
        """What to add to each word's embedding [..., H] for its presence [...]; nothing to a word that names nothing, and to
        padding. In training it is the true presence, so that the LLM learns to believe it."""
        return F.embedding(presence.clamp(min=0), self.embedding.weight) * (presence > 0).unsqueeze(-1)
