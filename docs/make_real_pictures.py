"""Make docs/pictures/real-*.png from what benchmarks/real_quality.py left:

    python docs/make_real_pictures.py runs/real/set runs/real/quality/records.jsonl

Only from sets whose licence allows it: chest radiographs (CC0), liver CT and hippocampus MR (CC-BY-SA). Of each the question by
name and the question with a box whose Dice is the median, and as failures those with the lowest.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from make_pictures import row_of

from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.visualize import panel

PICTURES = Path(__file__).parent / "pictures"
FREE = ("chest_xray_lung", "ct_liver", "Task04_Hippocampus")


def main(dataset: Path, records: Path) -> None:
    rows = {}
    for split in ("validation", "test"):
        for row in load_mimoseg(dataset, split):
            if row["source"] in FREE and row["perspective"] in (1, 2):
                rows[row["id"]] = row
    answers = [json.loads(line) for line in records.read_text().splitlines()]
    answers = [r for r in answers if r["id"] in rows and r["counts"]["reference"]]
    typical, failures = [], []
    for number, source in enumerate(FREE):
        for boxes in (False, True):
            group = [r for r in answers if r["source"] == source and bool(r["boxes"]) == boxes and not r["points"]]
            group.sort(key=lambda r: r["counts"]["dice"] / r["counts"]["reference"])
            if bool(number % 2) == boxes:
                typical.append(group[len(group) // 2])
            if not boxes:
                failures.append(group[0])
    panel([row_of(r, rows[r["id"]]) for r in typical], PICTURES / "real-answers.png")
    panel([row_of(r, rows[r["id"]]) for r in failures], PICTURES / "real-failures.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
