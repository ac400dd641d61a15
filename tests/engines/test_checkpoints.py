"""Checkpoints alone: what is damaged, of another run, or old."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from monai_mimo.engines import Checkpoints
from monai_mimo.engines.checkpoints import GeneratorState, load_state
from monai_mimo.engines.pretraining import pretrain_text
from monai_mimo.engines.pretraining import text as reading
from monai_mimo.errors import OutputError
from monai_mimo.losses import MimoLoss

from .pretraining.test_text import ROWS, make_model


def parts(value: float = 0.0) -> dict[str, torch.nn.Module]:
    layer = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(layer.weight, value)
    return {"layer": layer}


def weight(checkpoints: Checkpoints) -> float:
    state = checkpoints.latest()
    assert state is not None
    return state["parts"]["layer"]["weight"].item()


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"", lambda data: flipped(data)])
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage) -> None:
    checkpoints = Checkpoints(tmp_path, {"seed": 0})
    assert checkpoints.latest() is None
    for step in (5, 10, 15):
        checkpoints.save("training", step, parts(step))
    files = sorted((tmp_path / "checkpoints").iterdir())
    assert [int(f.name.split("-")[1]) for f in files] == [10, 15]
    assert weight(checkpoints) == 15
    files[1].write_bytes(damage(files[1].read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert weight(checkpoints) == 10
    assert f"{files[1]} is damaged" in caplog.text
    checkpoints.save("training", 12, parts(12))
    assert [int(f.name.split("-")[1]) for f in sorted((tmp_path / "checkpoints").iterdir())] == [10, 12]
    for file in (tmp_path / "checkpoints").iterdir():
        file.write_bytes(damage(file.read_bytes()))
    assert checkpoints.latest() is None


def flipped(data: bytes) -> bytes:
    """With one bit changed in the middle of the tensors, which torch alone does not notice."""
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_training_comes_after_reading(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save("reading", 300, parts(1))
    checkpoints.save("training", 2, parts(2))
    assert weight(checkpoints) == 2
    assert checkpoints.resume(Engine(lambda *_: None), "reading", parts()) == 0


def test_a_stage_is_skipped_once_a_later_one_has_begun(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {})
    assert not checkpoints.skip("regions")
    checkpoints.save("reading", 300, parts(1))
    assert [checkpoints.skip(stage) for stage in ("regions", "reading", "training")] == [True, False, False]
    checkpoints.stopped = True
    assert checkpoints.skip("training")


def test_those_of_another_run_are_refused_by_name(tmp_path: Path) -> None:
    Checkpoints(tmp_path, {"seed": 0, "epochs": 3, "batch": (1, 2)}).save("training", 1, parts(1))
    assert weight(Checkpoints(tmp_path, {"seed": 0, "epochs": 3, "batch": [1, 2]})) == 1
    with pytest.raises(OutputError, match=r"other epochs, seed; expected .* another output_dir"):
        Checkpoints(tmp_path, {"seed": 1, "epochs": 4, "batch": (1, 2)}).latest()


def test_what_was_half_written_is_not_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save("training", 1, parts(1))

    def fail(state: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", fail)
        with pytest.raises(OSError, match="no space"):
            checkpoints.save("training", 2, parts(2))
    assert weight(checkpoints) == 1
    checkpoints.save("training", 3, parts(3))
    assert weight(checkpoints) == 3
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_a_generator_goes_on() -> None:
    rng, other = np.random.default_rng(3), np.random.default_rng(4)
    rng.integers(9, size=5)
    load_state(GeneratorState(other), GeneratorState(rng).state_dict())
    assert rng.integers(1000, size=9).tolist() == other.integers(1000, size=9).tolist()


def test_the_first_reading_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped within a step; then, when it has ended, there is nothing left to read."""

    def read(checkpoints: Checkpoints | None) -> dict[str, torch.Tensor]:
        model = make_model()
        pretrain_text(model, ROWS, MimoLoss(), 12, 5e-3, batch=6, checkpoints=checkpoints)
        return model.state_dict()

    expected = read(None)
    steps = []
    text_loss = reading.text_loss

    def stop_at_eighth(*arguments) -> torch.Tensor:
        steps.append(1)
        if len(steps) == 8:
            raise KeyboardInterrupt
        return text_loss(*arguments)

    monkeypatch.setattr(reading, "text_loss", stop_at_eighth)
    with pytest.raises(KeyboardInterrupt):
        read(Checkpoints(tmp_path, {}, every=3))
    for more in (6, 0):
        steps.clear()
        steps += [1] * 20
        state = read(Checkpoints(tmp_path, {}, every=3))
        assert len(steps) == 20 + more
        assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_a_reading_of_some_minutes_goes_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes two seconds, and nothing else takes time; the first run stops after one."""
    now, text_loss = [0.0], reading.text_loss

    def slow(*arguments) -> torch.Tensor:
        now[0] += 2
        return text_loss(*arguments)

    monkeypatch.setattr("monai_mimo.engines.handlers.time.monotonic", lambda: now[0])
    monkeypatch.setattr(reading, "text_loss", slow)

    def read(folder: str, stop: bool = False) -> dict[str, torch.Tensor]:
        model, checkpoints = make_model(), Checkpoints(tmp_path / folder, {}, every=1)
        checkpoints.asked_to_stop = stop
        pretrain_text(model, ROWS, MimoLoss(), 0, 5e-3, batch=4, minutes=0.5, checkpoints=checkpoints)
        return model.state_dict()

    whole, first, both = read("whole"), read("parts", stop=True), read("parts")
    assert now[0] == 2 * (15 + 15)
    assert all(torch.equal(both[name], tensor) for name, tensor in whole.items())
    assert any(not torch.equal(first[name], tensor) for name, tensor in whole.items())
