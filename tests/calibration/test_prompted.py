"""Names told to prompts, on structures and beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_mimo.calibration.prompted import prompted_scores
from monai_mimo.data.names import REGION
from monai_mimo.inference import MimoPredictor
from monai_mimo.inference.answer import Answer, Entity
from monai_mimo.mimoseg import load_mimoseg

from ..conftest import make_nano
from ..engines.small_set import write_set
from ..models.test_fine_decoder import FINE


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
