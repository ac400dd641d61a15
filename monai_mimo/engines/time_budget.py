"""Training for a given time instead of a given number of steps, for machines whose pace is not known before."""

from __future__ import annotations

import math
import time

from ignite.engine import Engine, Events
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


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
