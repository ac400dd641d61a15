"""Make docs/pictures/real-*.png from what benchmarks/real_quality.py left:

    python docs/make_real_pictures.py runs/real/set runs/real/quality/records.jsonl

Only from sets whose licence allows it: chest radiographs (CC0), liver CT and hippocampus MR (CC-BY-SA). Of each the question by
name and the question with a box whose Dice is the median, and as failures those with the lowest.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from monai_mimo.evaluation.examples import prediction_row
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.visualize import panel

PICTURES = Path(__file__).parent / "pictures"
FREE = ("chest_xray_lung", "ct_liver", "Task04_Hippocampus")


def main(dataset: Path, records: Path) -> None:
    splits = {split: load_mimoseg(dataset, split) for split in ("validation", "test")}
    split_of = {name: rows for rows in splits.values() for name in rows["id"]}
    answers = [json.loads(line) for line in records.read_text().splitlines()]
    answers = [r for r in answers if r["source"] in FREE and r["perspective"] in (1, 2)]
    answers = [r for r in answers if r["counts"]["reference"]]
    typical, failures = [], []
    for number, source in enumerate(FREE):
        for boxes in (False, True):
            group = [r for r in answers if r["source"] == source and bool(r["boxes"]) == boxes and not r["points"]]
            group.sort(key=lambda r: r["counts"]["dice"] / r["counts"]["reference"])
            if bool(number % 2) == boxes:
                typical.append(group[len(group) // 2])
            if not boxes:
                failures.append(group[0])
    panel([prediction_row(r, split_of[r["id"]]) for r in typical], PICTURES / "real-answers.png")
    panel([prediction_row(r, split_of[r["id"]]) for r in failures], PICTURES / "real-failures.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
