"""The built set as others open it, and the files that it consists of."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from datasets import load_dataset

from monai_mimo.errors import DataError
from monai_mimo.mimoseg import SourceSpec, build, load_mimoseg
from monai_mimo.mimoseg.builder import shards as assemble
from monai_mimo.mimoseg.load import FEATURES

from .small_source import contents, small_source

SPLITS = ("train", "validation", "test")


def test_datasets_opens_it_by_its_card(built: Path, tmp_path: Path) -> None:
    opened = load_dataset(str(built), cache_dir=str(tmp_path))
    assert set(opened) == set(SPLITS)
    for split in SPLITS:
        ours = load_mimoseg(built, split)
        assert opened[split].features == ours.features == FEATURES
        assert opened[split]["id"][:] == ours["id"][:]
    row, same = opened["train"][3], load_mimoseg(built)[3]
    assert row["image"].tobytes() == same["image"].tobytes()
    assert {k: v for k, v in row.items() if k != "image"} == {k: v for k, v in same.items() if k != "image"}


def test_a_split_without_rows_opens(tmp_path: Path) -> None:
    root = small_source(tmp_path / "small", 4, 0)
    build([SourceSpec("small", root)], tmp_path / "out", ratio="1:0:0", progress=False)
    assert len(load_mimoseg(tmp_path / "out", "test")) == 0
    opened = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in opened.items()} == {"train": len(load_mimoseg(tmp_path / "out"))}


def test_a_set_without_rows_is_refused(tmp_path: Path) -> None:
    root = small_source(tmp_path / "small", 4, 0)
    spec = SourceSpec("mine", root, label="widget", modality="CT")
    with pytest.raises(DataError, match="no row"):
        build([spec], tmp_path / "out", perspectives=(3,), progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


def test_card_counts_and_warns(built: Path) -> None:
    text = (built / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    splits = {s["name"]: s["num_examples"] for s in yaml.safe_load(head)["dataset_info"]["splits"]}
    assert splits == {split: len(load_mimoseg(built, split)) for split in SPLITS}
    assert "not reviewed by a clinician" in " ".join(body.split())
    assert "not for diagnosis" in body


def test_card_tells_the_licence_of_a_set_in_the_catalogue(tmp_path: Path) -> None:
    root = small_source(tmp_path / "small", 4, 0)
    specs = [SourceSpec("KiTS", root, label="kidney", modality="CT"), SourceSpec("mine", root)]
    build(specs, tmp_path / "out", progress=False)
    lines = (tmp_path / "out" / "README.md").read_text().splitlines()
    assert any(line.startswith("| KiTS | 4 | 4 |") and "CC BY-NC-SA 4.0" in line for line in lines)
    assert any(line.startswith("| mine | 4 | 4 |") and line.endswith("| unknown |  |") for line in lines)


def test_files_are_bounded_and_keep_cases_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small_source(tmp_path / "small")
    build([SourceSpec("small", root)], tmp_path / "one", progress=False)
    monkeypatch.setattr(assemble, "FILE_BYTES", 20_000)
    monkeypatch.setattr(assemble, "BATCH_ROWS", 5)
    build([SourceSpec("small", root)], tmp_path / "many", progress=False)
    one, many = (load_mimoseg(tmp_path / name) for name in ("one", "many"))
    assert one.data.table.equals(many.data.table.cast(one.data.table.schema))
    files = sorted((tmp_path / "many" / "train").iterdir())
    assert len(files) > 3
    assert [f.name for f in files] == [f"data-{n:05d}.arrow" for n in range(len(files))]
    cases: list[set[str]] = [set(pa.ipc.open_stream(f.read_bytes()).read_all()["file"].to_pylist()) for f in files]
    assert sum(map(len, cases)) == len(set.union(*cases))


def test_opening_and_shuffling_writes_nothing_that_is_taken_for_rows(tmp_path: Path) -> None:
    """`datasets` puts its index files beside the data."""
    build([SourceSpec("small", small_source(tmp_path / "small"))], tmp_path / "out", progress=False)
    count = len(load_mimoseg(tmp_path / "out"))
    load_mimoseg(tmp_path / "out").shuffle(seed=1)[0]
    load_mimoseg(tmp_path / "out", perspective=2).shuffle(seed=1)[0]
    assert len(load_mimoseg(tmp_path / "out")) == count


def test_the_images_are_there_once_for_each_row_and_no_more(tmp_path: Path) -> None:
    build([SourceSpec("small", small_source(tmp_path / "small"))], tmp_path / "out", progress=False)
    files = contents(tmp_path / "out")
    assert set(files) == {"README.md", "dataset.json", *(f"{split}/data-00000.arrow" for split in SPLITS)}
    bytes_of_rows = sum(load_mimoseg(tmp_path / "out", split).data.nbytes for split in SPLITS)
    assert sum(map(len, files.values())) < 1.2 * bytes_of_rows + 100_000


def test_what_is_not_there_is_refused(built: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no train/"):
        load_mimoseg(tmp_path)
    with pytest.raises(DataError, match="split 'val'"):
        load_mimoseg(built, "val")
