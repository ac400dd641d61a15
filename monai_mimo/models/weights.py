"""A weights folder, written as an atomic folder.

config.json          the model's configuration, the versions that wrote it, source and hash of the frozen models it stands on
model.safetensors    all tensors but those of the frozen models and of the adapter
adapter/             with LoRA: the adapter of the language model as `peft` writes and reads it
tokenizer/           with MIMO's tokens
training_data.json   the data sets that they learned from, with their licences
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from typing_extensions import Self

from .. import __version__
from ..errors import WeightsError
from ..files import atomic_folder, file_digest, write_json
from .bases import BASE_PARTS, check_bases, describe_bases, frozen_bases, with_places, with_source
from .checkpoint import check_state, read_state
from .config import MimoConfig
from .default_weights import find_weights
from .training_data import TrainingData

CONFIG, WEIGHTS, ADAPTER, TOKENIZER = "config.json", "model.safetensors", "adapter", "tokenizer"
ADAPTER_WEIGHTS = f"{ADAPTER}/adapter_model.safetensors"
UNUSED = "presence.classify."  # of weights from before regions told which names are there
FORMAT = 2  # 1 had no adapter/: all tensors were in model.safetensors; it is read too


class SavedModel(nn.Module):
    """What of `Mimo` reads and writes weights folders."""

    config: MimoConfig
    tokenizer: PreTrainedTokenizerBase
    language_model: Any
    training_data: TrainingData | None = None  # none: not told, as of a model that has not been trained

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path | None = None,
        *,
        llm: str | Path | None = None,
        image_encoder: str | Path | None = None,
        seg_encoder: str | Path | None = None,
    ) -> Self:
        """Read what `save_pretrained` wrote, in evaluation mode.

        Args:
            weights: a folder, a name such as "lite", OWNER/NAME on the Hugging Face Hub, or none: the default (`find_weights`).
            llm, image_encoder, seg_encoder: where the frozen models are that it was trained on, if not where they were then.

        Raises:
            WeightsError: there is no such folder, its parts do not fit together, or a frozen model is missing or another.
        """
        folder = find_weights(weights)
        for part in (CONFIG, WEIGHTS, TOKENIZER):
            if not (folder / part).exists():
                raise WeightsError(folder, f"no {part}", "a weights folder, as `make train` writes one")
        config, bases = read_config(folder)
        config = with_places(config, {"llm": llm, "image_encoder": image_encoder, "seg_encoder": seg_encoder})
        state = read_state(folder / WEIGHTS)
        check_bases(config, bases, folder)
        model = cls(without_pretrained(config), PreTrainedTokenizerFast.from_pretrained(folder / TOKENIZER))
        model.config, model.training_data = config, TrainingData.load(folder)
        adapter_apart = (folder / ADAPTER_WEIGHTS).exists()
        if adapter_apart:
            from peft import get_peft_model_state_dict, set_peft_model_state_dict  # slow to import

            adapter = read_state(folder / ADAPTER_WEIGHTS)
            # Without the embeddings, which `peft` counts in by itself where tokens were added.
            expected_adapter = get_peft_model_state_dict(model.language_model.model, save_embedding_layers=False)
            check_state(folder / ADAPTER_WEIGHTS, adapter, expected_adapter)
            set_peft_model_state_dict(model.language_model.model, adapter)
        shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
        if not any(name.startswith(UNUSED) for name in shapes):
            state = {name: tensor for name, tensor in state.items() if not name.startswith(UNUSED)}
        for name, tensor in state.items():
            if name not in shapes or shapes[name] != tensor.shape:
                shape = list(shapes[name]) if name in shapes else "no such tensor"
                raise WeightsError(
                    folder / WEIGHTS, f"{name} {list(tensor.shape)}", f"{shape} for preset {config.preset}"
                )
        missing = set(model.load_state_dict(state, strict=False).missing_keys)
        pointers = {t.data_ptr() for n, t in model.state_dict().items() if n not in missing}
        missing = {n for n, t in model.state_dict().items() if n in missing and t.data_ptr() not in pointers}
        missing = {n for n in missing if not _of_base(n, config) and not (adapter_apart and _of_adapter(n))}
        if missing:
            raise WeightsError(folder / WEIGHTS, f"no {sorted(missing)[0]}", f"all tensors of preset {config.preset}")
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write a weights folder: what is trained, a plain PEFT adapter with LoRA, the tokenizer, and by hash the frozen models
        that it stands on."""
        return save_weights(self, folder)

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool = True,
        token: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> str:
        """Upload what `save_pretrained` writes to OWNER/NAME on the Hugging Face Hub; see `hub.upload`, which takes whole folders
        with their calibration."""
        from .hub import upload

        with tempfile.TemporaryDirectory() as folder:
            weights = save_weights(self, Path(folder) / "weights")
            return upload(weights, repository, private=private, token=token, facts=facts)


def save_weights(
    model: SavedModel, folder: Path | str, state: Mapping[str, Tensor] | None = None, **notes: Any
) -> Path:
    """Write `model` to `folder`, in place of what stands there.

    Args:
        state: its state dictionary, where `model.state_dict()` does not hold all of it (a model in shards).
        notes: go into config.json.
    """
    folder = Path(folder)
    state = model.state_dict() if state is None else state
    with atomic_folder(folder, replace=True) as new:
        about = {
            "format": FORMAT,
            "version": __version__,
            "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
            "config": model.config.to_dict(),
            "bases": describe_bases(model.config),
            **notes,
        }
        (new / CONFIG).write_text(json.dumps(about, indent=2))
        # Tied tensors are stored once, under the first of their names.
        own, seen = {}, set()
        for name, tensor in state.items():
            if _of_adapter(name) or _of_base(name, model.config):
                continue
            if tensor.data_ptr() not in seen or tensor.numel() == 0:
                seen.add(tensor.data_ptr())
                own[name] = tensor.contiguous()
        save_file(own, new / WEIGHTS)
        if model.config.lora is not None:
            save_adapter(model, state, new / ADAPTER)
        model.tokenizer.save_pretrained(new / TOKENIZER)
        if model.training_data is not None:
            model.training_data.save(new)
    return folder


def _of_adapter(name: str) -> bool:
    """Whether a tensor of the model is one of its adapter."""
    return name.startswith("language_model.") and (".lora_" in name or ".trainable_tokens_delta" in name)


def _of_base(name: str, config: MimoConfig) -> bool:
    """Whether a tensor of the model is one of a frozen base."""
    return not _of_adapter(name) and any(name.startswith(f"{BASE_PARTS[base]}.") for base in frozen_bases(config))


def save_adapter(model: SavedModel, state: Mapping[str, Tensor], folder: Path) -> None:
    """Write the LoRA layers and the rows of MIMO's tokens as `peft` does, without asking the network for anything."""
    peft_model = model.language_model.model
    prefix = "language_model.model."
    mine = {name.removeprefix(prefix): value for name, value in state.items() if _of_adapter(name)}
    peft_model.peft_config["default"].base_model_name_or_path = model.config.language_model.source
    peft_model.save_pretrained(str(folder), state_dict=mine, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # an empty form
    (folder / "adapter_model.safetensors").chmod((folder / "adapter_config.json").stat().st_mode)


def read_config(folder: Path) -> tuple[MimoConfig, dict[str, dict[str, str]]]:
    """The configuration in a weights folder, and source and hash of its frozen bases.

    Raises:
        WeightsError: it is damaged, or written by a later version.
    """
    file = folder / CONFIG
    try:
        about = json.loads(file.read_text())
        if about["format"] > FORMAT:
            raise WeightsError(file, f"format {about['format']}", f"at most {FORMAT}; a later monai-mimo reads it")
        config, bases = MimoConfig.from_dict(about["config"]), about.get("bases", {})
        if not isinstance(bases, dict) or bases.keys() != frozen_bases(config).keys():
            raise WeightsError(file, f"hashes of {sorted(bases)}", f"those of {sorted(frozen_bases(config))}")
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(file, f"{type(error).__name__}: {error}", "the configuration of a model") from error
    return config, bases


def move_bases(folder: Path, **places: str | Path | None) -> None:
    """Write into the config.json of `folder` where its frozen bases are now."""
    config, bases = read_config(folder)
    about = json.loads((folder / CONFIG).read_text())
    config = with_places(config, places)
    about["config"] = config.to_dict()
    about["bases"] = {name: {**bases[name], "source": source} for name, source in frozen_bases(config).items()}
    write_json(folder / CONFIG, about, indent=2)


def without_pretrained(config: MimoConfig) -> MimoConfig:
    """The same sizes, but nothing read from checkpoints except the frozen bases: the weights folder holds the rest."""
    for name, part in BASE_PARTS.items():
        if getattr(config, part) is not None and name not in frozen_bases(config):
            config = with_source(config, name, None)
    values = config.to_dict()
    for encoder in ("image_encoder", "segmentation_encoder"):
        if values[encoder] is not None:
            values[encoder]["pretrained"] = False
    return MimoConfig.from_dict(values)


def merge_adapter(model: SavedModel) -> SavedModel:
    """Put the LoRA layers and the rows of MIMO's tokens into the language model itself, in place; it then needs no base, and is
    in float32, since half-precision weights would round away part of what was added.

    Raises:
        WeightsError: the model has no adapter.
    """
    if model.config.lora is None:
        raise WeightsError(f"preset {model.config.preset}", "no adapter", "a model trained with LoRA")
    model.language_model.model = model.language_model.model.float().merge_and_unload()
    language_model = replace(model.config.language_model, source=None, dtype="float32")
    model.config = replace(model.config, language_model=language_model, lora=None)
    return model


def fingerprint(folder: Path | str) -> str:
    """The first 12 hex digits of the sha256 of the weights, to name them in results."""
    files = [Path(folder) / name for name in (WEIGHTS, ADAPTER_WEIGHTS)]
    return file_digest(*(file for file in files if file.exists()))[:12]


def parameter_counts(model: torch.nn.Module) -> tuple[int, int]:
    """(all, trainable) parameters."""
    counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in counts), sum(n for n, trainable in counts if trainable)
