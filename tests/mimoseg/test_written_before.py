"""What 0.1.0 wrote before its rooms were moved still loads: a built set, the decisions of its review, an unfinished build.

`written_before/` was made by commit 8191ece from `small_source(pictures=3, volumes=1)` as the source "ours", seed 1, split 1:1:1,
one slice for each volume and four questions for each image; the test split and half of the unfinished cases are left out.
"""

import json
import shutil
from pathlib import Path

import pytest

from monai_mimo import __version__
from monai_mimo.mimoseg import SourceSpec, build, load_mimoseg
from monai_mimo.mimoseg.builder import build as build_module

from .small_source import small_source

BEFORE = Path(__file__).with_name("written_before")
OPTIONS = {"ratio": "1:1:1", "seed": 1, "slices_per_volume": 1, "questions_per_image": 4, "progress": False}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SourceSpec:
    monkeypatch.chdir(tmp_path)
    small_source(tmp_path / "ours", pictures=3, volumes=1)
    return SourceSpec("ours", Path("ours"))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_built_set_has_the_rows_of_one_built_now(source: SourceSpec, split: str) -> None:
    build([source], "now", **OPTIONS)
    before = load_mimoseg(BEFORE / "built", split, reviewed=False)
    now = load_mimoseg("now", split)
    assert before.features == now.features
    for name in sorted(set(now.column_names) - {"image", "builder"}):
        assert before[name] == now[name], name
    assert (
        json.loads(Path("now/dataset.json").read_text())["rows"][split]
        == json.loads((BEFORE / "built" / "dataset.json").read_text())["rows"][split]
    )


def test_decisions_of_a_review_are_used() -> None:
    built = load_mimoseg(BEFORE / "built", "train", reviewed=False)
    asked = [row for row in built if row["perspective"] < 5]
    dropped, edited = asked[0], asked[2]
    reviewed = {row["id"]: row["question"] for row in load_mimoseg(BEFORE / "built", "train")}
    assert reviewed.keys() == {row["id"] for row in built} - {dropped["id"]}
    assert reviewed[edited["id"]] == "Please: " + edited["question"]
    others = [row for row in built if row["id"] not in (dropped["id"], edited["id"])]
    assert all(reviewed[row["id"]] == row["question"] for row in others)


def test_an_unfinished_build_is_resumed(source: SourceSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(BEFORE / "unfinished", ".resumed.partial")
    plan = Path(".resumed.partial/plan.json")
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "version": __version__}))  # another version is refused
    built = []
    build_case = build_module.build_case

    def counting(task):
        built.append(task.number)
        return build_case(task)

    monkeypatch.setattr(build_module, "build_case", counting)
    report = build([source], "resumed", **OPTIONS)
    assert built == [1, 2]
    assert report == build([source], "anew", **OPTIONS)
    for split in ("train", "validation", "test"):
        assert list(load_mimoseg("resumed", split)["answer"]) == list(load_mimoseg("anew", split)["answer"])
