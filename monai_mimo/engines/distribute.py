"""One model over several processes: replicated (DDP) or sharded (FSDP2), and what makes a large one fit."""

from __future__ import annotations

from collections.abc import Iterator

import ignite.distributed as idist
import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from ..errors import InputError
from ..models import Mimo

STRATEGIES = ("ddp", "fsdp")


def distribute(model: Mimo, strategy: str = "ddp") -> nn.Module:
    """The model as the trainer calls it in a distributed run.

    Args:
        model: on its device; all processes get the weights of the first.
        strategy: "ddp": each process holds the whole model, wrapped by `ignite.distributed`; "fsdp": each holds a part of
            every parameter, and the model itself is changed (`fully_shard`).

    Raises:
        InputError: there is no such strategy; a model in four bits is to be sharded.
    """
    if strategy not in STRATEGIES:
        raise InputError("strategy", repr(strategy), f"one of {', '.join(STRATEGIES)}")
    if strategy == "ddp" and idist.get_world_size() == 1:
        return model
    if strategy == "ddp":
        # Presets differ in which of SAM's parameters they read, so some may get no gradient.
        return idist.auto_model(model, find_unused_parameters=True)
    if any(not p.dtype.is_floating_point for p in model.parameters()):
        raise InputError("strategy", "fsdp with four_bit", "ddp, for every process holds the model in four bits")
    for tensor in model.state_dict().values():  # as DDP does by itself
        dist.broadcast(tensor, 0)
    mesh = init_device_mesh(idist.device().type, (idist.get_world_size(),))
    for block in large_blocks(model):
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def large_blocks(model: Mimo) -> Iterator[nn.Module]:
    """The layers of the language model and of the encoders, each of which is gathered when it is its turn. The rest of the
    model is small, and its weights are used outside of their own modules too."""
    for part in (model.language_model, model.image_encoder, model.segmentation_encoder):
        if part is not None:
            lists = [name for name, module in part.named_modules() if isinstance(module, nn.ModuleList)]
            for name in lists:
                if not any(name.startswith(f"{outer}.") for outer in lists):
                    yield from part.get_submodule(name)


class WholeWeights:
    """Gathers a sharded model for as long as an evaluator runs, since processes then generate answers of different lengths,
    each at its own pace. Nothing is done for a model that is not sharded."""

    def __init__(self, network: nn.Module) -> None:
        self.sharded = [m for m in network.modules() if isinstance(m, FSDPModule)]

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.gather)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.shard)

    def gather(self, _: Engine) -> None:
        for module in self.sharded:
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()

    def shard(self, _: Engine) -> None:
        for module in self.sharded:
            module.reshard()
            module.set_reshard_after_forward(not isinstance(module, Mimo), recurse=False)
