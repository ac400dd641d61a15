"""Reading tensors from files that other projects wrote, and saying plainly which of them do not fit."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import WeightsError

State = dict[str, Tensor]


def read_state(file: Path) -> State:
    """The tensors of a safetensors file, or of a pickled state dictionary, which is read without running any code.

    Raises:
        WeightsError: it is missing, damaged, or holds anything but named tensors.
    """
    if not file.is_file():
        raise WeightsError(file, "no such file", "a file of weights")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=_is_zip(file))
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise WeightsError(file, str(error).splitlines()[0], "a file of weights, safetensors or PyTorch") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(file, f"a {type(state).__name__}", "named tensors")
    return state


def _is_zip(file: Path) -> bool:
    """Whether PyTorch can map the file into memory: those of version 1.6 and later are zip archives."""
    with open(file, "rb") as stream:
        return stream.read(2) == b"PK"


def read_folder(folder: Path) -> State:
    """The tensors of a Hugging Face folder, whole or in shards.

    Raises:
        WeightsError: it has no weights, or they cannot be read.
    """
    state: State = {}
    for file in weight_files(folder):
        state.update(read_state(file))
    return state


def weight_files(source: Path) -> list[Path]:
    """The files that hold the weights of a checkpoint: itself if it is a file, else those of a Hugging Face folder or, where it
    has none, of OpenCLIP.

    Raises:
        WeightsError: there is none.
    """
    if source.is_file():
        return [source]
    for pattern in (
        "model*.safetensors",
        "pytorch_model*.bin",
        "open_clip_*.safetensors",
        "open_clip_pytorch_model.bin",
    ):
        files = sorted(source.glob(pattern))
        if files:
            return files
    found = "no weights in it" if source.is_dir() else "no such file or folder"
    raise WeightsError(source, found, "model.safetensors, its shards, or the same as .bin")


def names_in(source: Path) -> list[str]:
    """The names of the tensors of a checkpoint; of safetensors none is read for it."""
    names: list[str] = []
    for file in weight_files(source):
        if file.suffix == ".safetensors":
            try:
                with safe_open(file, "pt") as tensors:
                    names += tensors.keys()
            except SafetensorError as error:
                raise WeightsError(file, str(error), "a safetensors file") from error
        else:
            names += read_state(file)
    return names


def check_state(where: Path, state: Mapping[str, Tensor], expected: Mapping[str, Tensor | torch.Size]) -> None:
    """Compare the names and shapes of tensors with what is expected.

    Raises:
        WeightsError: a tensor is missing, unexpected or of another shape; it names the first such tensor.
    """
    shapes = {name: value.shape if isinstance(value, Tensor) else value for name, value in expected.items()}
    check_keys(where, shapes.keys() - state.keys(), state.keys() - shapes.keys())
    for name, shape in shapes.items():
        if state[name].shape != shape:
            raise WeightsError(where, f"{name} {list(state[name].shape)}", f"{list(shape)}")


def check_keys(where: Path, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    """Raises:
    WeightsError: a tensor is missing or unexpected.
    """
    missing, unexpected = sorted(missing), sorted(unexpected)
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise WeightsError(where, f"no {missing[0]}", f"it{others} beside the tensors that are there")
    if unexpected:
        others = f" and {len(unexpected) - 1} more" if len(unexpected) > 1 else ""
        raise WeightsError(where, f"{unexpected[0]}{others}", "no such tensor in this model")


def fill(module: nn.Module, where: Path, state: State) -> None:
    """Give `module`, which may be on the meta device, the tensors of `state` in float32.

    Raises:
        WeightsError: they are not those of the module.
    """
    check_state(where, state, module.state_dict())
    module.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
