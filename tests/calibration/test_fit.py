"""Fitting the image domain and the temperature on a built set, and that weights which learned keep both."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from monai_mimo.calibration.domain import DOMAIN, ImageDomain
from monai_mimo.calibration.fit import FEWEST, temperature_of
from monai_mimo.calibration.temperature import load_temperature, save_temperature
from monai_mimo.cli import main
from monai_mimo.engines import fine_tune
from monai_mimo.inference import MimoPredictor
from monai_mimo.metrics import apply_temperature

from ..engines.small_set import write_set


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set") / "set", vqa=False)


@pytest.fixture(scope="module")
def calibrated(nano_weights: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(nano_weights, tmp_path_factory.mktemp("weights") / "nano")
    assert main(["calibrate", str(dataset), str(folder)]) == 0
    return folder


def test_calibrated_weights_warn_of_other_images(calibrated: Path, rng: np.random.Generator) -> None:
    predictor = MimoPredictor.from_pretrained(calibrated)
    known = rng.integers(0, 60, size=(48, 64, 3)).astype(np.uint8)
    known[10:26, 20:34] = 220
    assert predictor.encode(known).ood_score < 1
    stripes = np.tile(np.array([[0], [255]], dtype=np.uint8).repeat(64, 1), (24, 1))
    predictor.set_image(stripes)
    assert any("unlike those of training" in warning for warning in predictor.ask("What is this?").warnings)


def test_a_temperature_is_fitted_on_enough_phrases_alone(rng: np.random.Generator) -> None:
    raw = rng.uniform(0.05, 0.95, size=4000)
    correct = (rng.random(4000) < apply_temperature(raw, 2.5)).tolist()
    assert temperature_of(raw.tolist(), correct) == pytest.approx(2.5, rel=0.15)
    assert temperature_of(raw[: FEWEST - 1].tolist(), correct[: FEWEST - 1]) is None
    assert temperature_of([0.5] * FEWEST, [True] * FEWEST) is None


def test_weights_that_learned_keep_their_calibration(calibrated: Path, dataset: Path, tmp_path: Path) -> None:
    """As they were where the encoder stayed; fitted to the images that were learned from where it did not."""
    save_temperature(calibrated, 1.9, "a test")
    before = ImageDomain.load(calibrated)
    assert before is not None
    options = {"steps": 1, "images_per_batch": 2, "questions_per_image": 1}
    fine_tune(calibrated, dataset, tmp_path / "decoder", **options)
    fine_tune(
        calibrated, dataset, tmp_path / "all", **options, learning_rate=0.01, parts=("mask_decoder", "image_encoder")
    )
    for name in ("decoder", "all"):
        assert load_temperature(tmp_path / name) == 1.9  # nothing was answered that it could be fitted on
        after = ImageDomain.load(tmp_path / name)
        assert after is not None
        assert after.means.equal(before.means) == (name == "decoder")
        assert (tmp_path / name / DOMAIN).stat().st_mode & 0o044
