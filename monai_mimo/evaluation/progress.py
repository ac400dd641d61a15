"""A progress bar over the run of an engine, of training and of evaluation alike, that says when the run will end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Protocol

import ignite.distributed as idist
from ignite.engine import Engine, Events
from tqdm import tqdm

OF_TIME = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} s{postfix}"


class Budget(Protocol):
    """What is known of a time budget: seconds in all, and those spent."""

    seconds: float
    spent: float


class Progress:
    """One progress bar over the whole run of an engine, with the loss where there is one, and the time of day at which it ends at
    this pace.

    Args:
        name: at its left.
        budget: count the seconds of this instead of steps.
    """

    def __init__(self, name: str, budget: Budget | None = None) -> None:
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
        shown: dict[str, Any] = {}
        if "loss" in engine.state.output:
            shown = {"epoch": engine.state.epoch, "loss": f"{engine.state.output['loss'].item():.3f}"}
        if (left := self.seconds_left()) is not None:
            shown["ends"] = f"{datetime.now() + timedelta(seconds=left):%a %H:%M}"
        self.bar.set_postfix(shown, refresh=False)
        if self.budget is None:
            self.bar.update()
        else:
            seconds = round(min(self.budget.spent, self.budget.seconds))
            self.bar.update(seconds - int(self.bar.n or 0))

    def seconds_left(self) -> float | None:
        """Until the end, as far as it can be told: of a budget what is not spent, else by the pace of this run."""
        if self.budget is not None:
            return max(0.0, self.budget.seconds - self.budget.spent)
        about = self.bar.format_dict
        done = about["n"] + 1 - about["initial"]  # with the step that is ending
        return (about["total"] - about["n"] - 1) * about["elapsed"] / done if done > 0 else None
