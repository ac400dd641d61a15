"""The weights that come with the package answer as recorded, and are as good as the model card says.

python -m tests.models.test_trained     records the answers anew, after new weights were put in
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from monai_mimo.inference import Answer, MimoPredictor
from monai_mimo.models.default_weights import ORDER, SHIPPED, has_base
from monai_mimo.phantom.draw_pictures import draw_endoscopy, draw_ultrasound, draw_xray

RECORDED = Path(__file__).parent / "trained_answers.json"
HERE = [name for name in ORDER if (SHIPPED / name).exists()]
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
    if not has_base(name):
        pytest.skip("needs the extra [small]")
    for answer, expected in zip(answers(name), json.loads(RECORDED.read_text())[name], strict=True):
        assert answer.text == expected["text"]
        np.testing.assert_allclose(record(answer)["pixels"], expected["pixels"], rtol=0.02, atol=5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not (DATASET / "test").exists(), reason=f"no built set in {DATASET} (MIMO_REAL_SET names another)")
def test_the_cards_table_is_what_the_weights_give(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/real_quality.py", "--dataset", str(DATASET), "--out", str(tmp_path)]
    subprocess.run([*command, "--weights", str(SHIPPED / "lite"), "--jitter", "0", "--max-tokens", "48"], check=True)
    found, expected = json.loads((tmp_path / "quality.json").read_text()), json.loads(CARD.read_text())["lite"]
    for source, kinds in expected["dice"].items():
        for kind, value in kinds.items():
            assert found["dice"][source][kind]["value"] == pytest.approx(value["value"], abs=0.01), (source, kind)


if __name__ == "__main__":
    RECORDED.write_text(json.dumps({name: [record(a) for a in answers(name)] for name in HERE}, indent=1) + "\n")
