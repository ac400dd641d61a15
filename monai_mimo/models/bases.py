"""The frozen models that a trained one stands on: referenced by place and hash in its weights folder, not copied."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, WeightsError
from ..files import digest, write_json
from .checkpoint import read_state, weight_files
from .config import MimoConfig
from .default_weights import home
from .pretrained import PACKAGED, language_model_folder

# Under the names of the options that give their place: the part of the configuration, which is also that of the model.
BASE_PARTS = {"llm": "language_model", "image_encoder": "image_encoder", "seg_encoder": "segmentation_encoder"}


def frozen_bases(config: MimoConfig) -> dict[str, str]:
    """The source of each part that comes from a checkpoint and is not trained itself, by the names in `BASE_PARTS`."""
    sources = {}
    for name, part in BASE_PARTS.items():
        values = getattr(config, part)
        frozen = config.lora is not None if name == "llm" else values is not None and values.frozen
        if values is not None and values.source is not None and frozen:
            sources[name] = values.source
    return sources


def with_places(config: MimoConfig, places: dict[str, str | Path | None]) -> MimoConfig:
    """`config` with other sources for some of its `frozen_bases`.

    Raises:
        InputError: it has no such base.
    """
    for name, place in places.items():
        if place is None:
            continue
        if name not in frozen_bases(config):
            raise InputError(name, f"{place}", f"none: the weights hold that part of {config.preset} themselves")
        config = with_source(config, name, str(place) if place in PACKAGED else str(Path(place).resolve()))
    return config


def with_source(config: MimoConfig, name: str, source: str | None) -> MimoConfig:
    """`config` with the source of one of its `BASE_PARTS` replaced."""
    changes: dict[str, Any] = {BASE_PARTS[name]: replace(getattr(config, BASE_PARTS[name]), source=source)}
    return replace(config, **changes)


def describe_bases(config: MimoConfig) -> dict[str, dict[str, str]]:
    """Source and hash of each of the `frozen_bases`, for a weights folder."""
    return {name: {"source": source, "sha256": base_hash(source)} for name, source in frozen_bases(config).items()}


def check_bases(config: MimoConfig, written: dict[str, dict[str, str]], folder: Path) -> None:
    """Whether the frozen bases are there and are those that the weights in `folder` were trained on.

    Raises:
        WeightsError: one is missing or another.
    """
    for name, source in frozen_bases(config).items():
        expected = written[name]["sha256"]
        option = name.replace("_", "-")
        hint = f"; another place: `mimo use {folder} --{option} PATH`, or {name}=PATH of Mimo.from_pretrained"
        if source not in PACKAGED and not Path(source).exists():
            raise WeightsError(source, "no such file or folder", f"the {name} that {folder} was trained on{hint}")
        found = base_hash(source)
        if found != expected:
            wanted = f"the {name} that {folder} was trained on, {expected[:12]}{hint}"
            raise WeightsError(source, f"tensors with the hash {found[:12]}", wanted)


def base_hash(source: str) -> str:
    """The sha256 of the names, types, shapes and values of all tensors of a checkpoint, in the order of their names: the same
    for one file and for shards, for safetensors and for .bin. It is remembered until a file changes, since large models
    take minutes."""
    place = language_model_folder(source) if source in PACKAGED else Path(source)
    files = weight_files(place)
    key = json.dumps([[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files])
    memory = home() / "hashes.json"
    try:
        known = json.loads(memory.read_text())
    except (OSError, ValueError):
        known = {}
    if key not in known:
        known[key] = _digest(files)
        write_json(memory, known)
    return known[key]


def _digest(files: list[Path]) -> str:
    each: dict[str, str] = {}
    for file in files:
        for name, tensor in read_state(file).items():
            each[name] = f"{name} {tensor.dtype} {list(tensor.shape)} {_hash_values(tensor)}"
    return digest("\n".join(each[name] for name in sorted(each)))


def _hash_values(tensor: Tensor) -> str:
    values = tensor.contiguous().reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b""
    return digest(values)
