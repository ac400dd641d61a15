"""Ignite handlers that MONAI lacks: evaluation and saving as a run goes on, its history and pictures, and its budget of time."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from datasets import Dataset as Rows
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.tensorboard import SummaryWriter

from ..errors import DataError
from ..files import write_text
from ..models import Mimo
from ..models.weights import save_weights
from ..visualize import curves, overlay, phrase_colors
from .checkpoints import gathered


class GradientClip:
    """Clip the norm of all gradients after each backward pass; what it was before is `engine.state.gradient_norm`."""

    def __init__(self, network: nn.Module, max_norm: float = 1.0) -> None:
        self.network, self.max_norm = network, max_norm

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)
        engine.state.gradient_norm = norm.full_tensor() if isinstance(norm, DTensor) else norm


class NanGuard:
    """Stop when the loss is not finite, and name the samples of the batch."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        loss = engine.state.output["loss"].item()
        if not math.isfinite(loss):
            ids = [self.rows[number]["id"] for number in engine.state.output["rows"]]
            raise DataError(
                f"training step {engine.state.iteration}", f"a loss of {loss} for samples {ids}", "a finite one"
            )


class BestWeights:
    """Write the weights folder whenever validation is at its best; attach it to the evaluator.

    Args:
        network: whose weights.
        folder: where to; what stands there is replaced.
        latest: write it after each validation, not at the best alone: what was chosen on no images can be measured on
            all of them.
    """

    def __init__(self, network: Mimo, folder: str | Path, latest: bool = False) -> None:
        self.network, self.folder, self.best, self.latest = network, folder, -math.inf, latest

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        name = engine.state.key_metric_name
        value = engine.state.metrics[name]
        if self.latest or value > self.best:
            self.best = value
            state = gathered(self.network.state_dict())
            if idist.get_rank() == 0:
                save_weights(self.network, self.folder, state, validation={name: value})

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.best = state["best"]


class History:
    """Keeps the loss parts of each step and the metrics of each validation; attach it to the trainer.

    Args:
        folder: history.json and curves.png go there after each epoch.
        evaluator: whose `grounding` metric is kept.
    """

    def __init__(self, folder: str | Path, evaluator: Engine) -> None:
        self.folder, self.evaluator = Path(folder), evaluator
        self.values: dict[str, list[tuple[int, float]]] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)
        self.evaluator.add_event_handler(Events.COMPLETED, lambda evaluator: self.validated(engine, evaluator))
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def _add(self, name: str, step: int, value: float) -> None:
        self.values.setdefault(name, []).append((step, value))

    def step(self, engine: Engine) -> None:
        for name, value in engine.state.output["parts"].items():
            self._add(f"{name} loss", engine.state.iteration, value)

    def validated(self, engine: Engine, evaluator: Engine) -> None:
        overall = evaluator.state.metrics["grounding"]["overall"]
        for name in ("f1", "dice", "phrase_accuracy"):
            self._add(f"validation {name}".replace("_", " "), engine.state.iteration, overall[name])

    def write(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            write_text(self.folder / "history.json", json.dumps(self.values))
            curves(self.values, self.folder / "curves.png")

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.values = state["values"]


class TensorBoardOverlays:
    """Shows the first answers of each validation as images; attach it to the evaluator.

    Args:
        log_dir: of TensorBoard.
        count: how many images.
    """

    def __init__(self, log_dir: str | Path, count: int = 8) -> None:
        self.log_dir, self.count = str(log_dir), count

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), self)

    def __call__(self, engine: Engine) -> None:
        out, epoch = engine.state.output, engine.state.epoch
        with SummaryWriter(self.log_dir) as writer:
            for number, (row, text, entities) in enumerate(zip(out["rows"], out["texts"], out["entities"])):
                if number == self.count:
                    break
                picture = overlay(
                    np.asarray(row["image"].convert("RGB")),
                    [e.mask for e in entities],
                    phrase_colors(len(entities)),
                    row["points"],
                    row["boxes"],
                )
                tag = f"validation/{number}"
                writer.add_image(tag, picture, epoch, dataformats="HWC")
                writer.add_text(tag, f"{row['question']} -> {text}", epoch)


class TimeBudget:
    """The factor of a learning rate after the part of a time that is spent: linear warm-up, then cosine decay to zero.

    It is a callable object so that `LambdaLR` keeps `spent` in its state, and a resumed run goes on where it stopped. Attached
    to the trainer, it ends epoch and run with the step at which the time is over; the epoch's last handlers follow.

    Args:
        minutes: of wall clock, validation included.
        warmup: the part of them with a rising rate.
        hold: where the decay begins, as a part of the minutes; none: after the warm-up.
    """

    def __init__(self, minutes: float, warmup: float = 0.05, hold: float = 0.0) -> None:
        self.seconds, self.warmup, self.spent = 60 * minutes, warmup, 0.0
        self.hold = max(hold, warmup)
        self.seen: float | None = None

    def clock(self) -> float:
        """Seconds, of which only differences count."""
        return time.monotonic()

    def __call__(self, _: int) -> float:
        """The factor now; the time since the last call is taken as spent."""
        if self.seen is not None:
            now = self.clock()
            self.spent, self.seen = self.spent + now - self.seen, now
        part = min(1.0, self.spent / self.seconds)
        if part < self.warmup:
            return max(part / self.warmup, 0.02)
        if part < self.hold:
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (part - self.hold) / (1 - self.hold)))

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.end_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.stop)

    def start(self, engine: Engine) -> None:
        """Begin to count; what passed before, between two runs say, is not spent."""
        self.seen = self.clock()
        self.stop(engine)  # a run that has ended is started again

    def end_epoch(self, engine: Engine) -> None:
        """End the epoch if the time is over, however much of it is left."""
        if self.spent >= self.seconds:
            engine.terminate_epoch()

    def stop(self, engine: Engine) -> None:
        """End the run if the time is over."""
        self(0)  # what was done since the last step, such as a validation, took time too
        if self.spent >= self.seconds:
            engine.terminate()


def timed(optimizer: Optimizer, budget: TimeBudget) -> LambdaLR:
    """The schedule of an optimizer by a time budget."""
    return LambdaLR(optimizer, [budget] * len(optimizer.param_groups))
