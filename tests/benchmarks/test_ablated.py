"""What an ablation takes away is really gone, and nothing else is."""

from __future__ import annotations

import pytest
import torch
from ablated import (
    WithoutDecoderPrompts,
    adapt_language_model,
    randomise_encoder,
    without_prompt_tokens,
    without_self_attention,
)

from monai_mimo.data.collate import QuestionBatch, collate_questions
from monai_mimo.data.conversation import EncodedQuestion
from monai_mimo.models import Mimo
from monai_mimo.models.image_encoder import extract_features

from ..conftest import encode, make_nano, training_batch


def batch_of(model: Mimo, *questions: EncodedQuestion) -> QuestionBatch:
    """Questions about one image."""
    return collate_questions(questions, [0] * len(questions), model.tokenizer.pad_token_id)


def image_tokens(model: Mimo, question: str) -> torch.Tensor:
    """What the LLM reads of one fixed image when a question is asked."""
    batch = batch_of(model, encode(model, question))
    image = torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    embeddings, _, _ = model.embed_inputs(model.encode_prompts(model.encode(image), batch), batch)
    return embeddings[batch.input_ids == model.image_id]


def test_without_self_attention_the_question_does_not_change_the_image_tokens(nano: Mimo) -> None:
    nano.eval()
    texts = "Where is the left kidney?", "Is there a tumor?"
    first, second = (image_tokens(nano, text) for text in texts)
    assert not torch.allclose(first, second)
    without_self_attention(nano)
    first, second = (image_tokens(nano, text) for text in texts)
    torch.testing.assert_close(first, second)


def test_without_prompt_tokens_the_llm_reads_nothing_at_a_prompt(nano: Mimo) -> None:
    nano.eval()
    images, batch = training_batch(nano)
    at_prompt = (batch.input_ids == nano.point_id) | (batch.input_ids == nano.box_id)
    before, _, _ = nano._embed(nano._prompt(nano.encode(images), batch), batch)
    without_prompt_tokens(nano)
    after, _, _ = nano._embed(nano._prompt(nano.encode(images), batch), batch)
    assert before[at_prompt].any(dim=1).all()
    assert not after[at_prompt].any()
    torch.testing.assert_close(before[~at_prompt], after[~at_prompt])


@pytest.mark.parametrize("kind", [Mimo, WithoutDecoderPrompts])
def test_without_decoder_prompts_only_the_state_drives_the_mask(kind: type[Mimo]) -> None:
    model = make_nano()
    model = kind(model.config, model.tokenizer).eval()
    image, state = torch.rand(1, 3, 64, 64), torch.randn(1, model.language_model.width)
    masks = []
    for point in [(5, 5, 1), (40, 30, 1)]:
        batch = batch_of(model, encode(model, "What lies at <point>?", points=[point]))
        features = model.encode(image)
        masks.append(
            model.decode_masks(features, model.encode_prompts(features, batch), batch, torch.tensor([0]), state)[0]
        )
    assert torch.allclose(*masks) is (kind is WithoutDecoderPrompts)


def test_a_random_encoder_keeps_its_signal_through_all_layers() -> None:
    model = make_nano(image_encoder={"name": "efficientnet-lite0", "pretrained": False, "frozen": False})
    trained = [p.requires_grad for p in model.image_encoder.parameters()]
    randomise_encoder(model, torch.rand(6, 3, 64, 64))
    maps = extract_features(model.image_encoder, model.config.image_encoder, torch.rand(6, 3, 64, 64))
    for features in maps:
        assert 0.3 < features.std() < 5
    assert [p.requires_grad for p in model.image_encoder.parameters()] == trained


def test_adapters_alone_are_trained_in_the_language_model(nano: Mimo) -> None:
    others = {name for name, p in nano.named_parameters() if p.requires_grad and not name.startswith("language_model.")}
    adapt_language_model(nano, rank=2)
    trained = {name for name, p in nano.named_parameters() if p.requires_grad}
    added = trained - others
    assert others < trained
    assert all("lora_" in name or "trainable_tokens" in name for name in added)
    assert {nano.get_parameter(name).shape[0] for name in added if "lora_A" in name} == {2}
