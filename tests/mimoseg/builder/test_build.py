"""What `mimo build` writes: no leak, nothing named in perspective II, prompts on their masks, honest refusals."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_mimo.errors import DataError, MimoError, OutputError
from monai_mimo.mimoseg import build, load_mimoseg, parse_source
from monai_mimo.mimoseg.catalogue.vocabulary import vocabulary
from monai_mimo.mimoseg.categories import PERSPECTIVES
from monai_mimo.mimoseg.encoding import decode_rle
from monai_mimo.mimoseg.sources.discover import open_source

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def rows(built: Path) -> list[dict]:
    return [row for split in SPLITS for row in load_mimoseg(built, split)]


def test_no_patient_in_two_splits(built: Path, phantom: Path) -> None:
    patients = [set(load_mimoseg(built, split)["patient"]) for split in SPLITS]
    assert all(patients)
    assert not patients[0] & patients[1]
    assert not patients[0] & patients[2]
    assert not patients[1] & patients[2]
    cases = open_source(parse_source(f"phantom={phantom}")).cases
    assert len(set.union(*patients)) == len({(c.source, c.patient) for c in cases})


def test_every_split_has_every_modality_and_all_perspectives(built: Path) -> None:
    for split in SPLITS:
        cells = {(r["modality"], r["perspective"]) for r in load_mimoseg(built, split)}
        assert len({modality for modality, _ in cells}) == 8
        assert {perspective for _, perspective in cells} == {1, 2, 3, 4, 5}


def test_answers_ground_their_entities_in_order(rows: list[dict]) -> None:
    for row in rows:
        phrases = re.findall(r"<p> (.+?) </p> <SEG>", row["answer"])
        assert phrases == [e["phrase"] for e in row["entities"]]
        assert row["answer"].count("<SEG>") == len(phrases)
        for entity in row["entities"]:
            mask = decode_rle(entity["mask"])
            assert list(mask.shape) == row["size"] == list(row["image"].size[::-1])
            assert mask.any()


def test_perspective_two_names_nothing(rows: list[dict]) -> None:
    names = {e["phrase"] for row in rows for e in row["entities"]}
    words = {word for name in names for word in name.split()} - {"skin"}
    for row in rows:
        if row["perspective"] == 2:
            assert not words & set(re.findall(r"[a-z]+", row["question"].lower())), row["question"]


def test_prompts_lie_on_their_masks(rows: list[dict]) -> None:
    seen = 0
    for row in rows:
        assert row["question"].count("<point>") == len(row["points"])
        assert row["question"].count("<box>") == len(row["boxes"])
        if row["perspective"] in (1, 3) or (row["perspective"] == 5 and row["value"]["kind"] != "marked"):
            assert not row["points"]
            assert not row["boxes"]
            continue
        masks = [decode_rle(e["mask"]) for e in row["entities"]]
        assert len(masks) == len(row["points"]) + len(row["boxes"])
        for mask, (x, y, label) in zip(masks, row["points"]):
            assert label == 1
            assert mask[y, x]
            seen += 1
        for mask, (x0, y0, x1, y1) in zip(masks, row["boxes"]):
            covered = mask[y0:y1, x0:x1].sum() / mask.sum()
            tight = (x1 - x0) * (y1 - y0) / ((np.ptp(np.nonzero(mask)[0]) + 1) * (np.ptp(np.nonzero(mask)[1]) + 1))
            assert covered > 0.85
            assert 0.75 < tight < 1.3
            seen += 1
    assert seen > 50


def test_refusals_are_true(rows: list[dict], phantom: Path) -> None:
    """What a refusal calls absent was asked for, and has no mask in any row about that image."""
    present: dict[str, set[str]] = {}
    for row in rows:
        present.setdefault(row["image_id"], set()).update(e["phrase"] for e in row["entities"])
    names = {name for case in open_source(parse_source(f"phantom={phantom}")).cases for name in case.labels}
    names |= vocabulary().keys()
    refused = 0
    for row in rows:
        if row["template"].startswith(("instruction-refusal", "instruction-mixed")):
            answer = re.sub(r"<p> .+? </p> <SEG>", "", row["answer"])
            [absent] = [name for name in sorted(names, key=len, reverse=True) if name in answer][:1]
            assert row["absent"] == [absent]
            assert absent not in present[row["image_id"]]
            assert absent in row["question"]
            refused += 1
    assert refused > 10


def test_perspective_filter(built: Path) -> None:
    everything = load_mimoseg(built)
    parts = [load_mimoseg(built, "train", perspective=p) for p in PERSPECTIVES]
    assert all(set(part["perspective"]) == {p} for p, part in zip(PERSPECTIVES, parts))
    assert sum(map(len, parts)) == len(everything)


def test_same_seed_same_rows(phantom: Path, built: Path, tmp_path: Path) -> None:
    spec = parse_source(f"phantom={phantom}")
    build([spec], tmp_path / "again", slices_per_volume=3, progress=False)
    build([spec], tmp_path / "other", slices_per_volume=3, seed=1, progress=False)

    def digest(folder: Path) -> str:
        table = load_mimoseg(folder).data.table.to_pylist()
        return hashlib.sha256(json.dumps(table, default=repr).encode()).hexdigest()

    assert digest(tmp_path / "again") == digest(built)
    assert digest(tmp_path / "other") != digest(built)


def test_report_says_what_was_built(built: Path) -> None:
    report = json.loads((built / "dataset.json").read_text())
    assert report["split"] == "80:10:10"
    for split in SPLITS:
        rows = load_mimoseg(built, split)
        assert sum(report["rows"][split].values()) == len(rows)
        assert report["rows"][split]["CT, perspective IV"] == sum(
            row["modality"] == "CT" and row["perspective"] == 4 for row in rows
        )
    [source] = report["sources"]
    every = [row for split in SPLITS for row in load_mimoseg(built, split)]
    assert source["rows"] == len(every)
    assert source["images"] == len({row["image_id"] for row in every})
    assert source["failed"] == 0
    for split in SPLITS:
        assert report["patients"][split] == len(set(load_mimoseg(built, split)["patient"]))
    assert report["arguments"]["slices_per_volume"] == 3
    assert source["dropped"]["slice beyond the number for each volume"] > 0


def test_rows_say_where_they_come_from(rows: list[dict], phantom: Path) -> None:
    """The file below the source's folder; no two images share an id."""
    images: dict[str, tuple] = {}
    for row in rows:
        assert (phantom / row["file"]).exists()
        assert images.setdefault(row["image_id"], (row["file"], row["slice"])) == (row["file"], row["slice"])
    assert len(set(images.values())) == len(images)
    assert len({row["id"] for row in rows}) == len(rows)


def test_rows_of_a_case_are_together(built: Path) -> None:
    files = load_mimoseg(built)["file"]
    assert sum(one != other for one, other in pairwise(files)) + 1 == len(set(files))


def test_patients_are_hashed(built: Path) -> None:
    for patient in load_mimoseg(built)["patient"]:
        assert re.fullmatch(r"[0-9a-f]{16}", patient)


def folder_source(root: Path, mask: np.ndarray | None = None, mask_name: str = "a", labels: dict | None = None) -> Path:
    """images/a.png and masks/NAME.png."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    Image.fromarray(np.full((20, 30), 90, np.uint8)).save(root / "images" / "a.png")
    if mask is None:
        mask = np.zeros((20, 30), np.uint8)
        mask[5:15, 5:15] = 1
    Image.fromarray(mask).save(root / "masks" / f"{mask_name}.png")
    if labels is not None:
        (root / "labels.json").write_text(json.dumps(labels))
    return root


LIVER = {"modality": "CT", "labels": {"1": "liver"}}


def test_images_and_masks_layout(tmp_path: Path) -> None:
    root = folder_source(tmp_path / "set", labels=LIVER)
    build([parse_source(f"mine={root}")], tmp_path / "out", ratio="1:0:0", progress=False)
    rows = load_mimoseg(tmp_path / "out")
    assert {e["phrase"] for row in rows for e in row["entities"]} == {"liver"}
    expected = np.zeros((20, 30), dtype=bool)
    expected[5:15, 5:15] = True
    np.testing.assert_array_equal(decode_rle(next(r for r in rows if r["entities"])["entities"][0]["mask"]), expected)


def test_one_label_on_the_command_line(tmp_path: Path) -> None:
    root = folder_source(tmp_path / "set")
    build(
        [parse_source(f"mine={root},label=thyroid,modality=ultrasound")],
        tmp_path / "out",
        ratio="1:0:0",
        progress=False,
    )
    rows = load_mimoseg(tmp_path / "out")
    assert {e["phrase"] for row in rows for e in row["entities"]} == {"thyroid"}
    assert set(rows["modality"]) == {"ultrasound"}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"mask": np.ones((10, 30), np.uint8), "labels": LIVER}, "size [10, 30]"),
        ({"mask": np.full((20, 30), 7, np.uint8), "labels": LIVER}, "label value 7"),
        ({"mask_name": "b", "labels": LIVER}, "nothing named"),
        ({}, "no labels.json"),
        ({"labels": {"modality": "", "labels": {"1": "liver"}}}, "modality: '' is not the name"),
    ],
)
def test_masks_that_do_not_match_are_refused(tmp_path: Path, change: dict, found: str) -> None:
    root = folder_source(tmp_path / "set", **change)
    with pytest.raises(DataError) as error:
        build([parse_source(f"mine={root}")], tmp_path / "out", ratio="1:0:0", progress=False)
    assert found in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]  # nothing half-written stays


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    root = folder_source(tmp_path / "set", labels=LIVER)
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError):
        build([parse_source(f"mine={root}")], tmp_path / "out", ratio="1:0:0", progress=False)


@pytest.mark.parametrize("text", ["nothing", "a=", "=b", "a=b,colour=red", "a=b,modality=-"])
def test_bad_source_texts(text: str) -> None:
    with pytest.raises(MimoError):
        parse_source(text)


def test_decathlon_layout(tmp_path: Path) -> None:
    import nibabel as nib

    root = tmp_path / "Task99"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    values = np.random.default_rng(0).integers(0, 100, (16, 14, 6)).astype(np.int16)
    labels = np.zeros_like(values, dtype=np.uint8)
    labels[4:10, 4:12, 1:5] = 1
    for folder, array in (("imagesTr", values), ("labelsTr", labels)):
        nib.save(nib.Nifti1Image(array, np.diag([2, 2, 3, 1])), root / folder / "x_1.nii.gz")
    about = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "Pancreas"},
        "training": [{"image": "./imagesTr/x_1.nii.gz", "label": "./labelsTr/x_1.nii.gz"}],
    }
    (root / "dataset.json").write_text(json.dumps(about))
    [case] = open_source(parse_source(f"pancreas={root}")).cases
    assert case.modality == "CT"
    assert list(case.labels) == ["pancreas"]
    build([parse_source(f"pancreas={root}")], tmp_path / "out", ratio="1:0:0", progress=False)
    rows = load_mimoseg(tmp_path / "out")
    row = next(r for r in rows if r["entities"])
    # LPS display: rows run from anterior to posterior and columns from right to left, against this RAS file's axes
    expected = labels[::-1, ::-1, row["slice"]].T > 0
    np.testing.assert_array_equal(decode_rle(row["entities"][0]["mask"]), expected)
    assert row["spacing_mm"] == [2, 2]
