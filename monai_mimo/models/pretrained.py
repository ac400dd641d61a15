"""Pretrained language models and their tokenizers, from Hugging Face folders and from packages."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from ..data.tokenizer import add_special_tokens
from ..errors import WeightsError

# Models that a Python package carries: the function, of a module of this package, that gives their Hugging Face folder.
PACKAGED = {"smollm2-135m-instruct": ("smollm2", "smollm2_folder")}


def language_model_folder(source: str | Path) -> Path:
    """The Hugging Face folder of `LanguageModelConfig.source`.

    Raises:
        WeightsError: it is neither a folder with a config.json nor a name in `PACKAGED`.
    """
    if source in PACKAGED:
        module, function = PACKAGED[str(source)]
        return getattr(import_module(f".{module}", __package__), function)()
    folder = Path(source)
    if not (folder / "config.json").is_file():
        found = "no config.json" if folder.is_dir() else "no such folder"
        raise WeightsError(folder, found, f"a Hugging Face folder of a language model, or one of {', '.join(PACKAGED)}")
    return folder


def language_model_architecture(source: str | Path) -> dict[str, Any]:
    """The `LanguageModelConfig.architecture` of the model at `source`."""
    return architecture(AutoConfig.from_pretrained(language_model_folder(source), local_files_only=True))


def architecture(config: PreTrainedConfig) -> dict[str, Any]:
    """What of a `transformers` configuration differs from the defaults of its `model_type` and decides what is computed."""
    values = config.to_diff_dict()
    about = ("transformers_version", "architectures", "dtype", "torch_dtype", "_name_or_path", "use_cache")
    ids = [name for name in values if name.endswith("_token_id")]
    return {name: value for name, value in values.items() if name not in (*about, *ids)}


def load_language_model(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Read a causal language model."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)


def pretrained_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of the language model at `source`, with MIMO's tokens, and with a padding token if it had none."""
    folder = language_model_folder(source)
    # What tokenizer.json says is taken as it stands; older files are converted by the tokenizer's own class.
    loader = PreTrainedTokenizerFast if (folder / "tokenizer.json").is_file() else AutoTokenizer
    tokenizer = loader.from_pretrained(folder, local_files_only=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return add_special_tokens(tokenizer)
