"""Miniatures of the VQA sets in their published formats, read as rows."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from monai_mimo.data.dataset import Augment, MimoSegDataset, Steps, collate
from monai_mimo.data.order import TrainingOrder
from monai_mimo.errors import DataError, InputError
from monai_mimo.metrics import Grounded, GroundingMetric, Reference
from monai_mimo.mimoseg import SourceSpec, build, load_mimoseg
from monai_mimo.mimoseg.builder import case as build_case_module
from monai_mimo.mimoseg.builder.case import vqa_rows
from monai_mimo.mimoseg.builder.plan import plan_build
from monai_mimo.mimoseg.describe.statistics import count_samples, open_splits
from monai_mimo.mimoseg.load import FEATURES
from monai_mimo.mimoseg.sources.discover import discover
from monai_mimo.mimoseg.sources.vqa_sets import open_vqa, shown_picture
from monai_mimo.models import Mimo

from ..hand_counted import datasets
from ..small_source import contents, small_source

SPLITS = ("train", "validation", "test")


def draw(path: Path, size: tuple[int, int] = (30, 20), **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)


def vqa_rad(root: Path) -> None:
    def item(qid: str, image: str, organ: str, phrase: str, kind: str, question: str, answer: Any) -> dict:
        return {
            "qid": qid,
            "phrase_type": phrase,
            "qid_linked_id": f"03f451ca-de62-4617-9679-{qid}",
            "image_case_url": f"https://medpix.nlm.nih.gov/case?id={image}",
            "image_name": image,
            "image_organ": organ,
            "evaluation": "not evaluated",
            "question": question,
            "question_rephrase": "NULL",
            "question_relation": "NULL",
            "question_frame": "NULL",
            "question_type": "PRES",
            "answer": answer,
            "answer_type": kind,
        }

    items = [
        item("0", "synpic54610.jpg", "HEAD", "freeform", "CLOSED", "Are regions of the brain infarcted?", "Yes"),
        item("1", "synpic54610.jpg", "HEAD", "test_freeform", "OPEN", "Where is the infarct?", "Left temporal lobe"),
        item("2", "synpic29265.jpg", "CHEST", "para", "CLOSED ", "Is the lung normal? ", "No"),  # as published
        item("3", "synpic29265.jpg", "CHEST", "freeform", "OPEN", "How many lesions are there?", 2),
        item("4", "synpic100.jpg", "ABD", "test_para", "CLOSED", "Is the liver large?", "Yes"),
    ]
    for name in ("synpic54610.jpg", "synpic29265.jpg", "synpic100.jpg"):
        draw(root / "VQA_RAD Image Folder" / name)
    (root / "VQA_RAD Dataset Public.json").write_text(json.dumps(items, indent=4))


def slake(root: Path) -> None:
    def item(qid: int, image: int, question: str, answer: str, kind: str, modality: str, lang: str = "en") -> dict:
        return {
            "img_id": image,
            "img_name": f"xmlab{image}/source.jpg",
            "question": question,
            "answer": answer,
            "q_lang": lang,
            "location": "Abdomen",
            "modality": modality,
            "answer_type": kind,
            "base_type": "vqa",
            "content_type": "Modality",
            "triple": ["vhead", "_", "_"],
            "qid": qid,
        }

    files = {
        "train": [
            item(0, 1, "What modality is used to take this image?", "MRI", "OPEN", "MRI"),
            item(1, 1, "Does the picture contain liver?", "Yes", "CLOSED", "MRI"),
            item(2, 1, "图中有肝吗?", "有", "CLOSED", "MRI", "zh"),
        ],
        "validate": [item(3, 2, "Is this a CT?", "Yes", "CLOSED", "CT")],
        "test": [item(4, 3, "Which organ is abnormal?", "Lung", "OPEN", "X-Ray")],
    }
    for number in (1, 2, 3):
        draw(root / "imgs" / f"xmlab{number}" / "source.jpg")
        (root / "imgs" / f"xmlab{number}" / "detection.json").write_text("[]")
        draw(root / "imgs" / f"xmlab{number}" / "mask.png")
    (root / "mask.txt").write_text("1:Liver\n")
    for name, items in files.items():
        (root / f"{name}.json").write_text(json.dumps(items, ensure_ascii=False))


def path_vqa(root: Path) -> None:
    for name, number in (("train", "0422"), ("val", "0261"), ("test", "0007")):
        image = f"{name}_{number}"
        draw(root / "images" / name / f"{image}.jpg")
        items = [
            {"image": image, "question": "Where are liver stem cells located?", "answer": "in the canals of hering"},
            {"image": image, "question": "Is bile duct present?", "answer": "yes"},
        ]
        (root / "qas" / name).mkdir(parents=True)
        (root / "qas" / name / f"{name}_qa.pkl").write_bytes(pickle.dumps(items))
    (root / "qas" / "ans2label.pkl").write_bytes(pickle.dumps({"yes": 0}))


def llava_med(root: Path) -> None:
    def item(name: str, domain: str, spelled: str) -> dict:
        keys = ("chest_xray", "mri", "histology", "gross", "ct_scan")
        return {
            "id": name,
            "image": f"{name}.jpg",
            "domain": {key: key == domain for key in keys},
            spelled: [
                {"from": "human", "value": "What does the image show?\n<image>"},
                {"from": "gpt", "value": "A mass in the left kidney."},
                {"from": "human", "value": "Where is it?"},
                {"from": "gpt", "value": "In the upper pole."},
            ],
        }

    items = [item(f"{20000000 + n}_F{f}", "ct_scan", "conversatons") for n in range(10) for f in (1, 2)]
    items.append(item("PMC99_F1", "histology", "conversations"))
    for one in items:
        draw(root / "images" / one["image"])
    (root / "images" / "20000003_F2.jpg").unlink()  # figures that can no longer be had
    (root / "llava_med_instruct_60k_inline_mention.json").write_text(json.dumps(items))
    (root / "llava_med_instruct_10k.json").write_text("[]")


MINIATURES: dict[str, Callable[[Path], None]] = {
    "vqa-rad": vqa_rad,
    "slake": slake,
    "path-vqa": path_vqa,
    "llava-med": llava_med,
}


def rows_of(layout: str, root: Path) -> list[tuple[str, dict[str, Any]]]:
    MINIATURES[layout](root)
    plan = plan_build([SourceSpec("mine", root)])
    assert [source.layout for source in plan.sources] == [layout]
    return [(plan.split(case), row) for case in plan.cases for row in vqa_rows(case, shown_picture(case))]


@pytest.mark.parametrize("layout", MINIATURES)
def test_rows_fit_the_schema(layout: str, tmp_path: Path) -> None:
    rows = [row for _, row in rows_of(layout, tmp_path / "set with spaces")]
    table = Dataset.from_list(rows, features=FEATURES)
    assert len(set(table["id"])) == len(table)
    for row in table:
        assert row["perspective"] == 0
        assert row["entities"] == row["points"] == row["boxes"] == []
        assert row["template"] in (f"{layout}/closed", f"{layout}/open")
        assert [row["image"].height, row["image"].width] == row["size"] == [20, 30]
        assert "<" not in row["question"] + row["answer"]
        assert row["question"] == row["question"].strip()


def told(rows: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, ...]]:
    keys = ("template", "modality", "question", "answer")
    return [(split, *(row[key] for key in keys)) for split, row in rows]


def test_vqa_rad(tmp_path: Path) -> None:
    rows = rows_of("vqa-rad", tmp_path / "x")
    assert told(rows) == [
        ("train", "vqa-rad/closed", "", "Are regions of the brain infarcted?", "Yes"),
        ("test", "vqa-rad/open", "", "Where is the infarct?", "Left temporal lobe"),
        ("train", "vqa-rad/closed", "X-ray", "Is the lung normal?", "No"),
        ("train", "vqa-rad/open", "X-ray", "How many lesions are there?", "2"),
        ("test", "vqa-rad/closed", "CT", "Is the liver large?", "Yes"),
    ]
    assert len({row["image_id"] for _, row in rows}) == 3  # one image is in both published splits


def test_slake(tmp_path: Path) -> None:
    assert told(rows_of("slake", tmp_path / "x")) == [
        ("train", "slake/open", "MR", "What modality is used to take this image?", "MRI"),
        ("train", "slake/closed", "MR", "Does the picture contain liver?", "Yes"),
        ("validation", "slake/closed", "CT", "Is this a CT?", "Yes"),
        ("test", "slake/open", "X-ray", "Which organ is abnormal?", "Lung"),
    ]
    found = open_vqa("mine", tmp_path / "x")
    assert found is not None
    assert found.notes == ["1 questions in other languages or without a text"]


def test_path_vqa(tmp_path: Path) -> None:
    rows = rows_of("path-vqa", tmp_path / "x")
    assert [(s, r["template"], r["file"]) for s, r in rows] == [
        (split, f"path-vqa/{kind}", f"images/{name}.jpg")
        for split, name in (("train", "train/train_0422"), ("validation", "val/val_0261"), ("test", "test/test_0007"))
        for kind in ("open", "closed")
    ]


class Evil:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("pwned"),)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path_vqa(tmp_path / "x")
    (tmp_path / "x" / "qas" / "val" / "val_qa.pkl").write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(DataError):
        open_vqa("mine", tmp_path / "x")
    assert not (tmp_path / "pwned").exists()


def test_llava_med(tmp_path: Path) -> None:
    rows = rows_of("llava-med", tmp_path / "x")
    assert len(rows) == 2 * (21 - 1)
    found = open_vqa("mine", tmp_path / "x")
    assert found is not None
    assert found.notes == ["images/20000003_F2.jpg: asked about and not there"]
    assert {r["modality"] for _, r in rows} == {"CT", "histology"}
    assert {r["question"] for _, r in rows} == {"What does the image show?", "Where is it?"}
    articles: dict[str, set[str]] = {}
    for split, row in rows:
        articles.setdefault(Path(row["file"]).stem.split("_")[0], set()).add(split)
    assert len(articles) == 11
    assert all(len(splits) == 1 for splits in articles.values())
    assert set.union(*articles.values()) == {"train", "validation", "test"}
    assert open_vqa("mine", tmp_path / "x" / "llava_med_instruct_60k_inline_mention.json") == found


def test_other_folders_are_none(tmp_path: Path, phantom: Path) -> None:
    assert open_vqa("mine", tmp_path) is None
    assert open_vqa("mine", phantom) is None
    assert open_vqa("mine", tmp_path / "nowhere") is None


@pytest.mark.parametrize("text", ["[", '{"a": 1}', '[{"image_name": "synpic100.jpg"}]', "[3]"])
def test_damaged_questions(tmp_path: Path, text: str) -> None:
    vqa_rad(tmp_path / "x")
    (tmp_path / "x" / "VQA_RAD Dataset Public.json").write_text(text)
    with pytest.raises(DataError) as error:
        open_vqa("mine", tmp_path / "x")
    assert "\n" not in str(error.value)


def test_no_images_at_all(tmp_path: Path) -> None:
    vqa_rad(tmp_path / "x")
    for file in (tmp_path / "x" / "VQA_RAD Image Folder").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="not one of 3 images"):
        open_vqa("mine", tmp_path / "x")


def test_images_turned_or_damaged(tmp_path: Path) -> None:
    vqa_rad(tmp_path / "x")
    folder = tmp_path / "x" / "VQA_RAD Image Folder"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    draw(folder / "synpic100.jpg", exif=exif)
    found = open_vqa("mine", tmp_path / "x")
    assert found is not None
    turned = next(case for case in found.cases if case.file.endswith("synpic100.jpg"))
    row = next(iter(Dataset.from_list(list(vqa_rows(turned, shown_picture(turned))), features=FEATURES)))
    assert row["size"] == [30, 20] == [row["image"].height, row["image"].width]
    (folder / "synpic100.jpg").write_bytes((folder / "synpic100.jpg").read_bytes()[:300])
    with pytest.raises(InputError, match="synpic100"):
        shown_picture(turned)


def test_rows_without_masks_load_collate_and_count(tmp_path: Path, nano: Mimo) -> None:
    """Beside rows with masks, through everything that a training set goes through."""
    asked = [row for _, row in rows_of("vqa-rad", tmp_path / "x")]
    rows = Dataset.from_list([*datasets()["train"].to_list(), *asked], features=FEATURES)
    rows.save_to_disk(tmp_path / "set" / "train")
    assert len(load_mimoseg(tmp_path / "set", perspective=0)) == len(asked)
    dataset = MimoSegDataset(load_mimoseg(tmp_path / "set"), nano.conversation(), 64, augment=Augment())
    order = TrainingOrder(dataset.rows, dataset.data, global_batch=99, images_per_batch=99, questions_per_image=99)
    [batch] = Steps(dataset, order, nano.tokenizer.pad_token_id, 0, 1)[0]
    assert len(batch.rows) == len(rows)
    assert len(batch.masks) == (batch.questions.labels == nano.seg_id).sum() == 4
    only = MimoSegDataset(load_mimoseg(tmp_path / "set", perspective=0), nano.conversation(), 64)
    batch = collate(list(only), nano.tokenizer.pad_token_id)
    assert batch.masks.shape == (0, 64, 64)
    assert count_samples({"train": rows}).samples[0] == {"train": len(asked), "validation": 0, "test": 0}


def test_the_grounding_metric_passes_over_them() -> None:
    mask = np.ones((4, 4), dtype=bool)
    metric = GroundingMetric()
    pairs = [(Grounded(["liver"], [mask]), Reference(["liver"], [mask], 4, "CT"))]
    pairs.append((Grounded([], []), Reference([], [], 0, "histology")))
    metric.update(tuple(zip(*pairs)))  # type: ignore[arg-type]
    assert metric.compute()["overall"]["samples"] == 1


@pytest.mark.parametrize("layout", MINIATURES)
def test_built_alone(layout: str, tmp_path: Path) -> None:
    """Whatever perspectives are asked for, in the published splits."""
    expected = rows_of(layout, tmp_path / "x")
    report = build([SourceSpec("mine", tmp_path / "x")], tmp_path / "out", perspectives=(1, 2), progress=False)
    for split in SPLITS:
        wanted = {row["id"]: row for of, row in expected if of == split}
        found = load_mimoseg(tmp_path / "out", split, perspective=0) if wanted else []
        assert {row["id"]: (row["question"], row["patient"], row["template"]) for row in found} == {
            name: (row["question"], row["patient"], row["template"]) for name, row in wanted.items()
        }
    [source] = report["sources"]
    assert source["layout"] == layout
    assert source["rows by perspective"] == {"VQA": len(expected)}
    cells = count_samples(open_splits(tmp_path / "out")).samples[0]
    assert cells == {split: sum(of == split for of, _ in expected) for split in SPLITS}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| split | patients | VQA | all |" in card
    assert "VQA are questions" in card


def test_a_patient_in_two_published_splits_is_told(tmp_path: Path) -> None:
    vqa_rad(tmp_path / "x")
    report = build([SourceSpec("rad", tmp_path / "x")], tmp_path / "out", progress=False)
    assert report["patients in two splits"] == 1
    assert report["patients"] == {"train": 2, "validation": 0, "test": 2}
    assert report["sources"][0]["notes"] == [
        "1 patients or cases in more than one of the published splits, which are kept"
    ]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "1 patients are in two" in card
    assert "no patient is in two" not in card


@pytest.fixture
def mixed(tmp_path: Path) -> list[SourceSpec]:
    """A set with masks and one without, of which an image is damaged and another is not there."""
    llava_med(tmp_path / "llava")
    (tmp_path / "llava" / "images" / "20000001_F1.jpg").write_bytes(b"no picture")
    return [
        SourceSpec("small", small_source(tmp_path / "small")),
        SourceSpec("llava", tmp_path / "llava" / "llava_med_instruct_60k_inline_mention.json"),
    ]


def test_built_beside_masks(mixed: list[SourceSpec], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    report = build(mixed, tmp_path / "out", perspectives=(1, 2), progress=False)
    rows = [row for split in SPLITS for row in load_mimoseg(tmp_path / "out", split)]
    assert {row["perspective"] for row in rows if row["source"] == "small"} == {1, 2}
    assert {row["perspective"] for row in rows if row["source"] == "llava"} == {0}
    assert report["sources"][1]["notes"] == ["images/20000003_F2.jpg: asked about and not there"]
    [failed] = report["failed"]
    assert failed["source"] == "llava"
    assert "20000001_F1.jpg" in failed["file"]
    assert "20000001_F1.jpg" in capsys.readouterr().err
    assert report["patients in two splits"] == 0
    build(mixed[:1], tmp_path / "without", perspectives=(1, 2), progress=False)
    without = [row for split in SPLITS for row in load_mimoseg(tmp_path / "without", split)]
    assert without == [row for row in rows if row["source"] == "small"]
    assert "VQA" not in (tmp_path / "without" / "README.md").read_text()


def test_who_works_and_interruptions_change_nothing(
    mixed: list[SourceSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(mixed, tmp_path / "whole", progress=False)
    build(mixed, tmp_path / "two", workers=2, progress=False)
    assert contents(tmp_path / "two") == contents(tmp_path / "whole")
    left = iter(range(7))

    def stop(case: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return shown_picture(case)

    with monkeypatch.context() as patch:
        patch.setattr(build_case_module, "shown_picture", stop)
        with pytest.raises(KeyboardInterrupt):
            build(mixed, tmp_path / "out", progress=False)
    assert (tmp_path / ".out.partial").exists()
    build(mixed, tmp_path / "out", progress=False)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_found_among_other_sets(mixed: list[SourceSpec], tmp_path: Path) -> None:
    found, skipped = discover(tmp_path)
    assert [spec.name for spec in found] == ["llava", "small"]
    assert skipped == []


def test_other_questions_are_another_build(tmp_path: Path) -> None:
    """What is kept of an unfinished build must not be gone on with."""
    slake(tmp_path / "x")
    before = plan_build([SourceSpec("slake", tmp_path / "x")]).identity()
    items = json.loads((tmp_path / "x" / "test.json").read_text())
    items[0]["answer"] = "Heart"
    (tmp_path / "x" / "test.json").write_text(json.dumps(items))
    assert plan_build([SourceSpec("slake", tmp_path / "x")]).identity() != before
