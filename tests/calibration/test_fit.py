"""Fitting the image domain and the temperature on a built set, and that weights which learned keep both."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from monai_mimo.calibration.domain import DOMAIN, ImageDomain
from monai_mimo.calibration.fit import FEWEST, prompted_scores, temperature_of
from monai_mimo.calibration.temperature import load_temperature, save_temperature
from monai_mimo.cli import main
from monai_mimo.data.names import REGION
from monai_mimo.engines import fine_tune
from monai_mimo.inference import MimoPredictor
from monai_mimo.inference.answer import Answer, Entity
from monai_mimo.metrics import apply_temperature
from monai_mimo.mimoseg import load_mimoseg

from ..conftest import make_nano
from ..engines.small_set import write_set
from ..models.test_mask_decoder import FINE


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


def test_a_name_is_right_on_its_structure_and_wrong_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = load_mimoseg(write_set(tmp_path / "set", vqa=False), "validation")
    names = sorted({e["phrase"] for entities in rows["entities"] for e in entities})
    model = make_nano(mask_decoder=FINE, names=dict.fromkeys(names, ())).eval()
    told: list[str] = []

    def ask(self: MimoPredictor, question: str = "", points=(), boxes=()) -> Answer:
        size = self._image.resize.height, self._image.resize.width
        mask = np.zeros(size, dtype=bool)
        if boxes:
            [(x0, y0, x1, y1)] = boxes
            mask[y0:y1, x0:x1] = True
            told.append("box")
            return Answer("", [Entity(names[0], (0, 0), mask, 0.9), Entity(REGION, (0, 0), mask, 0.8)], size)
        told.append("point")
        return Answer("", [Entity(names[0], (0, 0), ~mask, 0.3)], size)

    monkeypatch.setattr(MimoPredictor, "ask", ask)
    found = prompted_scores(model, rows, images=40)
    assert told.count("point") == 2 * told.count("box") > 0  # one on each structure, one beside
    boxes, points = ([right for score, right in found if score == value] for value in (0.9, 0.3))
    assert any(boxes)  # the structures of the set are rectangles
    assert not any(points)  # all of the image is no structure
    assert {score for score, _ in found} == {0.9, 0.3}  # a region without a name has no name to be right


def test_weights_without_names_tell_none(tmp_path: Path) -> None:
    rows = load_mimoseg(write_set(tmp_path / "set", vqa=False), "validation")
    assert prompted_scores(make_nano().eval(), rows, images=3) == []
