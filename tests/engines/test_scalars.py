"""The numbers of a run, read back from TensorBoard's event files and from the table."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_mimo.engines import GradientClip, ScalarLog
from monai_mimo.engines.scalars import FILE
from monai_mimo.evaluation import Progress

Table = dict[str, dict[int, float]]


def by_table(folder: Path, stage: str = "training") -> Table:
    out: Table = defaultdict(dict)
    with open(folder / FILE, newline="") as file:
        for line in csv.DictReader(file):
            if line["stage"] == stage:
                assert int(line["step"]) not in out[line["name"]]  # once each
                out[line["name"]][int(line["step"])] = float(line["value"])
    return out


def by_events(folder: Path) -> Table:
    events = EventAccumulator(str(folder)).Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


class Batch:
    rows = (1, 2, 3)


def trainer(folder: Path, stop_at: int | None = None) -> tuple[Engine, Engine]:
    """Two epochs of three steps, a validation after each, and a log of it all."""
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([{"params": [weight], "lr": 0.5}, {"params": [], "lr": 0.25}])

    def step(engine: Engine, _: list[Batch]) -> dict:
        if engine.state.iteration == stop_at:
            raise RuntimeError("cut off")
        weight.grad = torch.tensor([3.0, 4.0]) * engine.state.iteration
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        loss = torch.tensor(1 / engine.state.iteration)
        return {"loss": loss, "parts": {"text": 7.0, "dice": float("nan")}}

    def validate(engine: Engine, _: object) -> None:
        values = {"f1": 0.5, "dice": 0.25, "phrase_accuracy": 1.0}
        nothing = dict.fromkeys(values, float("nan"))
        cells = {"overall": values, "CT": {**values, "f1": 0.75}, "MR": nothing, "CT, perspective I": values}
        engine.state.metrics = {"grounding": cells}

    engine, evaluator = Engine(step), Engine(validate)
    engine.register_events(*IterationEvents)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run([0]))
    GradientClip(torch.nn.ParameterList([weight]), 1.0).attach(engine)
    ScalarLog(folder, optimizer, evaluator).attach(engine)
    return engine, evaluator


def run(engine: Engine, done: int = 0) -> None:
    engine.state.iteration, engine.state.epoch = done, done // 3
    engine.run([[Batch(), Batch()]] * 3, max_epochs=2, epoch_length=3)


def test_all_numbers_are_in_both(tmp_path: Path) -> None:
    run(trainer(tmp_path)[0])
    table = by_table(tmp_path)
    steps = range(1, 7)
    assert table["loss/total"] == pytest.approx({n: 1 / n for n in steps}, rel=1e-5)
    assert table["loss/text"] == dict.fromkeys(steps, 7.0)
    assert table["gradient_norm"] == {n: 5.0 * n for n in steps}  # before it is clipped
    assert table["learning_rate/group_0"] == dict.fromkeys(steps, 0.5)
    assert table["learning_rate/group_1"] == dict.fromkeys(steps, 0.25)
    assert table["validation_f1/CT"] == {3: 0.75, 6: 0.75}
    assert table["validation_f1/overall"] == {3: 0.5, 6: 0.5}
    assert table["validation_dice/CT"] == {3: 0.25, 6: 0.25}
    assert table["validation_phrase_accuracy/overall"] == {3: 1.0, 6: 1.0}
    assert all(value > 0 for value in table["speed/samples_per_second"].values())
    assert len(table["speed/samples_per_second"]) == 6
    assert not {"loss/dice", "validation_f1/MR", "validation_f1/CT, perspective I"} & table.keys()
    assert ("memory/gpu_gb" in table) == torch.cuda.is_available()
    events = by_events(tmp_path)
    assert events.keys() == table.keys()
    for name, values in table.items():
        assert events[name] == pytest.approx(values, rel=1e-4), name


def test_what_was_written_beyond_the_checkpoint_is_dropped(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cut off"):
        run(trainer(tmp_path, stop_at=5)[0])
    assert set(by_table(tmp_path)["loss/total"]) == {1, 2, 3, 4}
    with open(tmp_path / FILE, "a") as file:
        file.write("training,4,lo")  # a line that was cut off
    run(trainer(tmp_path)[0], done=3)
    assert set(by_table(tmp_path)["loss/total"]) == set(range(1, 7))
    assert set(by_events(tmp_path)["loss/total"]) == set(range(1, 7))


def test_stages_are_told_apart(tmp_path: Path) -> None:
    log = ScalarLog(tmp_path, stage="regions", every=2)
    engine = Engine(lambda *_: {"loss": torch.tensor(2.0), "gradient_norm": torch.tensor(3.0), "mask after 1": 0.5})
    log.attach(engine)
    engine.run([0] * 4)
    run(trainer(tmp_path)[0])
    regions = by_table(tmp_path, "regions")
    assert regions == {
        name: dict.fromkeys((2, 4), v)
        for name, v in (("loss/total", 2.0), ("gradient_norm", 3.0), ("loss/mask after 1", 0.5))
    }
    assert {"regions/loss/mask_after_1", "regions/gradient_norm", "loss/text"} <= by_events(tmp_path).keys()
    assert set(by_table(tmp_path)["loss/total"]) == set(range(1, 7))


class Budget:
    seconds, spent = 7200.0, 3600.0


@pytest.mark.parametrize("budget", [Budget(), None])
def test_a_run_says_when_it_ends(budget: Budget | None, capsys: pytest.CaptureFixture) -> None:
    engine, progress = Engine(lambda *_: {"loss": torch.tensor(1.0)}), Progress("training", budget)
    progress.attach(engine)
    engine.run([0] * 4)
    [shown] = set(re.findall(r"ends=(\w+ \d\d:\d\d)", capsys.readouterr().err))
    hours = 1 if budget else 0
    expected = {f"{datetime.now() + timedelta(hours=hours, seconds=s):%a %H:%M}" for s in (-60, 0)}
    assert shown in expected


def test_the_pace_tells_the_end() -> None:
    progress = Progress("training")
    progress.bar = SimpleNamespace(format_dict={"n": 2, "initial": 0, "total": 10, "elapsed": 30.0})
    assert progress.seconds_left() == 70.0  # three steps are done, of 10 s each
