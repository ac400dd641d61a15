"""What the stages of a run have in common: a step down a gradient, and a run that is watched, stopped and resumed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from datasets import Dataset as Rows
from ignite.engine import Engine
from monai.engines import IterationEvents, SupervisedTrainer
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..calibration.domain import DOMAIN
from ..calibration.fit import calibrate
from ..data.dataset import Batch
from ..losses import Targets, loss_counts
from ..models import Mimo
from .checkpoints import Checkpoints, log_rank_zero
from .handlers import TimeBudget
from .scalars import ScalarLog


class MimoTrainer(SupervisedTrainer):
    """One iteration is one step of the optimizer. It gets the micro-batches of this process (`data.steps`), and sums up their
    gradients; every part of the loss is a mean over the whole global batch, in whatever pieces it is computed.

    `engine.state.output` holds `loss`, of the global batch, and `parts`, its unweighted parts as numbers. Of MONAI's arguments
    `amp` means bfloat16, and `accumulation_steps` is not used.
    """

    def _iteration(self, engine: MimoTrainer, batchdata: list[Batch]) -> dict[str, Any]:
        network, loss_function, device = engine.network, engine.loss_function, engine.state.device
        counts = [
            loss_counts(Targets(b.questions.labels, b.masks, b.questions.presence)) for b in batchdata if b.counted
        ]
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


EPOCH = 20  # steps between two checkpoints of a stage that its time ends
ENDLESS = 10**6  # more epochs than there will be


def train_step(optimizer: Optimizer, schedule: LRScheduler, losses: Iterable[Tensor]) -> dict[str, Tensor]:
    """One step down the sum of the gradients of `losses`, each computed when it is its turn, clipped to norm 1.

    Returns:
        the mean of the losses, and the norm of the gradient before, as an engine's output.
    """
    optimizer.zero_grad()
    values = []
    for loss in losses:
        loss.backward()
        values.append(loss.detach())
    norm = nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()
    schedule.step()
    return {"loss": torch.stack(values).mean(), "gradient_norm": norm}


def run_stage(
    engine: Engine,
    stage: str,
    data: Iterable,
    parts: Mapping[str, Any],
    checkpoints: Checkpoints | None = None,
    *,
    budget: TimeBudget | None = None,
    steps: int = 0,
) -> None:
    """Run an engine until its time is over, or for so many steps; on from its last checkpoint, where there is one.

    Args:
        stage: of `checkpoints.STAGES`.
        data: of the steps.
        parts: all that changes as the engine runs and has a state.
        budget: of time; `steps` count where there is none.
    """
    if budget is not None:
        budget.attach(engine)
    done = 0
    if checkpoints is not None:
        done = checkpoints.resume(engine, stage, parts)
        if budget is None and done == steps:
            return
        if idist.get_rank() == 0:
            ScalarLog(checkpoints.folder.parent, parts.get("optimizer"), stage=stage, every=10).attach(engine)
        checkpoints.watch(engine, stage, parts)
    if hasattr(data, "start_at"):
        data.start_at(done)
    epochs, length = (1, steps) if budget is None else (ENDLESS, EPOCH)
    with checkpoints.handle_sigterm() if checkpoints is not None else nullcontext():
        engine.run(data, max_epochs=epochs, epoch_length=length)


def run_training(trainer: MimoTrainer, checkpoints: Checkpoints, parts: Mapping[str, Any]) -> None:
    """Run `trainer`, on from the last checkpoint where there is one; a run that has ended is left as it is.

    Args:
        parts: all that changes as the trainer runs and has a state: model, optimizer, schedule, ...
    """
    if checkpoints.stopped:  # while the texts were read
        return
    step = checkpoints.resume(trainer, "training", parts)
    if step == trainer.state.max_epochs * trainer.state.epoch_length:
        checkpoints.end()
        log_rank_zero("training ended at step %d before; remove %s to train anew", step, checkpoints.folder)
        return
    trainer.data_loader.start_at(step)
    checkpoints.watch(trainer, "training", parts)
    with checkpoints.handle_sigterm():
        trainer.run()
    if not checkpoints.stopped:
        checkpoints.end()


def calibrate_at_end(
    weights: str | Path, train: Rows, held_out: Rows, checkpoints: Checkpoints, device: str | torch.device = "cpu"
) -> None:
    """Calibrate the weights that a run has left, once it has ended (`calibration.fit.calibrate`). All processes must call it.

    Args:
        train, held_out: rows that were trained on, and the validation rows.
    """
    weights = Path(weights)
    if checkpoints.stopped or not weights.exists() or (weights / DOMAIN).exists():
        return
    calibration = calibrate(Mimo.from_pretrained(weights).to(device), train, held_out)
    if idist.get_rank() == 0:
        calibration.save(weights, "the validation questions of the training")
