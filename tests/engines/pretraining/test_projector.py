"""States of the language model at `<SEG>` are remembered by phrase, and stand in for it where masks are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.utils import set_determinism

from monai_mimo.data.conversation import collate_questions
from monai_mimo.data.tokenizer import train_tokenizer
from monai_mimo.engines import Checkpoints, SamplingConfig, training_loader
from monai_mimo.engines.pretraining.projector import (
    WithoutLanguageModel,
    phrases_at_seg,
    pretrain_projector,
    states_of_phrases,
)
from monai_mimo.engines.pretraining.text import embed_texts, encode_texts
from monai_mimo.losses import MimoLoss, Targets
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.models import Mimo, load_preset

from ...conftest import four_questions, make_nano
from ..small_set import write_set
from .test_text import NAMES, ROWS, TEXTS, make_model


def test_states_are_those_at_seg_of_the_same_phrase() -> None:
    model = make_model().eval()
    remembered = states_of_phrases(model, ROWS, each=8)
    ids = {name: tuple(model.tokenizer(f" {name}", add_special_tokens=False)["input_ids"]) for name in NAMES}
    assert set(remembered) == set(ids.values())
    questions = encode_texts(model, TEXTS[:1])
    with torch.no_grad():
        states = model.language_model.states(embed_texts(model, questions, TEXTS[:1]), questions.attention_mask)
    [place] = torch.nonzero(questions.labels[0] == model.seg_id)[:, 0].tolist()
    known = remembered[ids[NAMES[0]]]
    assert len(known) == 2  # one text by name, one with a point
    assert torch.cdist(states[:1, place], known).min() < 1e-4


def test_masks_and_words_are_trained_and_the_language_model_is_not() -> None:
    model = make_nano()
    encoded = four_questions(model)
    questions = collate_questions(encoded, [0] * len(encoded), model.tokenizer.pad_token_id)
    states = {phrase: torch.randn(3, model.language_model.width) for phrase in phrases_at_seg(model, questions.labels)}
    prediction, far = WithoutLanguageModel(model, states)(torch.rand(1, 3, 64, 64), questions)
    segs = int((questions.labels == model.seg_id).sum())
    assert len(prediction.mask_logits) == segs
    targets = Targets(torch.full_like(questions.labels, -100), torch.rand(segs, 64, 64) > 0.5, questions.presence)
    (MimoLoss(alignment=1.0, presence=1.0)(prediction, targets) + far).backward()
    for name, parameter in model.named_parameters():
        if "language_model.model.model.layers" in name:
            assert parameter.grad is None, name
        if name.startswith(("mask_decoder.text_projection", "input_aligner.output")):
            assert parameter.grad.abs().sum() > 0, name


def test_it_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes a second, and nothing else takes time; the first run stops after one."""
    rows = load_mimoseg(write_set(tmp_path / "set", vqa=False), "train")
    texts = [*rows["question"], *rows["answer"]]
    now, pair = [0.0], WithoutLanguageModel.forward

    def slow(*arguments: Any) -> Any:
        now[0] += 1
        return pair(*arguments)

    monkeypatch.setattr("monai_mimo.engines.handlers.time.monotonic", lambda: now[0])
    monkeypatch.setattr(WithoutLanguageModel, "forward", slow)

    def run(folder: str, stop: bool = False) -> dict[str, torch.Tensor]:
        set_determinism(0)
        config = load_preset("nano")
        model = Mimo(config, train_tokenizer(texts, config.language_model.vocabulary))
        loader = training_loader(model, rows, SamplingConfig(4, 4, 2))
        checkpoints = Checkpoints(tmp_path / folder, {}, every=1)
        checkpoints.asked_to_stop = stop
        pretrain_projector(model, rows, loader, MimoLoss(), 0.1, 1e-2, checkpoints)
        return model.state_dict()

    whole, first, both = run("whole"), run("parts", stop=True), run("parts")
    assert now[0] == 6 + 6
    assert all(torch.equal(both[name], tensor) for name, tensor in whole.items())
    assert any(not torch.equal(first[name], tensor) for name, tensor in whole.items())
