"""A training run from its first step, or from its last checkpoint, to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .checkpoints import Checkpoints, say
from .trainer import MimoTrainer


def run_training(trainer: MimoTrainer, checkpoints: Checkpoints, parts: Mapping[str, Any]) -> None:
    """Run `trainer`, on from the last checkpoint where there is one; a run that has ended is left as it is.

    Args:
        parts: all that changes as the trainer runs and has a state: model, optimizer, schedule, ...
    """
    if checkpoints.stopped:  # while the texts were read
        return
    step = checkpoints.go_on(trainer, "training", parts)
    if step == trainer.state.max_epochs * trainer.state.epoch_length:
        checkpoints.end()
        say("training ended at step %d before; remove %s to train anew", step, checkpoints.folder)
        return
    trainer.data_loader.start_at(step)
    checkpoints.watch(trainer, "training", parts)
    with checkpoints.obeying():
        trainer.run()
    if not checkpoints.stopped:
        checkpoints.end()
