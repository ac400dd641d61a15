"""Weights, built sets and checkpoints of the code before the package was rearranged (`make_legacy`) are read as they were."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from monai_mimo.inference import MimoPredictor, PhraseNetwork
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.mimoseg.encoding import decode_rle

from ..engines.test_bundle import run
from .make_inputs import CHANGES, FROZEN, QUESTIONS, SPLITS, picture

ARCHIVE = Path(__file__).with_name("legacy.tar.xz")


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("legacy")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_they_are_small() -> None:
    assert ARCHIVE.stat().st_size < 200_000


def test_weights_answer_as_they_did(legacy: Path) -> None:
    *expected, phrase = json.loads((legacy / "weights" / "answers.json").read_text())
    predictor = MimoPredictor.from_pretrained(legacy / "weights")
    assert predictor.temperature == pytest.approx(1.7)
    predictor.set_image(picture(9))
    for (question, prompts), wanted in zip(QUESTIONS, expected, strict=True):
        answer = predictor.ask(question, **prompts, max_tokens=12)
        if prompts and not wanted["entities"]:  # since then what a prompt shows is outlined, whatever was said
            assert answer.text != wanted["text"]
            continue
        assert answer.text == wanted["text"]
        assert [e.phrase for e in answer.entities] == [e["phrase"] for e in wanted["entities"]]
        assert answer.warnings == wanted["warnings"]
        for entity, before in zip(answer.entities, wanted["entities"]):
            np.testing.assert_array_equal(entity.mask, decode_rle(before["mask"]))
            assert entity.score == pytest.approx(before["score"], abs=1e-4)
    assert any(e["entities"] for e in expected)
    square = (
        torch.from_numpy(np.array(Image.fromarray(picture(9)).resize((64, 64)))).permute(2, 0, 1)[None].float() / 255
    )
    with torch.no_grad():
        logits = PhraseNetwork(predictor.model, "liver")(square)[0, 0]
    np.testing.assert_array_equal((logits > 0).numpy(), decode_rle(phrase["mask"]))
    assert logits.mean().item() == pytest.approx(phrase["mean"], abs=1e-3)


def test_rows_of_a_built_set_are_equal(legacy: Path) -> None:
    expected = json.loads((legacy / "set" / "rows.json").read_text())
    rows: list[dict[str, Any]] = [row for split in SPLITS for row in load_mimoseg(legacy / "set", split)]
    for row in rows:
        row["image"] = str(int(np.asarray(row["image"]).sum()))
    assert json.loads(json.dumps(rows)) == expected


def test_a_checkpoint_goes_on(legacy: Path, tmp_path: Path) -> None:
    """The run of six steps was ended after three; the losses of all six are known."""
    expected = json.loads((legacy / "checkpoint" / "history.json").read_text())
    (tmp_path / "checkpoints").mkdir()
    [saved] = (legacy / "checkpoint").glob("*.pt")
    shutil.copy(saved, tmp_path / "checkpoints")
    result = run(
        "training", "train.yaml", "--preset", "nano", "--preset_changes", CHANGES, "--frozen", FROZEN, "--epochs", 2,
        "--steps_per_epoch", 3, "--global_batch", 2, "--dataset_dir", legacy / "set", "--output_dir", tmp_path,
        "--validation_images", 2, "--other_questions", "False",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert "after step 3" in result.stdout + result.stderr
    history = json.loads((tmp_path / "history.json").read_text())
    assert history.keys() == expected.keys()
    for name, values in expected.items():
        if name == "naming loss":  # now also tells names apart; `nano` does not train by it
            continue
        np.testing.assert_allclose(history[name], values, rtol=1e-3, atol=1e-4, err_msg=name)
    assert (tmp_path / "checkpoints" / "ended").exists()
