"""Ignite handlers that MONAI lacks."""

from __future__ import annotations

import math
from pathlib import Path

import ignite.distributed as idist
from datasets import Dataset as Rows
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from torch import nn

from ..errors import DataError
from ..models import Mimo
from ..models.weights import save_weights
from .state import gathered


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
