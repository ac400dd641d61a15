"""What the stages of a run have in common: a step down a gradient, and a run that is watched, stopped and resumed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from datasets import Dataset as Rows
from ignite.engine import Engine
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..calibration.domain import DOMAIN
from ..calibration.fit import calibrate
from ..models import Mimo
from .checkpoints import Checkpoints, log_rank_zero
from .handlers import TimeBudget
from .trainer import MimoTrainer

EPOCH = 20  # steps between two checkpoints of a stage that its time ends
ENDLESS = 10**6  # more epochs than there will be


def train_step(optimizer: Optimizer, schedule: LRScheduler, losses: Iterable[Tensor]) -> dict[str, Tensor]:
    """One step down the sum of the gradients of `losses`, each computed when it is its turn, clipped to norm 1.

    Returns:
        the mean of the losses, as an engine's output.
    """
    optimizer.zero_grad()
    values = []
    for loss in losses:
        loss.backward()
        values.append(loss.detach())
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()
    schedule.step()
    return {"loss": torch.stack(values).mean()}


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
