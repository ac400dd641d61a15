"""Exports opened by the libraries they are for, and compared with the built set."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from monai_mimo.cli import main
from monai_mimo.errors import InputError, OutputError
from monai_mimo.mimoseg import export as module
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.mimoseg.categories import SPLITS
from monai_mimo.mimoseg.encoding import decode_rle
from monai_mimo.mimoseg.export import export

from .hand_counted import MASKS, SIZE, picture, write_set


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_set(tmp_path / "set")


def built_masks(folder: Path, split: str) -> dict[tuple[str, str], np.ndarray]:
    return {
        (row["image_id"], e["phrase"]): decode_rle(e["mask"])
        for row in load_mimoseg(folder, split)
        for e in row["entities"]
    }


def same_picture(path: Path, encoded: bytes) -> bool:
    return np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(io.BytesIO(encoded))))


@pytest.mark.parametrize("set_", ["hand", "phantom"])
def test_coco_gives_back_equal_masks(folder: Path, built: Path, tmp_path: Path, set_: str) -> None:
    source = folder if set_ == "hand" else built
    export(source, "coco", tmp_path / "coco")
    for split in SPLITS:
        opened = COCO(str(tmp_path / "coco" / "annotations" / f"{split}.json"))
        found = {}
        for a in opened.loadAnns(opened.getAnnIds()):
            image = opened.loadImgs(a["image_id"])[0]
            mask = opened.annToMask(a).astype(bool)
            found[image["image_id"], opened.loadCats(a["category_id"])[0]["name"]] = mask
            rows, columns = np.nonzero(mask)
            x, y, w, h = a["bbox"]
            assert (x, y, x + w, y + h) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert a["area"] == mask.sum()
            assert (image["height"], image["width"]) == mask.shape
        expected = built_masks(source, split)
        assert found.keys() == expected.keys()
        for key, mask in expected.items():
            np.testing.assert_array_equal(found[key], mask)
        for image in opened.loadImgs(opened.getImgIds()):
            assert Image.open(tmp_path / "coco" / image["file_name"]).size == (image["width"], image["height"])
        assert len(opened.getImgIds()) == len(set(load_mimoseg(source, split)["image_id"]))


def test_datalist_opens_with_monai(folder: Path, tmp_path: Path) -> None:
    from monai.data import load_decathlon_datalist
    from monai.transforms import LoadImaged

    out = tmp_path / "list"
    export(folder, "datalist", out)
    about = json.loads((out / "datalist.json").read_text())
    values = {entity: int(value) for value, entity in about["labels"].items()}
    assert values == {"background": 0, "kidney": 1, "kidney tumor": 2, "lung": 3}
    assert (about["numTraining"], about["numValidation"], about["numTest"]) == (2, 1, 2)
    load = LoadImaged(["image", "label"], image_only=True)
    for split, name in (("train", "training"), ("validation", "validation"), ("test", "test")):
        items = load_decathlon_datalist(str(out / "datalist.json"), True, name)
        rows = list(load_mimoseg(folder, split))
        assert [i["image_id"] for i in items] == list(dict.fromkeys(r["image_id"] for r in rows))
        assert [q["id"] for i in items for q in i["questions"]] == [r["id"] for r in rows]
        expected = built_masks(folder, split)
        for item in items:
            loaded = load(item)
            label = np.asarray(loaded["label"]).T  # MONAI reads pictures as [w, h]
            assert label.shape == SIZE
            assert same_picture(Path(item["image"]), picture(item["image_id"]))
            masks = {m["phrase"]: decode_rle(m["rle"]) for m in item["masks"]}
            own = {phrase: mask for (image, phrase), mask in expected.items() if image == item["image_id"]}
            assert masks.keys() == own.keys()
            for m in item["masks"]:
                np.testing.assert_array_equal(masks[m["phrase"]], own[m["phrase"]])
                assert m["value"] == values[m["phrase"]]
            np.testing.assert_array_equal(label > 0, np.logical_or.reduce([*own.values(), np.zeros(SIZE, bool)]))
    first = np.asarray(Image.open(out / "labels" / "a.png"))
    smaller = min(("kidney", "kidney tumor"), key=lambda name: MASKS[name].sum())
    np.testing.assert_array_equal(first == values[smaller], MASKS[smaller])  # the smaller one lies on top


def test_llava_conversations(folder: Path, tmp_path: Path) -> None:
    export(folder, "llava", tmp_path / "llava")
    for split in SPLITS:
        rows = {row["id"]: row for row in load_mimoseg(folder, split)}
        items = json.loads((tmp_path / "llava" / f"{split}.json").read_text())
        assert [i["id"] for i in items] == list(rows)
        for item in items:
            assert set(item) == {"id", "image", "conversations"}
            assert [turn["from"] for turn in item["conversations"]] == ["human", "gpt"]
            question, answer = (turn["value"] for turn in item["conversations"])
            assert question.startswith("<image>\n")
            assert question.count("<image>") == 1
            assert "<" not in answer + question[len("<image>\n") :]
            assert same_picture(tmp_path / "llava" / item["image"], picture(rows[item["id"]]["image_id"]))
    items = {
        i["id"]: i["conversations"] for s in SPLITS for i in json.loads((tmp_path / "llava" / f"{s}.json").read_text())
    }
    # (40.5 / 56, 15.5 / 40), and [5, 3, 31, 25] of 56 x 40
    assert items["c-2"][0]["value"] == "<image>\nWhat is at the point [0.723, 0.388]?"
    assert items["c-2"][1]["value"] == "It is the lung. This is why."
    assert "the box [0.089, 0.075, 0.554, 0.625] and the box [" in items["a-1"][0]["value"]


def test_decisions_of_the_review_are_used(folder: Path, tmp_path: Path) -> None:
    from monai_mimo.mimoseg.review.queue import ReviewQueue

    ReviewQueue(folder, ["train"], [3, 4], "Ada").act("drop", 0)
    export(folder, "llava", tmp_path / "out")
    assert [i["id"] for i in json.loads((tmp_path / "out" / "train.json").read_text())] == ["a-1", "b-0"]


def test_rows_of_an_image_need_not_stand_together(folder: Path, tmp_path: Path) -> None:
    rows = load_mimoseg(folder).select([0, 2, 1])
    (tmp_path / "images").mkdir()
    groups = [[row["id"] for row in images.rows] for images in module.by_image(rows, tmp_path)]
    assert groups == [["a-0", "a-1"], ["b-0"]]


def test_command_refuses_what_exists(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["export", str(folder), "--format", "coco", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert main(arguments) == 2
    assert "existing path" in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    with pytest.raises(InputError):
        export(folder, "yolo", tmp_path / "other")


def test_nothing_half_written_stays(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "annotation", full)
    with pytest.raises(OutputError, match="No space left"):
        export(folder, "coco", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
