"""Models of which one thing was taken away, by small means: the package itself has no switches for it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from monai_mimo.data.collate import QuestionBatch
from monai_mimo.data.prompts import PADDING
from monai_mimo.models import Mimo
from monai_mimo.models.config import LoraConfig
from monai_mimo.models.image_encoder import ImageFeatures, extract_features
from monai_mimo.models.language_model import add_lora
from monai_mimo.models.mimo import Prompted


class NoAttention(nn.Module):
    """Adds nothing, where a `nn.MultiheadAttention` would add what it found."""

    def forward(self, query: Tensor, *_: Tensor, **__: object) -> tuple[Tensor, None]:
        return torch.zeros_like(query), None


def without_self_attention(model: Mimo) -> None:
    """The queries, prompts and words of the aligner see the image alone, not each other."""
    for layer in model.input_aligner.layers:
        layer.self_attention = NoAttention()


class WithoutPromptTokens(nn.Module):
    """An aligner whose prompt tokens are zero when the LLM gets them. Inside, the queries still see the prompts."""

    def __init__(self, aligner: nn.Module) -> None:
        super().__init__()
        self.aligner = aligner

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        image_tokens, prompt_tokens, word_tokens = self.aligner(*inputs)
        return image_tokens, torch.zeros_like(prompt_tokens), word_tokens


def without_prompt_tokens(model: Mimo) -> None:
    """The LLM reads of a prompt only what the aligner's queries tell."""
    model.input_aligner = WithoutPromptTokens(model.input_aligner)


class WithoutDecoderPrompts(Mimo):
    """The mask decoder gets neither the prompts' tokens nor the map that they are drawn in: the `<SEG>` state has to tell."""

    def _decode(
        self, features: ImageFeatures, prompted: Prompted, questions: QuestionBatch, question: Tensor, states: Tensor
    ) -> tuple[Tensor, Tensor]:
        prompted = prompted._replace(tokens=features.select(questions.image_index).tokens)
        questions = replace(questions, prompt_labels=torch.full_like(questions.prompt_labels, PADDING))
        return super()._decode(features, prompted, questions, question, states)


@torch.no_grad()
def randomise_encoder(model: Mimo, images: Tensor) -> None:
    """Give the image encoder orthogonal random weights, scaled so that each channel has mean 0 and variance 1 on images
    [B, 3, S, S] (Mishkin and Matas 2016; Salimans and Kingma 2016). Its normalisations are folded into its weights, so plain
    random ones would fade out over fifty layers, and the comparison would be with a broken network."""

    def scale(layer: nn.Conv2d, _: object, output: Tensor) -> Tensor:
        std, mean = torch.std_mean(output, dim=(0, 2, 3))
        std = std.clamp(min=1e-3)
        layer.weight /= std[:, None, None, None]
        layer.bias.copy_(-mean / std)
        return (output - mean[:, None, None]) / std[:, None, None]

    layers = [layer for layer in model.image_encoder.modules() if isinstance(layer, nn.Conv2d)]
    for layer in layers:
        layer.weight.copy_(nn.init.orthogonal_(torch.empty(layer.weight.shape)))  # it cannot fill "channels last"
        nn.init.zeros_(layer.bias)
    hooks = [layer.register_forward_hook(scale) for layer in layers]
    extract_features(model.image_encoder, model.config.image_encoder, images)
    for hook in hooks:
        hook.remove()


def adapt_language_model(model: Mimo, rank: int) -> None:
    """Freeze the language model, as the published one is, but for adapters of a rank and the embeddings of MIMO's tokens."""
    language = model.language_model
    language.model = add_lora(language.model, LoraConfig(rank=rank), model.tokenizer)
