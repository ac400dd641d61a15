"""Language models from Hugging Face folders: what they compute is what `transformers` computes with the same files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from monai_mimo.data.tokenizer import SPECIAL_TOKENS
from monai_mimo.errors import WeightsError
from monai_mimo.inference.answer import parse_answer
from monai_mimo.models import Mimo, load_preset
from monai_mimo.models.pretrained import pretrained_tokenizer

from ..conftest import TEXTS, encode, training_batch
from . import upstream


def nano_with(folder: Path, **changes: object) -> Mimo:
    return Mimo(load_preset("nano", llm=str(folder), **changes), pretrained_tokenizer(folder))


KINDS = {
    "llama": {},
    "mistral": {},
    "qwen2": {"tie_word_embeddings": True},
    "gpt2": {"n_inner": 64, "intermediate_size": None},
    "opt": {"word_embed_proj_dim": 32, "ffn_dim": 64},
}


@pytest.mark.parametrize("lora", [None, {"rank": 2}])
@pytest.mark.parametrize("kind", KINDS)
def test_any_causal_language_model(tmp_path: Path, kind: str, lora: dict | None) -> None:
    sizes = {name: value for name, value in KINDS[kind].items() if value is not None}
    upstream.language_model(tmp_path, kind, **sizes)
    if lora and kind == "gpt2":
        lora = {**lora, "target_modules": ["c_attn"]}
    model = nano_with(tmp_path, lora=lora).eval()
    ids = torch.randint(10, 290, (2, 7))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        language = model.language_model
        ours = language.logits(language.states(language.embed(ids), torch.ones_like(ids)))
        expected = theirs(input_ids=ids).logits
    torch.testing.assert_close(ours[..., : expected.shape[-1]], expected, atol=1e-4, rtol=1e-4)
    model.train()
    images, batch = training_batch(model)
    model(images, batch).text_logits.sum().backward()
    trained = {name for name, p in model.language_model.named_parameters() if p.requires_grad}
    assert all(("lora_" in name or "trainable_tokens" in name) == (lora is not None) for name in trained)


def test_shards_and_pickles_are_the_same_model(tmp_path: Path) -> None:
    model = upstream.language_model(tmp_path / "one")
    upstream.language_model(tmp_path / "bin")
    model.save_pretrained(tmp_path / "bin")
    upstream.as_bin(tmp_path / "bin", shards=3)
    model.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    for file in (tmp_path / "one").glob("tokenizer*"):
        (tmp_path / "shards" / file.name).write_bytes(file.read_bytes())
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    states = [nano_with(tmp_path / name).language_model.state_dict() for name in ("one", "bin", "shards")]
    for other in states[1:]:
        for name, value in states[0].items():
            assert torch.equal(value, other[name]), name


def test_new_tokens_start_as_the_mean_of_the_others(tmp_path: Path) -> None:
    theirs = upstream.language_model(tmp_path, tie_word_embeddings=False)
    model = nano_with(tmp_path, lora={"rank": 2})
    ids = model.tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS)
    mean = theirs.get_input_embeddings().weight.mean(0)
    torch.testing.assert_close(model.language_model.embed(torch.tensor(ids)), mean.expand(6, -1))
    states = torch.randn(3, 32)
    logits = model.language_model.logits(states)[:, ids]
    torch.testing.assert_close(logits, (states @ theirs.get_output_embeddings().weight.mean(0))[:, None].expand(3, 6))


@pytest.mark.parametrize("tied", [True, False])
def test_rows_of_new_tokens_learn_and_others_do_not(tmp_path: Path, tied: bool) -> None:
    upstream.language_model(tmp_path, tie_word_embeddings=tied)
    model = nano_with(tmp_path, lora={"rank": 2})
    language, ids = model.language_model, torch.arange(len(model.tokenizer))

    def rows() -> tuple[torch.Tensor, torch.Tensor]:
        return language.embed(ids).detach(), language.logits(torch.eye(32)).detach().T

    before = rows()
    images, batch = training_batch(model)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    model(images, batch).text_logits.logsumexp(-1).sum().backward()
    optimizer.step()
    new = set(model.tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS))
    for old, now in zip(before, rows()):
        moved = (old != now).any(dim=1).nonzero().flatten().tolist()
        assert set(moved) <= new
    assert set(moved) == new  # each of them is among the logits


def test_old_tokenizer_files(tmp_path: Path) -> None:
    """tokenizer.model alone, as Vicuna and Llama 2 came: the words are those that sentencepiece gives."""
    reference = upstream.sentencepiece_tokenizer(tmp_path)
    upstream_size = reference.get_piece_size()
    model = upstream.language_model(tmp_path / "model", vocabulary=upstream_size)
    model.save_pretrained(tmp_path)
    tokenizer = pretrained_tokenizer(tmp_path)
    for text in ["Where is the left kidney?", "I see the liver, and 3.5 µm of 脾臓", "a  b"]:
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == reference.encode(text)
    assert tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS) == list(range(upstream_size, upstream_size + 6))
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 0)


@pytest.mark.parametrize("old", [True, False])
def test_answers_survive_the_tokenizer(tmp_path: Path, old: bool) -> None:
    upstream.language_model(tmp_path)
    if old:
        model = upstream.language_model(
            tmp_path / "other", vocabulary=upstream.sentencepiece_tokenizer(tmp_path).get_piece_size()
        )
        model.save_pretrained(tmp_path)
    model = nano_with(tmp_path)
    question = encode(model, "What is at <point>?", TEXTS[4], points=[(3, 3, 1)])
    text, phrases = parse_answer(question.answer_ids, model.tokenizer)
    assert text == "I see the liver and the spleen."
    assert [p.phrase for p in phrases] == ["liver", "spleen"]
    assert question.prompt_ids.count(model.point_id) == 1
    assert question.prompt_ids.count(model.image_id) == model.config.aligner.queries


@pytest.mark.parametrize("kind", ["missing", "unexpected", "shape"])
@pytest.mark.parametrize("pickled", [True, False])
def test_tensors_that_do_not_fit(tmp_path: Path, kind: str, pickled: bool) -> None:
    upstream.language_model(tmp_path)
    if pickled:
        upstream.as_bin(tmp_path, shards=1)
    [file] = [*tmp_path.glob("*.bin"), *tmp_path.glob("*.safetensors")]
    name = upstream.damage(file, kind, "model.layers.1.mlp.up_proj.weight")
    if pickled and kind == "unexpected":  # an index lists all tensors
        index = tmp_path / "pytorch_model.bin.index.json"
        about = json.loads(index.read_text())
        about["weight_map"][name] = file.name
        index.write_text(json.dumps(about))
    with pytest.raises(WeightsError) as error:
        nano_with(tmp_path)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_pickles_run_no_code(tmp_path: Path) -> None:
    upstream.language_model(tmp_path)
    upstream.as_bin(tmp_path, shards=1)
    [file] = tmp_path.glob("*.bin")
    torch.save({"a": Path}, file)
    with pytest.raises(WeightsError, match=str(file)):
        nano_with(tmp_path)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="smollm2-135m-instruct"):
        load_preset("nano", llm=str(tmp_path / "nothing"))
