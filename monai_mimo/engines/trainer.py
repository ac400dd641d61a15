"""The training step: a global batch in micro-batches, over any number of processes, as if it were one batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ignite.distributed as idist
import torch
from monai.engines import IterationEvents, SupervisedTrainer
from monai.utils.enums import CommonKeys as Keys
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from ..data.dataset import Batch
from ..losses import Targets, count


class MimoTrainer(SupervisedTrainer):
    """One iteration is one step of the optimizer. It gets the micro-batches of this process (`data.steps`), and sums up their
    gradients; every part of the loss is a mean over the whole global batch, in whatever pieces it is computed.

    `engine.state.output` holds `loss`, of the global batch, and `parts`, its unweighted parts as numbers. Of MONAI's arguments
    `amp` means bfloat16, and `accumulation_steps` is not used.
    """

    def _iteration(self, engine: MimoTrainer, batchdata: list[Batch]) -> dict[str, Any]:
        network, loss_function, device = engine.network, engine.loss_function, engine.state.device
        counts = [count(Targets(b.questions.labels, b.masks, b.questions.presence)) for b in batchdata if b.counted]
        totals = torch.stack(counts).sum(dim=0) if counts else torch.zeros(5, dtype=torch.float64)
        totals = idist.all_reduce(totals.to(device))
        assert isinstance(totals, torch.Tensor)

        network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        parts: dict[str, torch.Tensor] = {}
        total = torch.zeros((), device=device)
        engine.state.output = {"rows": []}
        for number, batch in enumerate(batchdata):
            inputs, targets, args, kwargs = engine.prepare_batch(batch, device, engine.non_blocking, **engine.to_kwargs)
            with reducing(network, number == len(batchdata) - 1):
                with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=engine.amp):
                    prediction = network(inputs, *args, **kwargs)
                loss = loss_function(prediction, targets, totals) * float(batch.counted)
                engine.state.output = {Keys.LOSS: loss.detach(), "rows": batch.rows}
                engine.fire_event(IterationEvents.LOSS_COMPLETED)
                # Processes are averaged, but their losses are shares that add up.
                (loss * idist.get_world_size()).backward()
            total += loss.detach()
            for name, value in loss_function.parts.items():
                parts[name] = parts.get(name, 0) + value * float(batch.counted)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        engine.optimizer.step()
        engine.state.output = summed(total, parts, loss_function.weights)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output


def summed(loss: torch.Tensor, parts: dict[str, torch.Tensor], names: dict[str, float]) -> dict[str, Any]:
    """Shares of the loss and of its parts, summed over processes. A part that no process had is left out."""
    there = torch.tensor([float(name in parts) for name in names], device=loss.device)
    values = torch.stack([parts.get(name, torch.zeros_like(loss)).to(loss.dtype) for name in names])
    both = idist.all_reduce(torch.cat([loss[None], values, there]))
    assert isinstance(both, torch.Tensor)
    loss, values, there = both[0], both[1 : 1 + len(names)], both[1 + len(names) :]
    numbers = {name: value for name, value, n in zip(names, values.tolist(), there.tolist()) if n}
    return {Keys.LOSS: loss, "parts": numbers}


@contextmanager
def reducing(network: nn.Module, now: bool) -> Iterator[None]:
    """Gradients of the backward passes inside are reduced over processes, or, if not `now`, only summed up in this one."""
    if isinstance(network, FSDPModule):
        network.set_requires_gradient_sync(now)
        yield
    elif isinstance(network, DistributedDataParallel) and not now:
        with network.no_sync():
            yield
    else:
        yield
