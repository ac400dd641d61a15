"""The published model by its sizes alone: nothing is allocated."""

from __future__ import annotations

import pytest
import torch

from monai_mimo.data.tokenizer import SPECIAL_TOKENS, placeholder_tokenizer
from monai_mimo.models import Mimo, load_preset
from monai_mimo.models.weights import parameter_counts


@pytest.fixture(scope="module")
def published() -> Mimo:
    with torch.device("meta"):
        return Mimo(load_preset("7b"), placeholder_tokenizer(32000))


@pytest.mark.parametrize(
    ("part", "millions"),
    [("image_encoder", 632.0), ("segmentation_encoder", 637.0), ("language_model", 6738.4)],
)
def test_published_counts(published: Mimo, part: str, millions: float) -> None:
    """CLIP ViT-H/14's image tower, SAM's ViT-H and Vicuna-7B (Llama 2), within one percent."""
    assert parameter_counts(getattr(published, part))[0] / 1e6 == pytest.approx(millions, rel=0.01)


def test_published_shapes(published: Mimo) -> None:
    shapes = {name: tuple(value.shape) for name, value in published.state_dict().items()}
    llm = "language_model.model.base_model.model.model"
    vocabulary = 32000 + len(SPECIAL_TOKENS)
    expected = {
        "image_encoder.network.embeddings.patch_embedding.weight": (1280, 3, 14, 14),
        "image_encoder.network.embeddings.position_embedding.weight": (257, 1280),
        "image_encoder.network.encoder.layers.31.mlp.fc1.weight": (5120, 1280),
        "segmentation_encoder.network.pos_embed": (1, 64, 64, 1280),
        "segmentation_encoder.network.blocks.31.attn.rel_pos_h": (127, 80),
        "segmentation_encoder.network.blocks.30.attn.rel_pos_h": (27, 80),
        "segmentation_encoder.network.neck.0.weight": (256, 1280, 1, 1),
        "mask_decoder.mask_tokens.weight": (4, 256),
        "mask_decoder.transformer.layers.1.mlp.lin1.weight": (2048, 256),
        "mask_decoder.output_upscaling.3.weight": (64, 32, 2, 2),
        "prompt_encoder.position.positional_encoding_gaussian_matrix": (2, 128),
        f"{llm}.embed_tokens.token_adapter.base_layer.weight": (vocabulary, 4096),
        f"{llm}.layers.31.self_attn.q_proj.lora_A.default.weight": (8, 4096),
        f"{llm}.layers.31.mlp.gate_proj.weight": (11008, 4096),
        "language_model.model.base_model.model.lm_head.token_adapter.base_layer.weight": (vocabulary, 4096),
    }
    assert {name: shapes.get(name) for name in expected} == expected


def test_what_is_trained_in_the_published_model(published: Mimo) -> None:
    """Not CLIP, not SAM's encoder; of the LLM the adapters (two matrices of rank 8 at q and v of 32 layers) and the rows of the
    new tokens, in and out."""
    assert parameter_counts(published.image_encoder)[1] == 0
    assert parameter_counts(published.segmentation_encoder)[1] == 0
    adapters = 32 * 2 * 2 * 8 * 4096
    rows = 2 * len(SPECIAL_TOKENS) * 4096
    assert parameter_counts(published.language_model)[1] == adapters + rows
    for part in (published.prompt_encoder, published.input_aligner, published.mask_decoder):
        assert len({p.requires_grad for p in part.parameters()}) == 1
    config = published.config
    assert (config.lora.alpha, config.training.learning_rate) == (8, 3e-4)
    training = config.training
    assert training.images_per_batch * training.questions_per_image * training.accumulation_steps == 40


def test_published_features_have_sams_size(published: Mimo) -> None:
    features = published.encode(torch.empty(2, 3, 1024, 1024, device="meta"))
    assert features.feature_map.shape == (2, 256, 64, 64)
    assert features.context.shape == (2, 256, 16, 16)
