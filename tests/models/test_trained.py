"""The weights that come with the package answer as recorded, and are as good as the model card says.

python -m tests.models.test_trained     records the answers anew, after new weights were put in
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from monai_mimo.data.names import REGION
from monai_mimo.inference import Answer, MimoPredictor
from monai_mimo.models.default_weights import SHIPPED
from monai_mimo.phantom.draw_pictures import draw_chest, draw_endoscopy, draw_ultrasound, draw_xray
from monai_mimo.transforms.prompts import tight_box

RECORDED = Path(__file__).parent / "trained_answers.json"
HERE = ("lite", "lite-permissive")
CARD = Path(__file__).parents[2] / "docs" / "model-card.json"
DATASET = Path(os.environ.get("MIMO_REAL_SET", "runs/real/set"))


def answers(name: str) -> list[Answer]:
    """Of shipped weights, to a question by name, one with a box and one with a point, about phantoms."""
    predictor = MimoPredictor.from_pretrained(SHIPPED / name)
    out = []
    for draw, question, prompts in (
        (draw_xray, "Where is the lung?", {}),
        (draw_endoscopy, "What does <box> hold?", {"boxes": [(60, 50, 120, 110)]}),
        (draw_ultrasound, "What is at <point>?", {"points": [(90, 90)]}),
    ):
        predictor.set_image(draw(np.random.default_rng(7))[0])
        out.append(predictor.ask(question, **prompts, max_tokens=48))
    return out


def record(answer: Answer) -> dict:
    """What is remembered of an answer."""
    return {"text": answer.text, "pixels": [int(entity.mask.sum()) for entity in answer.entities]}


@pytest.mark.parametrize("name", HERE)
def test_shipped_weights_answer_as_recorded(name: str) -> None:
    for answer, expected in zip(answers(name), json.loads(RECORDED.read_text())[name], strict=True):
        assert answer.text == expected["text"]
        np.testing.assert_allclose(record(answer)["pixels"], expected["pixels"], rtol=0.02, atol=5)


@pytest.fixture(scope="module")
def lite() -> MimoPredictor:
    return MimoPredictor.from_pretrained(SHIPPED / "lite")


@pytest.mark.parametrize("question", ["", "What is at <point>?"])
def test_a_click_into_a_corner_is_no_lung(lite: MimoPredictor, question: str) -> None:
    pixels = draw_xray(np.random.default_rng(7))[0]
    lite.set_image(pixels)
    height, width = pixels.shape[:2]
    for x, y in ((3, 3), (width - 4, 3), (3, height - 4)):
        for entity in lite.ask(question, points=[(x, y)]).entities:
            assert entity.phrase == REGION
            assert entity.mask[y, x]


def test_names_are_told_apart(lite: MimoPredictor) -> None:
    """What is not known, what is not there, a typing error, and what is no question about an image."""
    pixels, masks = draw_chest()
    lite.set_image(pixels)
    assert not lite.ask("Where is the carburettor?").entities
    assert not lite.ask("Where is the kidney?").entities
    assert not lite.ask("What is 2+2?").entities
    for question, name in (("Where is the lnug?", "lung"), ("Where is the heart?", "heart")):
        [entity] = lite.ask(question).entities
        assert entity.phrase == name
        assert overlap(entity.mask, masks[name]) > 0.5


@pytest.mark.parametrize("question", ["Outline the lungs and the heart.", "Where is the heart and the lung?"])
def test_each_of_two_names_is_spoken_of(lite: MimoPredictor, question: str) -> None:
    for seed in range(4):
        pixels, masks = draw_chest(seed)
        lite.set_image(pixels)
        answer = lite.ask(question)
        assert {"lung", "heart"} <= set(re.findall(r"\w+", answer.text))
        for entity in answer.entities:
            assert overlap(entity.mask, masks[entity.phrase]) > 0.5


@pytest.mark.parametrize("question", ["", "What is in <box>?"])
def test_a_box_decides_which_of_two_is_meant(lite: MimoPredictor, question: str) -> None:
    """On drawings, which are unlike the images of training: nearly always outlined, and never called by the name of the other."""
    outlined = []
    for seed in range(6):
        pixels, masks = draw_chest(seed)
        lite.set_image(pixels)
        for name, other in (("lung", "heart"), ("heart", "lung")):
            [entity] = lite.ask(question, boxes=[tight_box(masks[name])]).entities
            assert entity.phrase != other
            outlined.append(overlap(entity.mask, masks[name]) > 0.7)
    assert sum(outlined) >= 10


def test_the_state_at_seg_decides_which_of_two_is_meant(lite: MimoPredictor) -> None:
    pixels, masks = draw_chest()
    lite.set_image(pixels)
    hook = lite.model.mask_decoder.text_projection.register_forward_hook(lambda _m, _i, out: out * 0)
    try:
        found = [overlap(e.mask, masks["heart"]) for e in lite.ask("Where is the heart?").entities]
    finally:
        hook.remove()
    assert max(found, default=0) < 0.5


def overlap(one: np.ndarray, two: np.ndarray) -> float:
    return (one & two).sum() / (one | two).sum()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not (DATASET / "test").exists(), reason=f"no built set in {DATASET} (MIMO_REAL_SET names another)")
def test_the_cards_table_is_what_the_weights_give(tmp_path: Path) -> None:
    expected = json.loads(CARD.read_text())["obey"]
    command = [sys.executable, "benchmarks/obey.py", "--dataset", str(DATASET), "--out", str(tmp_path)]
    command += ["--per-set", str(expected["per_set"]), "--left-out", ",".join(expected["left_out"])]
    subprocess.run([*command, "--weights", str(SHIPPED / "lite")], check=True)
    found = json.loads((tmp_path / "obey.json").read_text())
    for kind, groups in expected["table"].items():
        for group, mean in groups.items():
            assert found["table"][kind][group] == pytest.approx(mean, abs=0.01, nan_ok=True), (kind, group)


if __name__ == "__main__":
    RECORDED.write_text(json.dumps({name: [record(a) for a in answers(name)] for name in HERE}, indent=1) + "\n")
