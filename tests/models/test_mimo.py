"""The whole model at `nano` size: shapes, what learns, and that a sample's result does not depend on its batch."""

from __future__ import annotations

import pytest
import torch

from monai_mimo.data.conversation import IGNORE, collate_questions
from monai_mimo.losses import MimoLoss, Targets
from monai_mimo.models import Mimo
from monai_mimo.models.image_encoder import extract_features

from ..conftest import encode, four_questions, make_nano, training_batch


def loss_of(model: Mimo) -> torch.Tensor:
    images, batch = training_batch(model)
    count = int((batch.labels == model.seg_id).sum())
    masks = torch.rand(count, model.config.image_size, model.config.image_size) > 0.5
    return MimoLoss(alignment=0.5, presence=1.0)(model(images, batch), Targets(batch.labels, masks, batch.presence))


def test_shapes(nano: Mimo) -> None:
    images, batch = training_batch(nano)
    side = nano.config.image_size
    features = nano.encode(images)
    assert features.feature_map.shape == (2, 32, side // 8, side // 8)
    assert [m.shape[1:] for m in features.high_resolution] == [(8, side // 4, side // 4), (4, side // 2, side // 2)]
    prediction = nano(images, batch)
    labelled = int((batch.labels != IGNORE).sum())
    assert prediction.text_logits.shape == (labelled, len(nano.tokenizer))
    assert prediction.mask_logits.shape == (4, side // 2, side // 2)
    assert prediction.scores.shape == (4,)


def test_every_trainable_parameter_gets_a_gradient(nano: Mimo) -> None:
    loss_of(nano).backward()
    without = [name for name, p in nano.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert without == []


@pytest.mark.parametrize("lora", [None, {"rank": 4, "alpha": 8}])
@pytest.mark.parametrize("frozen", [True, False])
def test_what_is_frozen_stays_and_the_rest_moves(lora: dict | None, frozen: bool) -> None:
    model = make_nano(lora=lora, image_encoder={"name": "convolutions", "frozen": frozen})
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trainable, 1e-2)
    for _ in range(2):  # LoRA's B starts at zero, so its A gets a gradient from the second step on
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}

    def may_learn(name: str) -> bool:
        if name.startswith("image_encoder."):
            return not frozen
        if name.startswith("language_model."):
            return lora is None or "lora_" in name or "trainable_tokens" in name
        return True

    assert moved == {name for name in before if may_learn(name)}


def test_separate_segmentation_encoder_feeds_only_the_mask_decoder() -> None:
    model = make_nano(segmentation_encoder={"name": "convolutions", "frozen": True}).eval()
    images = torch.rand(1, 3, 64, 64)
    features = model.encode(images)
    alone = model.neck(extract_features(model.image_encoder, model.config.image_encoder, images))
    torch.testing.assert_close(features.context, alone.feature_map)
    assert not torch.allclose(features.feature_map, alone.feature_map)


def test_one_by_one_equals_batch(nano: Mimo) -> None:
    """Padding of words, prompts and sequences must not change a sample's masks or text."""
    nano.eval()
    images, batch = training_batch(nano)
    together = nano(images, batch)
    masks, texts = 0, 0
    for q, image in enumerate(batch.image_index.tolist()):
        length = int(batch.attention_mask[q].sum())
        words = int((~batch.instruction_padding[q]).sum())
        prompts = int((batch.prompt_labels[q] >= 0).sum())
        alone_batch = collate_questions([four_questions(nano)[q]], [0], nano.tokenizer.pad_token_id)
        assert alone_batch.input_ids.shape[1] == length
        assert alone_batch.instruction_ids.shape[1] == words
        assert alone_batch.coordinates.shape[1] == prompts
        alone = nano(images[image : image + 1], alone_batch)
        n, t = len(alone.mask_logits), len(alone.text_logits)
        torch.testing.assert_close(alone.mask_logits, together.mask_logits[masks : masks + n], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(alone.text_logits, together.text_logits[texts : texts + t], atol=1e-4, rtol=1e-4)
        masks, texts = masks + n, texts + t
    assert masks == len(together.mask_logits)


def test_each_mask_is_driven_by_its_own_seg(nano: Mimo) -> None:
    """Changing the words after the first <SEG> leaves the first mask as it was and changes the second."""
    nano.eval()
    image = torch.rand(1, 3, 64, 64)
    answers = [
        "the <p> liver </p> <SEG> and the <p> spleen </p> <SEG>",
        "the <p> liver </p> <SEG> or a <p> tumor </p> <SEG>",
    ]
    first, second = (
        nano(image, collate_questions([encode(nano, "Where?", a)], [0], nano.tokenizer.pad_token_id)).mask_logits
        for a in answers
    )
    torch.testing.assert_close(first[0], second[0])
    assert not torch.allclose(first[1], second[1])


def test_a_prompt_changes_masks_and_text(nano: Mimo) -> None:
    nano.eval()
    image = torch.rand(1, 3, 64, 64)
    outs = [
        nano(image, collate_questions([encode(nano, "At <point>?", "<p> liver </p> <SEG>", points=[p])], [0], 0))
        for p in [(5, 5, 1), (40, 30, 1), (5, 5, 0)]
    ]
    for other in outs[1:]:
        assert not torch.allclose(outs[0].mask_logits, other.mask_logits)
        assert not torch.allclose(outs[0].text_logits, other.text_logits)


def test_generation_agrees_with_teacher_forcing(nano: Mimo) -> None:
    """Feeding the generated tokens back as the answer gives the same tokens as argmax, and the same masks."""
    nano.eval()
    torch.manual_seed(3)
    torch.nn.init.normal_(nano.language_model.causal_lm.get_input_embeddings().weight, std=0.5)
    images = torch.rand(2, 3, 64, 64)
    texts = ["Where is the left kidney?", "What?", "What lies at <point>?"]
    prompts = [{}, {}, {"points": [(9, 9, 1)]}]
    questions = [encode(nano, t, **p) for t, p in zip(texts, prompts)]
    with torch.no_grad():
        features = nano.encode(images)
        batch = collate_questions(questions, [0, 1, 1], nano.tokenizer.pad_token_id, generate=True)
        answers = nano.answer(features, batch, max_tokens=12)
        for q, question in enumerate(questions):
            ids = answers.ids[q].tolist()
            if nano.tokenizer.eos_token_id in ids:
                ids = ids[: ids.index(nano.tokenizer.eos_token_id) + 1]
            question.answer_ids = ids
            forced = nano(images[[0, 1, 1][q]][None], collate_questions([question], [0], nano.tokenizer.pad_token_id))
            assert forced.text_logits.argmax(-1).tolist() == ids
            own = answers.mask_logits[answers.places[:, 0] == q]
            torch.testing.assert_close(own, forced.mask_logits, atol=1e-4, rtol=1e-4)


def test_can_overfit_four_questions(nano: Mimo) -> None:
    """Four questions about two images, learned until text and masks are exactly right."""
    images, batch = training_batch(nano)
    masks = torch.zeros(4, 64, 64, dtype=torch.bool)
    for m, (x, y) in enumerate([(4, 4), (4, 36), (36, 4), (36, 36)]):
        masks[m, y : y + 20, x : x + 20] = True
    loss, optimizer = MimoLoss(alignment=0.5, presence=1.0), torch.optim.Adam(nano.parameters(), 3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        loss(nano(images, batch), Targets(batch.labels, masks, batch.presence)).backward()
        optimizer.step()
    nano.eval()
    with torch.no_grad():
        prediction = nano(images, batch)
        wanted = batch.labels[:, 1:][batch.labels[:, 1:] != IGNORE]
        assert torch.equal(prediction.text_logits.argmax(-1), wanted)
        generating = collate_questions(four_questions(nano), [0, 0, 1, 1], nano.tokenizer.pad_token_id, generate=True)
        answers = nano.answer(nano.encode(images), generating, 40)
        grown = torch.nn.functional.interpolate(answers.mask_logits[:, None], (64, 64), mode="bilinear")[:, 0] > 0
        iou = (grown & masks).sum((1, 2)) / (grown | masks).sum((1, 2))
    assert answers.places[:, 0].tolist() == [1, 2, 2, 3]
    assert (iou > 0.5).all(), iou


def test_same_seed_same_model() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        model = make_nano()
        loss_of(model).backward()
        states.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*states))


def test_words_are_told_the_truth_in_training_and_the_decision_in_use(nano: Mimo) -> None:
    images, batch = training_batch(nano)
    inputs = []
    nano.language_model.states = lambda embeddings, mask: inputs.append(embeddings) or embeddings
    presence = []
    for training in (True, False):
        presence.append(nano.train(training)(images, batch).presence_logits.argmax(-1))
    words = nano.language_model.embed(batch.instruction_ids)[~batch.instruction_padding]
    for given, known in zip(inputs, (batch.presence, presence[1])):
        told = given[batch.is_instruction] - words
        expected = nano.presence.embedding.weight * torch.tensor([0.0, 1, 1])[:, None]
        torch.testing.assert_close(told, expected[known[~batch.instruction_padding]])


def test_encoders_whose_maps_are_of_unequal_size() -> None:
    """As CLIP at 224 and SAM at 1024 pixels: prompts are drawn into each at its own size."""
    tower = {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    sam = {
        "embed_dim": 32,
        "depth": 2,
        "heads": 2,
        "image_size": 64,
        "patch_size": 16,
        "window_size": 2,
        "global_attention": [1],
        "channels": 32,
    }
    model = make_nano(
        image_encoder={"name": "vision-tower", "architecture": tower},
        segmentation_encoder={"name": "sam", "architecture": sam},
    )
    images, batch = training_batch(model)
    features = model.encode(images)
    assert (features.context.shape[2:], features.feature_map.shape[2:]) == ((2, 2), (4, 4))
    prediction = model(images, batch)
    assert prediction.mask_logits.shape == (4, 16, 16)
    loss_of(model).backward()
