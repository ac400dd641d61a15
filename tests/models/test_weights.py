"""Weights folders: what is in them, what they stand on, and that old ones are read."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from monai_mimo.cli import main
from monai_mimo.data.conversation import QuestionBatch
from monai_mimo.errors import InputError, WeightsError
from monai_mimo.models import Mimo, load_preset
from monai_mimo.models.bases import base_hash
from monai_mimo.models.pretrained import pretrained_tokenizer
from monai_mimo.models.weights import merge_adapter, save_weights

from ..conftest import make_nano, training_batch
from . import upstream
from .test_vision_tower import transformers_folder

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that are remembered are remembered here."""
    monkeypatch.setenv("MIMO_HOME", str(tmp_path / "home"))


def checkpoints(folder: Path, **llm: Any) -> dict[str, str]:
    """One of each kind that a model may stand on."""
    upstream.language_model(folder / "llm", **llm)
    transformers_folder(folder / "clip", "clip")
    torch.save(upstream.sam().state_dict(), folder / "sam.pth")
    return {"llm": str(folder / "llm"), "image_encoder": str(folder / "clip"), "seg_encoder": str(folder / "sam.pth")}


def trained(bases: dict[str, Any], tokenizer_of: str | None = None, **changes: Any) -> Mimo:
    """A model on `bases` whose own parameters are not where they started."""
    config = load_preset("nano", **bases, **{"lora": {"rank": 2}, **changes})
    model = Mimo(config, pretrained_tokenizer(tokenizer_of or bases["llm"]))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def outputs(model: Mimo) -> list[torch.Tensor]:
    torch.manual_seed(5)
    images, batch = training_batch(model)
    with torch.no_grad():
        prediction = model.eval()(images, batch)
    return [prediction.text_logits, prediction.mask_logits, prediction.scores]


@pytest.mark.parametrize("tied", [True, False])
def test_round_trip_without_the_bases(tmp_path: Path, tied: bool) -> None:
    bases = checkpoints(tmp_path, tie_word_embeddings=tied)
    model = trained(bases)
    folder = model.save_pretrained(tmp_path / "weights")
    again = Mimo.from_pretrained(folder)
    assert again.config == model.config
    for (name, a), (_, b) in zip(model.state_dict().items(), again.state_dict().items()):
        assert torch.equal(a, b), name
    assert not again.training
    stored = load_file(folder / "model.safetensors")
    frozen = ("language_model.", "image_encoder.", "segmentation_encoder.")
    assert [name for name in stored if name.startswith(frozen)] == []
    adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
    of_llm = sum(p.numel() for p in model.language_model.parameters() if p.requires_grad)
    assert sum(value.numel() for value in adapter.values()) == of_llm
    about = json.loads((folder / "config.json").read_text())
    assert about["bases"].keys() == bases.keys()
    assert about["versions"].keys() == {"torch", "transformers", "peft"}


@pytest.mark.parametrize("tied", [True, False])
def test_adapter_loads_with_peft_alone(tmp_path: Path, tied: bool) -> None:
    bases = checkpoints(tmp_path, tie_word_embeddings=tied)
    model = trained(bases)
    folder = model.save_pretrained(tmp_path / "weights")
    base = AutoModelForCausalLM.from_pretrained(bases["llm"])
    base.resize_token_embeddings(len(pretrained_tokenizer(bases["llm"])))  # room for MIMO's tokens
    alone = PeftModel.from_pretrained(base, folder / "adapter").eval()
    ids = torch.randint(0, len(model.tokenizer), (2, 9))
    with torch.no_grad():
        language = model.language_model
        ours = language.logits(language.states(language.embed(ids), torch.ones_like(ids)))
        theirs = alone(input_ids=ids).logits
        plain = AutoModelForCausalLM.from_pretrained(bases["llm"])(input_ids=ids.clamp(max=299)).logits
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert (theirs[..., :300] - plain).abs().max() > 0.01


@pytest.mark.parametrize("tied", [True, False])
def test_merged_weights_give_the_same_answers_without_the_llm(tmp_path: Path, tied: bool) -> None:
    bases = checkpoints(tmp_path, tie_word_embeddings=tied)
    model = trained(bases)
    folder = model.save_pretrained(tmp_path / "weights")
    assert main(["merge", str(folder), str(tmp_path / "merged")]) == 0
    shutil.rmtree(bases["llm"])
    merged = Mimo.from_pretrained(tmp_path / "merged")
    assert merged.config.lora is None
    assert not (tmp_path / "merged" / "adapter").exists()
    for ours, expected in zip(outputs(merged), outputs(model)):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


def test_a_model_in_bfloat16_is_merged_in_float32(tmp_path: Path) -> None:
    """Where what the adapter adds would be lost by rounding."""
    bases = checkpoints(tmp_path)
    sizes = {"source": bases["llm"], "dtype": "bfloat16", "architecture": {}}
    model = trained({**bases, "llm": None}, tokenizer_of=bases["llm"], language_model=sizes)
    exact = trained({**bases, "llm": None}, tokenizer_of=bases["llm"], language_model={**sizes, "dtype": "float32"})
    exact.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
    merged = merge_adapter(Mimo.from_pretrained(model.save_pretrained(tmp_path / "weights")))
    assert merged.language_model.causal_lm.dtype == torch.float32
    for ours, expected in zip(outputs(Mimo.from_pretrained(save_weights(merged, tmp_path / "merged"))), outputs(exact)):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


def test_merge_without_adapter(nano_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", str(nano_weights), str(tmp_path / "merged")]) == 2
    assert "no adapter" in capsys.readouterr().err


def test_a_trained_llm_and_trained_encoders_are_in_the_folder(tmp_path: Path) -> None:
    """Only what is frozen stays outside."""
    bases = checkpoints(tmp_path)
    encoder = {"name": "vision-tower", "frozen": False, "source": bases["image_encoder"]}
    model = trained({**bases, "image_encoder": encoder}, lora=None)
    expected = outputs(model)
    folder = model.save_pretrained(tmp_path / "weights")
    for base in (bases["llm"], bases["image_encoder"]):
        shutil.rmtree(base)
    again = Mimo.from_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["bases"].keys() == {"seg_encoder"}
    for a, b in zip(outputs(again), expected):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["llm", "image_encoder", "seg_encoder"])
def test_another_base_is_refused(tmp_path: Path, name: str) -> None:
    bases = checkpoints(tmp_path)
    folder = trained(bases).save_pretrained(tmp_path / "weights")
    base = Path(bases[name])
    [file] = [base] if base.is_file() else base.glob("*.safetensors")
    upstream.rewrite(file, lambda state: next(iter(state.values())).view(-1)[:1].add_(1))
    with pytest.raises(WeightsError, match=f"hash.*{name}=PATH") as error:
        Mimo.from_pretrained(folder)
    assert str(base) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["llm", "image_encoder", "seg_encoder"])
def test_a_base_that_was_moved(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bases = checkpoints(tmp_path)
    model = trained(bases)
    folder = model.save_pretrained(tmp_path / "weights")
    place = Path(bases[name]).rename(tmp_path / "elsewhere")
    assert main(["use", str(folder)]) == 2
    message = capsys.readouterr().err
    option = f"--{name.replace('_', '-')}"
    assert f"{bases[name]}: found no such file or folder" in message
    assert f"{option} PATH" in message
    monkeypatch.chdir(tmp_path)
    assert main(["use", str(folder), option, "elsewhere"]) == 0
    monkeypatch.chdir("/")
    for again in (Mimo.from_pretrained(folder, **{name: place}), Mimo.from_pretrained(tmp_path / "home" / "weights")):
        for a, b in zip(outputs(again), outputs(model)):
            torch.testing.assert_close(a, b)


def test_a_place_for_what_needs_none(nano_weights: Path) -> None:
    with pytest.raises(InputError, match="llm"):
        Mimo.from_pretrained(nano_weights, llm="somewhere")


def test_hash_is_of_the_tensors(tmp_path: Path) -> None:
    """The same for shards and pickles, another for another value, name or shape; remembered until a file changes."""
    model = upstream.language_model(tmp_path / "one")
    model.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    model.save_pretrained(tmp_path / "bin")
    upstream.as_bin(tmp_path / "bin", shards=2)
    first = base_hash(str(tmp_path / "one"))
    assert first == base_hash(str(tmp_path / "shards")) == base_hash(str(tmp_path / "bin"))
    lines = []
    for name, value in sorted(load_file(tmp_path / "one" / "model.safetensors").items()):
        values = hashlib.sha256(value.numpy().tobytes()).hexdigest()
        lines.append(f"{name} torch.float32 {list(value.shape)} {values}")
    assert first == hashlib.sha256("\n".join(lines).encode()).hexdigest()
    file = tmp_path / "one" / "model.safetensors"
    upstream.rewrite(file, lambda state: state["model.norm.weight"].add_(1e-3))
    assert base_hash(str(tmp_path / "one")) != first


def test_adapter_that_does_not_fit(tmp_path: Path) -> None:
    folder = trained(checkpoints(tmp_path)).save_pretrained(tmp_path / "weights")
    file = folder / "adapter" / "adapter_model.safetensors"
    for kind in ("missing", "unexpected", "shape"):
        kept = file.read_bytes()
        name = upstream.damage(file, kind, sorted(load_file(file))[0])
        with pytest.raises(WeightsError) as error:
            Mimo.from_pretrained(folder)
        assert name in str(error.value)
        file.write_bytes(kept)
    file.unlink()
    with pytest.raises(WeightsError, match=r"no language_model\..*(lora_A|trainable_tokens)"):
        Mimo.from_pretrained(folder)


def test_lora_of_an_llm_without_source(tmp_path: Path) -> None:
    """Its base is in the folder, its adapter beside it."""
    model = make_nano(lora={"rank": 2})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    folder = save_weights(model, tmp_path / "weights")
    assert (folder / "adapter" / "adapter_config.json").is_file()
    for a, b in zip(outputs(Mimo.from_pretrained(folder)), outputs(model)):
        torch.testing.assert_close(a, b)


def test_later_formats_are_refused(nano_weights: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(nano_weights, tmp_path / "weights"))
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**about, "format": 3}))
    with pytest.raises(WeightsError, match="format 3"):
        Mimo.from_pretrained(folder)


@pytest.mark.parametrize("folder", sorted(GOLDEN.iterdir()), ids=lambda folder: folder.name)
def test_weights_of_earlier_versions_load_and_answer_as_they_did(folder: Path) -> None:
    """A `nano` model of each format (that of format 1 with halved widths); expected.safetensors holds a batch and what the
    version that wrote it made of that."""
    model, expected = Mimo.from_pretrained(folder), load_file(folder / "expected.safetensors")
    given = {
        name.removeprefix("questions."): tensor for name, tensor in expected.items() if name.startswith("questions.")
    }
    none = torch.zeros(0, dtype=torch.long)  # what later models read besides
    maps = {"prompt_maps": torch.zeros(0, 5, 1, 1), "map_question": none, "prompt_object": none}
    maps |= {"shown_names": none, "seg_names": none, "asked": torch.full_like(given["instruction_ids"], -1)}
    batch = QuestionBatch(**{**maps, **given})
    with torch.no_grad():
        prediction = model(expected["images"], batch)
    for name in ("text_logits", "mask_logits", "scores"):
        torch.testing.assert_close(getattr(prediction, name), expected[name], atol=1e-4, rtol=1e-4)


def test_golden_weights_are_small() -> None:
    assert all(file.stat().st_size < 1_000_000 for file in GOLDEN.rglob("*"))
