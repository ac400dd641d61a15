"""A time budget follows the clock, not the steps, and does not count the time between two runs."""

from __future__ import annotations

import math

import pytest
import torch
from ignite.engine import Engine, Events

from monai_mimo.engines import TimeBudget, timed


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("monai_mimo.engines.handlers.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_rate_rises_and_falls_with_the_time_spent(clock: Clock) -> None:
    budget = TimeBudget(minutes=10, warmup=0.1)
    budget.start(Engine(lambda *_: None))
    expected = {0: 0.02, 30: 0.5, 60: 1.0, 330: 0.5, 600: 0.0, 700: 0.0}
    for seconds, factor in expected.items():
        clock.now = 1000.0 + seconds
        assert budget(123) == pytest.approx(factor, abs=1e-9), seconds
    quarter = TimeBudget(minutes=10, warmup=0.1)
    quarter.spent = 195.0
    assert quarter(0) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_run_ends_when_the_time_is_over(clock: Clock) -> None:
    budget, steps, ended = TimeBudget(minutes=1), [], []

    def step(engine: Engine, _: object) -> None:
        steps.append(engine.state.iteration)
        clock.now += 7
        budget(0)

    engine = Engine(step)
    budget.attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: ended.append(engine.state.epoch))
    engine.run(range(4), max_epochs=1000)
    assert len(steps) == 9  # 63 s, in the third epoch
    assert ended == [1, 2, 3]  # and that epoch's last handlers were called


def test_what_is_spent_outlives_a_checkpoint_and_a_break_does_not_count(clock: Clock) -> None:
    def make() -> tuple[TimeBudget, torch.optim.lr_scheduler.LambdaLR]:
        budget = TimeBudget(minutes=10)
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        return budget, timed(optimizer, budget)

    budget, schedule = make()
    budget.start(Engine(lambda *_: None))
    clock.now += 200
    schedule.step()
    state = schedule.state_dict()
    clock.now += 5000
    again, resumed = make()
    resumed.load_state_dict(state)
    again.start(Engine(lambda *_: None))
    clock.now += 10
    resumed.step()
    assert again.spent == pytest.approx(210)
