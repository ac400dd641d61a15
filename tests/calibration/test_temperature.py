"""The temperature of scores stays with the weights that it was fitted for, and is applied once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_mimo.calibration.domain import ImageDomain
from monai_mimo.calibration.fit import ship
from monai_mimo.calibration.temperature import CALIBRATION, load_temperature, save_temperature
from monai_mimo.cli import main
from monai_mimo.errors import WeightsError
from monai_mimo.inference import MimoPredictor
from monai_mimo.models import Mimo
from monai_mimo.models.weights import save_weights

from ..conftest import make_nano
from ..models.test_generation import talkative


@pytest.fixture
def calibrated(nano_weights: Path, tmp_path: Path) -> Path:
    folder = save_weights(Mimo.from_pretrained(nano_weights), tmp_path / "weights")
    save_temperature(folder, 0.4, "a test")
    return folder


def test_answers_have_calibrated_scores_and_are_otherwise_the_same(tmp_path: Path) -> None:
    folder, found = save_weights(talkative(), tmp_path / "weights"), []
    for temperature in (None, 0.4):
        if temperature is not None:
            save_temperature(folder, temperature, "a test")
        predictor = MimoPredictor.from_pretrained(folder)
        predictor.set_image(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))
        found.append(predictor.ask("Where is the left kidney?", max_tokens=24))
    raw, scaled = found
    assert raw.entities
    assert raw.text == scaled.text
    for before, after in zip(raw.entities, scaled.entities, strict=True):
        odds = (before.score / (1 - before.score)) ** (1 / 0.4)
        assert after.score == pytest.approx(odds / (1 + odds), rel=1e-5)
        assert np.array_equal(before.mask, after.mask)


def test_new_weights_have_none(calibrated: Path, tmp_path: Path) -> None:
    model = Mimo.from_pretrained(calibrated)
    assert load_temperature(save_weights(model, tmp_path / "again")) is None
    assert load_temperature(save_weights(model, calibrated)) is None  # in place of the old ones


def test_the_same_weights_in_another_form_keep_it(calibrated: Path, tmp_path: Path) -> None:
    assert load_temperature(ship(calibrated, tmp_path / "half")) == 0.4


def test_merged_weights_keep_it_and_what_is_known_of_the_domain(tmp_path: Path) -> None:
    folder = save_weights(make_nano(lora={"rank": 4, "alpha": 8}), tmp_path / "lora")
    save_temperature(folder, 0.4, "a test")
    values = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    ImageDomain.fit([torch.from_numpy(values)], torch.from_numpy(values)).save(folder)
    assert main(["merge", str(folder), str(tmp_path / "merged")]) == 0
    assert load_temperature(tmp_path / "merged") == 0.4
    assert json.loads((tmp_path / "merged" / CALIBRATION).read_text())["fitted_on"] == "a test"
    assert ImageDomain.load(tmp_path / "merged") is not None


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("{", "JSONDecodeError"),
        ('{"temperature": 0.4}', "KeyError"),
        ('{"temperature": 0, "weights": ""}', "temperature 0"),
        ('{"temperature": NaN, "weights": ""}', "temperature nan"),
        ('{"temperature": 0.4, "weights": "0123456789ab"}', "fitted for 0123456789ab"),
    ],
)
def test_one_of_other_weights_or_none_is_refused(calibrated: Path, content: str, found: str) -> None:
    (calibrated / CALIBRATION).write_text(content)
    with pytest.raises(WeightsError, match=found) as error:
        MimoPredictor.from_pretrained(calibrated)
    assert str(calibrated / CALIBRATION) in str(error.value)
