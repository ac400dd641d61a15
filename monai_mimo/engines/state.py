"""What a checkpoint holds of each part of a run, whole even where it is sharded over processes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only


class TrainedParts:
    """The parameters of a model that are trained, and its buffers. What is frozen comes from where it came from before."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def _tensors(self) -> dict[str, Tensor]:
        parameters = dict(self.network.named_parameters())
        trained = {name: p for name, p in parameters.items() if p.requires_grad}
        persistent = self.network.state_dict().keys()
        buffers = {name: b for name, b in self.network.named_buffers() if name in persistent}
        return {**trained, **buffers}

    def state_dict(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in self._tensors().items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in self._tensors().items():
            tensor.copy_(_like(state[name], tensor))


class GeneratorState:
    """The state of one of numpy's generators."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        return dict(self.generator.bit_generator.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.bit_generator.state = state


class RandomState:
    """The states of all random generators."""

    def state_dict(self) -> dict[str, Any]:
        numpy: dict[str, Any] = dict(np.random.get_state(legacy=False))  # type: ignore[call-overload]  # noqa: NPY002
        key = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
        return {
            "python": random.getstate(),
            "numpy": {**numpy, "state": {**numpy["state"], "key": key}},
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        random.setstate(state["python"])
        numpy = state["numpy"]
        key = numpy["state"]["key"].numpy().astype(np.uint32)
        np.random.set_state({**numpy, "state": {**numpy["state"], "key": key}})  # noqa: NPY002
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda"])

    @classmethod
    def of_all_processes(cls) -> list[dict[str, Any]]:
        """One state for each process; all must call it."""
        own = cls().state_dict()
        states = [own] * idist.get_world_size()
        if len(states) > 1:
            dist.all_gather_object(states, own)
        return states

    @classmethod
    def restore(cls, states: list[dict[str, Any]]) -> None:
        """The state of this process; with another number of processes than before, generators stay as they are."""
        if len(states) == idist.get_world_size():
            cls().load_state_dict(states[idist.get_rank()])


def gathered(state: Any) -> Any:
    """A state with whole tensors on the CPU; all processes must call it."""

    def whole(tensor: Tensor) -> Tensor:
        return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()

    return tree_map_only(Tensor, whole, state)


def load_state(part: Any, state: Any) -> None:
    """Load a state that `gathered` made into a part that may be sharded."""
    if isinstance(part, Optimizer):
        parameters = [p for group in part.param_groups for p in group["params"]]
        moments = {
            number: {
                k: _like(v, parameters[number]) if _is_moment(v, parameters[number]) else v for k, v in own.items()
            }
            for number, own in state["state"].items()
        }
        state = {**state, "state": moments}
    part.load_state_dict(state)


def _is_moment(value: Any, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and value.shape == parameter.shape


def _like(whole: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor, sharded as `parameter` is."""
    if isinstance(parameter, DTensor):
        return distribute_tensor(whole.to(parameter.device), parameter.device_mesh, parameter.placements)
    return whole
