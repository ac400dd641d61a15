"""The numbers of `mimo stats`: counted by hand on a small set, and by plain loops on the phantom."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from monai_mimo.cli import main
from monai_mimo.errors import DataError, OutputError
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.mimoseg.catalogue import Record
from monai_mimo.mimoseg.describe import statistics as stats
from monai_mimo.mimoseg.describe.statistics import Counts, count_samples, open_splits, published_splits
from monai_mimo.mimoseg.describe.tables import Table, tables, write_statistics
from monai_mimo.mimoseg.encoding import plain_answer
from monai_mimo.mimoseg.load import FEATURES

from ..hand_counted import datasets, measured_row, splits, write_set


def test_hand_counted_numbers() -> None:
    s = count_samples(datasets())
    assert s.samples == {
        0: {"train": 0, "validation": 0, "test": 1},
        1: {"train": 0, "validation": 2, "test": 1},
        2: {"train": 0, "validation": 1, "test": 0},
        3: {"train": 2, "validation": 0, "test": 0},
        4: {"train": 1, "validation": 0, "test": 0},
        5: {"train": 0, "validation": 1, "test": 0},
    }
    assert s.modalities == {"X-ray": Counts(2, 1, 5), "CT": Counts(2, 3, 3), "": Counts(1, 0, 1)}
    assert list(s.modalities) == ["X-ray", "CT", ""]
    assert s.total == Counts(5, 4, 9)
    assert [(e.entity, e.modalities, e.masks, e.samples) for e in s.entities] == [
        ("kidney tumor", ("CT",), 2, 2),
        ("kidney", ("CT",), 1, 2),
        ("lung", ("X-ray",), 1, 3),
    ]
    kits, mine, questions = s.sources
    assert (kits.source, kits.modality, kits.perspectives) == ("KiTS", "CT", (3, 4))
    assert kits.entities == ("kidney", "kidney tumor")
    assert kits.counts == Counts(2, 3, 3)
    assert (kits.published_images, kits.published_masks) == (33112, 40874)
    assert mine.counts == Counts(2, 1, 5)
    assert mine.perspectives == (1, 2, 5)
    assert mine.published_images is None
    assert questions.counts == Counts(1, 0, 1)


def test_differences_from_the_published_counts() -> None:
    table = next(t for t in tables(count_samples(datasets())) if t.name == "sources")
    kits = dict(zip(table.columns, table.rows[0]))
    assert kits["difference of images"] == 2 - 33112
    assert kits["difference of masks"] == 3 - 40874
    assert dict(zip(table.columns, table.rows[1]))["difference of images"] is None


def test_published_totals() -> None:
    """The published table's own sums: 872,590 samples, of which 859,003 : 6,912 : 6,675."""
    cells = published_splits().values()
    assert [sum(c[split] for c in cells) for split in stats.SPLITS] == [859003, 6912, 6675]


def test_the_same_by_plain_loops(built: Path) -> None:
    s = count_samples(open_splits(built))
    rows = {split: list(load_mimoseg(built, split).remove_columns("image")) for split in stats.SPLITS}
    everything = [row for part in rows.values() for row in part]
    for split, part in rows.items():
        assert Counter(r["perspective"] for r in part) == Counter(
            {p: n[split] for p, n in s.samples.items() if n[split]}
        )
    for modality, counts in s.modalities.items():
        own = [r for r in everything if r["modality"] == modality]
        masks = {(r["image_id"], e["phrase"]) for r in own for e in r["entities"]}
        assert counts == Counts(len({r["image_id"] for r in own}), len(masks), len(own))
    for entity in s.entities:
        grounding = [r for r in everything if entity.entity in {e["phrase"] for e in r["entities"]}]
        assert entity.masks == len({r["image_id"] for r in grounding})
        assert set(entity.modalities) == {r["modality"] for r in grounding}
    assert sum(source.counts.samples for source in s.sources) == len(everything)


def test_rows_of_one_set_go_to_their_row_of_the_published_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def series(sequences: list[str], perspectives: list[int], images: int) -> dict:
        published = {"images": images, "masks": 2 * images, "labels": "Tumor"}
        return {
            "modality": "MR",
            "sequences": {s: s for s in sequences},
            "perspectives": perspectives,
            "published": published,
        }

    texts = dict.fromkeys(("title", "licence", "homepage", "citation", "obtain"), "-")
    record = Record(
        name="Brains",
        aliases=["BRN"],
        **texts,
        layouts=[{"images": "{patient}.nii", "labels": [{"file": "{patient}-l.nii", "entities": {"tumor": [1]}}]}],
        series=[series(["FLAIR", "T1CE"], [1, 2], 10), series(["T1", "T2"], [3, 4], 20)],
    )
    monkeypatch.setattr(stats, "find_record", {"brn": record, "Brains": record}.get)

    def place(*key: str | int) -> int | None:
        found = stats.published_series("brn", "MR", *key)  # type: ignore[arg-type]
        return found and found[0]

    assert place("FLAIR", 2) == 0
    assert place("T2", 3) == 1
    assert place("T2", 1) is None
    assert stats.published_series("brn", "CT", "", 1) is None
    rows = datasets()["train"].to_list()
    for row, sequence in zip(rows, ("T1", "T2", "FLAIR")):
        row |= {"source": "Brains", "modality": "MR", "sequence": sequence}
    rows[2]["perspective"] = 1
    first, second = count_samples({"train": Dataset.from_list(rows, features=FEATURES)}).sources
    assert (first.sequences, first.counts.images, first.published_images) == (("FLAIR",), 1, 10)
    assert (second.sequences, second.counts.images, second.published_masks) == (("T1", "T2"), 1, 40)


def test_measured_questions_are_apart_from_the_published_table() -> None:
    """A line of their own, without published counts, so that the others can be compared with the table as before."""
    rows = [*splits()["train"], measured_row(2, "a", "KiTS", "CT")]
    apart, kits = count_samples({"train": Dataset.from_list(rows, features=FEATURES)}).sources
    assert (kits.perspectives, kits.counts, kits.published_images) == ((3, 4), Counts(2, 3, 3), 33112)
    assert (apart.source, apart.perspectives, apart.counts) == ("KiTS", (5,), Counts(1, 1, 1))
    assert apart.published_images is None


def test_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = write_set(tmp_path / "set")
    assert main(["stats", str(folder), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "249,665" in printed
    names = {p.name for p in (tmp_path / "out").iterdir()}
    examples = {f"perspective-{p}.png" for p in ("VQA", "I", "II", "III", "IV", "V")}
    assert names == {f"{t}.csv" for t in ("samples", "modalities", "sources", "entities", "licences")} | examples | {
        "statistics.md",
        "samples.png",
        "modalities.png",
        "entities.png",
    }
    page = (tmp_path / "out" / "statistics.md").read_text()
    for name in names:
        assert name.endswith(".csv") or name == "statistics.md" or f"]({name})" in page
    for name in names:
        if name.endswith(".png"):
            assert np.asarray(Image.open(tmp_path / "out" / name)).std() > 5
    with open(tmp_path / "out" / "samples.csv", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[-1] == ["all", "3", "4", "2", "9", "859003", "6912", "6675", "872590"]


def test_what_exists_is_refused_or_replaced(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set")
    write_statistics(folder, tmp_path / "out")
    with pytest.raises(OutputError):
        write_statistics(folder, tmp_path / "out")
    (tmp_path / "out" / "samples.csv").write_text("old")
    write_statistics(folder, tmp_path / "out", force=True)
    assert (tmp_path / "out" / "samples.csv").read_text() != "old"
    with pytest.raises(OutputError):  # never a folder that is someone else's
        write_statistics(folder, folder, force=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "set"]


def test_no_built_set(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        write_statistics(tmp_path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_markdown_aligns_numbers() -> None:
    table = Table("t", "T", ["name", "n"], [["a|b", 1200], ["c", None]])
    assert table.markdown().splitlines() == [
        "| name |     n |",
        "|------|------:|",
        "| a\\|b | 1,200 |",
        "| c    |     - |",
    ]


def test_plain_answer() -> None:
    text, spans = plain_answer("The <p> left lung </p> <SEG> and the <p> liver </p> <SEG>.")
    assert text == "The left lung and the liver."
    assert [text[a:b] for a, b in spans] == ["left lung", "liver"]
    assert plain_answer("yes") == ("yes", [])
