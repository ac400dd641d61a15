"""`mimo evaluate` on a built set and on held-out sets in their published layouts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from monai_mimo.calibration.temperature import save_temperature
from monai_mimo.cli import main
from monai_mimo.mimoseg import build, load_mimoseg, parse_source
from monai_mimo.mimoseg.builder.zero_shot import published_sets
from monai_mimo.mimoseg.catalogue import find_record
from monai_mimo.mimoseg.catalogue.miniature import draw_miniature

from ..mimoseg.sources.test_vqa_sets import path_vqa, slake, vqa_rad

VQA = {"VQA-RAD": vqa_rad, "SLAKE": slake, "PathVQA": path_vqa}
SEGMENTATION = {"X-ray": "Pulmonary-Chest", "Fundus": "REFUGE", "Skin lesion": "UWaterlooSkinCancer"}


def evaluate(weights: Path, out: Path, *arguments: object) -> int:
    # few words: an untrained model rarely ends by itself
    common = ["--weights", weights, "--out", out, "--max-tokens", "4", "--resamples", "20", "--device", "cpu"]
    return main(["evaluate", *map(str, [*common, *arguments])])


def test_the_published_table() -> None:
    table = [(s.task, s.name, s.samples) for s in published_sets()]
    assert table == [
        ("segmentation", "X-ray", 281),
        ("segmentation", "Fundus", 270),
        ("segmentation", "Skin lesion", 206),
        ("vqa", "VQA-RAD", 272),
        ("vqa", "SLAKE", 416),
        ("vqa", "PathVQA", 3391),
    ]


def test_held_out_sets_in_their_published_layouts(
    nano_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = []
    for name, write in VQA.items():
        write(tmp_path / name)
        options += ["--zero-shot", f"{name}={tmp_path / name}"]
    for name in SEGMENTATION.values():
        record = find_record(name)
        assert record is not None
        draw_miniature(record, tmp_path / name)
        options += ["--zero-shot", f"{name}={tmp_path / name}"]
    out = tmp_path / "out"
    assert evaluate(nano_weights, out, *options) == 0
    overview = json.loads((out / "zero_shot.json").read_text())
    assert {name: of["published"]["set"] for name, of in overview.items()} == {
        **{name: name for name in VQA},
        **{name: published for published, name in SEGMENTATION.items()},
    }
    assert overview["VQA-RAD"]["samples"] == 1  # closed test questions
    for name in VQA:
        metrics = json.loads((out / name / "metrics.json").read_text())
        records = [json.loads(line) for line in (out / name / "predictions.jsonl").read_text().splitlines()]
        assert {r["perspective"] for r in records} == {0}
        tested = load_mimoseg(out / name / "dataset", "test")
        assert [r["id"] for r in records] == tested["id"]
        assert metrics["vqa"]["overall"]["samples"] == len(tested)
        assert "Questions without masks" in (out / name / "report.html").read_text()
    for name in SEGMENTATION.values():
        records = [json.loads(line) for line in (out / name / "predictions.jsonl").read_text().splitlines()]
        assert len({r["image_id"] for r in records}) > 1  # all of it, not a tenth
        assert {r["perspective"] for r in records} <= {1, 2}
    assert "Skin lesion, 206" in capsys.readouterr().out

    # Ended before the fourth set: the same command asks that one again and leaves the others.
    text = (out / "zero_shot.md").read_text()
    (out / "zero_shot.md").unlink()
    (out / "REFUGE" / "metrics.json").unlink()
    stamp = (out / "SLAKE" / "metrics.json").stat().st_mtime_ns
    assert evaluate(nano_weights, out, *options) == 0
    assert (out / "zero_shot.md").read_text() == text
    assert (out / "SLAKE" / "metrics.json").stat().st_mtime_ns == stamp


def test_a_built_set(nano_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = find_record("gamma")
    assert record is not None
    draw_miniature(record, tmp_path / "gamma")
    source = parse_source(f"gamma={tmp_path / 'gamma'}")
    build([source], tmp_path / "built", ratio="1:0:0", perspectives=(3, 4), progress=False)
    out = tmp_path / "out"
    assert evaluate(nano_weights, out, tmp_path / "built", "--split", "train", "--images", "1") == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["about"]["split"] == "train"
    assert metrics["text"]["perspective III"]["samples"] > 0
    assert len({json.loads(r)["image_id"] for r in (out / "predictions.jsonl").read_text().splitlines()}) == 1

    assert evaluate(nano_weights, out, tmp_path / "built") == 2
    assert "a finished report" in capsys.readouterr().err
    again = ["--split", "train", "--force", "--temperature", out]
    assert evaluate(nano_weights, out, tmp_path / "built", *again) == 0
    scaled = json.loads((out / "metrics.json").read_text())["calibration"]["scaled"]
    assert scaled["temperature"] == metrics["calibration"]["fitted_temperature"]

    weights = Path(shutil.copytree(nano_weights, tmp_path / "weights"))
    save_temperature(weights, 0.7, "a test")
    assert evaluate(weights, out, tmp_path / "built", "--split", "train", "--images", "1", "--force") == 0
    calibration = json.loads((out / "metrics.json").read_text())["calibration"]
    assert calibration["scaled"]["temperature"] == 0.7  # that of the weights; the rest is of raw scores
    assert {key: calibration[key] for key in ("ece", "fitted_temperature")} == {
        key: metrics["calibration"][key] for key in ("ece", "fitted_temperature")
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no set"),
        (["set", "--images", "0"], "--images"),
        (["set", "--temperature", "cold"], "--temperature"),
        (["set", "--temperature", "-1"], "--temperature"),
        (["--zero-shot", "nothing"], "NAME=PATH"),
        (["set", "--device", "quantum"], "--device"),
        (["set", "--weights", "nowhere"], "weights"),
        (["set"], "a data set that `mimo build` wrote"),
    ],
)
def test_bad_options_give_one_line(
    arguments: list[str], message: str, nano_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(nano_weights, tmp_path / "out", *arguments) == 2
    assert not (tmp_path / "out").exists()
    error = capsys.readouterr().err
    assert error.startswith("mimo evaluate: ")
    assert message in error
    assert len(error.strip().splitlines()) == 1
