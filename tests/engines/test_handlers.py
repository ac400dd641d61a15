"""Handlers alone, on engines that do nothing else."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events

from monai_mimo.engines import BestWeights, GradientClip, NanGuard, RandomState, TimeBudget, adam, timed, warmup_cosine
from monai_mimo.errors import DataError
from monai_mimo.models import Mimo

from ..conftest import make_nano


def test_gradients_are_clipped_over_all_parameters() -> None:
    network = torch.nn.Linear(4, 4)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    GradientClip(network, 1.0)(Engine(lambda *_: None))
    norm = torch.sqrt(sum((p.grad**2).sum() for p in network.parameters()))
    assert norm.item() == pytest.approx(1, rel=1e-4)


def test_nan_stops_with_the_samples() -> None:
    engine = Engine(lambda *_: None)
    engine.state.output = {"loss": torch.tensor(float("nan")), "rows": [1, 0]}
    with pytest.raises(DataError, match=r"b.*a"):
        NanGuard([{"id": "a"}, {"id": "b"}])(engine)
    engine.state.output = {"loss": torch.tensor(1.0)}
    NanGuard([])(engine)


def test_random_state_round_trip() -> None:
    def draw() -> list[float]:
        return [random.random(), np.random.rand(), torch.rand(()).item()]  # noqa: NPY002

    keeper = RandomState()
    state = keeper.state_dict()
    first = draw()
    assert draw() != first
    keeper.load_state_dict(state)
    assert draw() == first


def test_best_weights_keep_the_best(tmp_path: Path, nano: Mimo) -> None:
    handler = BestWeights(nano, tmp_path / "weights")
    engine = Engine(lambda *_: None)
    engine.state.key_metric_name = "f1"
    marks = []
    for value in (0.4, 0.7, 0.6):
        with torch.no_grad():
            nano.input_aligner.queries.fill_(value)
        engine.state.metrics = {"f1": value}
        handler(engine)
        marks.append(Mimo.from_pretrained(tmp_path / "weights").input_aligner.queries[0, 0].item())
    assert marks == pytest.approx([0.4, 0.7, 0.7])


def test_adam_has_a_rate_for_encoders_and_skips_what_is_frozen() -> None:
    model = make_nano(lora={"rank": 2, "alpha": 2})
    main, encoder = adam(model, 1e-3, 1e-4).param_groups
    assert (main["lr"], encoder["lr"]) == (1e-3, 1e-4)
    assert sum(p.numel() for p in encoder["params"]) == sum(p.numel() for p in model.image_encoder.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(p.numel() for group in (main, encoder) for p in group["params"]) == trainable
    frozen = make_nano(image_encoder={"name": "convolutions", "frozen": True})
    assert len(adam(frozen, 1e-3, 1e-4).param_groups) == 1


def test_schedule_warms_up_and_decays_to_zero() -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], 1.0)
    schedule = warmup_cosine(optimizer, 100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == 0
    assert max(rates) == rates[5] == 1
    assert rates[-1] < 0.01
    assert rates[5:] == sorted(rates[5:], reverse=True)


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
