"""Which weights are used when none are named, and weights of half the size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from monai_mimo.calibration.fit import ship
from monai_mimo.models import Mimo, default_weights
from monai_mimo.models.default_weights import chosen_weights_dir, default_weights_dir, find_weights
from monai_mimo.models.weights import WEIGHTS


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(default_weights, "SHIPPED", tmp_path / "trained")
    return tmp_path / "trained"


def test_the_users_choice_comes_first(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_weights_dir() == chosen_weights_dir()  # where they would be
    (shipped / "lite").mkdir(parents=True)
    assert default_weights_dir() == shipped / "lite"
    chosen_weights_dir().mkdir(parents=True)
    assert default_weights_dir() == chosen_weights_dir()


def test_shipped_weights_have_names_and_a_folder_of_that_name_comes_first(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shipped / "lite").mkdir(parents=True)
    assert find_weights("lite") == shipped / "lite"
    assert find_weights("other") == Path("other")
    monkeypatch.chdir(tmp_path)
    Path("lite").mkdir()
    assert find_weights("lite") == Path("lite")


def test_shipped_weights_are_half_as_large_and_the_same_model(nano_weights: Path, tmp_path: Path) -> None:
    out = ship(nano_weights, tmp_path / "half")
    whole, half = nano_weights / WEIGHTS, out / WEIGHTS
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    assert {t.dtype for t in load_file(half).values() if t.is_floating_point()} == {torch.float16}
    whole_state, half_state = (Mimo.from_pretrained(folder).state_dict() for folder in (nano_weights, out))
    for (name, a), b in zip(whole_state.items(), half_state.values()):
        assert b.dtype == a.dtype
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6, msg=name)
