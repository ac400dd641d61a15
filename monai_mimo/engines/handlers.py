"""Ignite handlers that MONAI lacks."""

from __future__ import annotations

import math
from pathlib import Path

import ignite.distributed as idist
from datasets import Dataset as Rows
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from torch import nn
from tqdm import tqdm

from ..errors import DataError
from ..models import Mimo
from ..models.weights import save_weights
from .state import gathered
from .time_budget import TimeBudget

OF_TIME = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} s{postfix}"


class GradientClip:
    """Clip the norm of all gradients after each backward pass."""

    def __init__(self, network: nn.Module, max_norm: float = 1.0) -> None:
        self.network, self.max_norm = network, max_norm

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)


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


class Progress:
    """One progress bar over the whole run of an engine, with the loss where there is one.

    Args:
        name: at its left.
        budget: count the seconds of this instead of steps.
    """

    def __init__(self, name: str, budget: TimeBudget | None = None) -> None:
        self.name, self.budget = name, budget

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)
        engine.add_event_handler(Events.COMPLETED, lambda _: self.bar.close())

    def start(self, engine: Engine) -> None:
        quiet, state = idist.get_rank() > 0, engine.state
        if self.budget is not None:
            total, done = round(self.budget.seconds), round(self.budget.spent)
            self.bar = tqdm(total=total, initial=done, desc=self.name, unit="s", bar_format=OF_TIME, disable=quiet)
            return
        total = state.max_epochs * state.epoch_length
        self.bar = tqdm(total=total, initial=state.iteration, desc=self.name, unit="step", disable=quiet)

    def step(self, engine: Engine) -> None:
        if "loss" in engine.state.output:
            self.bar.set_postfix(
                epoch=engine.state.epoch, loss=f"{engine.state.output['loss'].item():.3f}", refresh=False
            )
        if self.budget is None:
            self.bar.update()
        else:
            seconds = round(min(self.budget.spent, self.budget.seconds))
            self.bar.update(seconds - int(self.bar.n or 0))


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
