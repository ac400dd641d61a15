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
from transformers.utils import logging

from ..data.tokenizer import add_special_tokens
from ..errors import WeightsError
from .checkpoint import check_keys, names_in

# Models that a Python package carries: the function, of a module of this package, that gives their Hugging Face folder.
PACKAGED = {"smollm2-135m-instruct": ("smollm2", "smollm2_folder")}

BUFFERS = (".rotary_emb.inv_freq", "position_ids", ".masked_bias")  # that older versions of transformers stored


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
    return architecture(read_hugging_face_config(language_model_folder(source)))


def read_hugging_face_config(folder: Path) -> PreTrainedConfig:
    """The config.json of a Hugging Face folder.

    Raises:
        WeightsError: there is none, or of a model that `transformers` does not know.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise WeightsError(folder, "no config.json" if folder.is_dir() else "no such folder", "a Hugging Face folder")
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(file, str(error).splitlines()[0], "a model that transformers knows") from error


def architecture(config: PreTrainedConfig) -> dict[str, Any]:
    """What of a `transformers` configuration differs from the defaults of its `model_type` and decides what is computed."""
    values = config.to_diff_dict()
    about = ("transformers_version", "architectures", "dtype", "torch_dtype", "_name_or_path", "use_cache")
    ids = [name for name in values if name.endswith("_token_id")]
    return {name: value for name, value in values.items() if name not in (*about, *ids)}


def load_language_model(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Read a causal language model, whole or in shards, safetensors or .bin.

    Raises:
        WeightsError: a file is damaged, or a tensor is missing, unexpected or wrongly shaped.
    """
    return load_checked(AutoModelForCausalLM, folder, dtype)


def load_checked(kind: Any, folder: Path, dtype: torch.dtype, ignored: tuple[str, ...] = (), **options: Any) -> Any:
    """Read a model of the class `kind` of `transformers`, which itself only warns of tensors that do not fit.

    Args:
        ignored: how the names of tensors begin or end that may be there without being used.

    Raises:
        WeightsError: see `load_language_model`.
    """
    names_in(folder)  # a damaged file is told as such
    verbosity = logging.get_verbosity()
    logging.set_verbosity(
        logging.CRITICAL
    )  # what it would warn of is raised here, or belongs to parts that are not used
    try:
        model, info = kind.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(folder, str(error).splitlines()[0], "a model that transformers can read") from error
    finally:
        logging.set_verbosity(verbosity)
    ignored = (*ignored, *BUFFERS)
    unexpected = (
        name for name in info["unexpected_keys"] if not name.startswith(ignored) and not name.endswith(ignored)
    )
    check_keys(folder, info["missing_keys"], unexpected)
    for name, found, expected in sorted(info["mismatched_keys"]):
        raise WeightsError(folder, f"{name} {list(found)}", f"{list(expected)}")
    return model


def pretrained_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of the language model at `source`, with MIMO's tokens, and with a padding token if it had none."""
    folder = language_model_folder(source)
    # What tokenizer.json says is taken as it stands; older files are converted by the tokenizer's own class.
    loader = PreTrainedTokenizerFast if (folder / "tokenizer.json").is_file() else AutoTokenizer
    tokenizer = loader.from_pretrained(folder, local_files_only=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return add_special_tokens(tokenizer)
