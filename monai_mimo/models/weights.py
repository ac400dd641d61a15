"""A weights folder: config.json, model.safetensors and tokenizer/, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from .. import __version__
from ..errors import WeightsError
from .config import MimoConfig
from .mimo import Mimo

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer"


def home() -> Path:
    """Where the package keeps what outlives a run: `$MIMO_HOME`, or ~/.cache/monai-mimo."""
    return Path(os.environ.get("MIMO_HOME", Path.home() / ".cache" / "monai-mimo"))


def default_weights_dir() -> Path:
    """The weights that are used when none are named."""
    return home() / "weights"


def save_weights(model: Mimo, folder: Path | str, **notes: Any) -> Path:
    """Write `model` to `folder`, in place of what stands there; `notes` go into its config.json."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        new = Path(temporary) / folder.name
        new.mkdir()
        about = {"format": 1, "version": __version__, "config": model.config.to_dict(), **notes}
        (new / CONFIG).write_text(json.dumps(about, indent=2))
        # Tied tensors are stored once, under the first of their names.
        state, seen = {}, set()
        for name, tensor in model.state_dict().items():
            if tensor.data_ptr() not in seen or tensor.numel() == 0:
                seen.add(tensor.data_ptr())
                state[name] = tensor.contiguous()
        save_file(state, new / WEIGHTS)
        model.tokenizer.save_pretrained(new / TOKENIZER)
        replace_folder(new, folder)
    return folder


def replace_folder(new: Path, folder: Path) -> None:
    """Put the finished folder `new`, on the same file system, in the place of `folder`."""
    if folder.exists():
        old = new.with_name("old")
        folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old)
    else:
        new.rename(folder)


def load_weights(folder: Path | str) -> Mimo:
    """Read a model written by `save_weights`, in evaluation mode.

    Raises:
        WeightsError: the folder is none, or its parts do not fit together.
    """
    folder = Path(folder)
    for part in (CONFIG, WEIGHTS, TOKENIZER):
        if not (folder / part).exists():
            raise WeightsError(folder, f"no {part}", "a weights folder, as `make train` writes one")
    try:
        config = MimoConfig.from_dict(json.loads((folder / CONFIG).read_text())["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            folder / CONFIG, f"{type(error).__name__}: {error}", "the configuration of a model"
        ) from error
    try:
        state = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise WeightsError(folder / WEIGHTS, str(error), "a safetensors file") from error
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / TOKENIZER)
    model = Mimo(without_pretrained(config), tokenizer)
    model.config = config
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name, tensor in state.items():
        if name not in expected or expected[name] != tensor.shape:
            shape = list(expected[name]) if name in expected else "no such tensor"
            raise WeightsError(folder / WEIGHTS, f"{name} {list(tensor.shape)}", f"{shape} for preset {config.preset}")
    missing = set(model.load_state_dict(state, strict=False).missing_keys)
    pointers = {t.data_ptr() for n, t in model.state_dict().items() if n not in missing}
    missing = {n for n, t in model.state_dict().items() if n in missing and t.data_ptr() not in pointers}
    if missing:
        raise WeightsError(folder / WEIGHTS, f"no {sorted(missing)[0]}", f"all tensors of preset {config.preset}")
    return model.eval()


def without_pretrained(config: MimoConfig) -> MimoConfig:
    """The same sizes, but nothing read from packages: the weights folder holds it all."""
    values = config.to_dict()
    for encoder in ("image_encoder", "segmentation_encoder"):
        if values[encoder] is not None:
            values[encoder]["pretrained"] = False
    return MimoConfig.from_dict(values)


def fingerprint(folder: Path | str) -> str:
    """The first 12 hex digits of the sha256 of the weights, to name them in results."""
    digest = hashlib.sha256()
    with open(Path(folder) / WEIGHTS, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()[:12]


def parameter_counts(model: torch.nn.Module) -> tuple[int, int]:
    """(all, trainable) parameters."""
    counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in counts), sum(n for n, trainable in counts if trainable)
