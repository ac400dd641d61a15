"""Make docs/pictures from a run of `make train`:  python docs/make_pictures.py runs/phantom

Nothing is drawn by hand: answers.png and panel-MODALITY.png come from the run's predictions on the test split, and
phantom.png from its data set. The first question of each kind is taken, whether it was answered well or not.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from monai_mimo.evaluation.examples import prediction_row
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.mimoseg.encoding import decode_rle
from monai_mimo.visualize import overlay, panel, phrase_colors, save_figure

PICTURES = Path(__file__).parent / "pictures"


def phantom_sheet(rows: list[dict], path: Path) -> None:
    """Draw one image of each modality above its labels."""
    figure = Figure(figsize=(2 * len(rows), 4.3), layout="constrained")
    axes = figure.subplots(2, len(rows))
    for column, row in enumerate(rows):
        pixels = np.asarray(row["image"].convert("RGB"))
        masks = [decode_rle(e["mask"]) for e in row["entities"]]
        axes[0, column].imshow(pixels)
        axes[0, column].set_title(row["modality"], fontsize=11)
        axes[1, column].imshow(overlay(pixels, masks, phrase_colors(len(masks))))
        axes[1, column].set_title("\n".join(e["phrase"] for e in row["entities"]), fontsize=8, y=-0.08, va="top")
        for axis in axes[:, column]:
            axis.axis("off")
    save_figure(figure, path, dpi=90)


def main(run: Path) -> None:
    PICTURES.mkdir(exist_ok=True)
    test = load_mimoseg(run / "dataset", "test")
    rows = {row["id"]: row for row in test}
    records = [json.loads(line) for line in (run / "evaluation" / "predictions.jsonl").read_text().splitlines()]
    modalities = list(dict.fromkeys(r["modality"] for r in records))

    chosen = []
    for number, modality in enumerate(modalities):
        wanted = 1 + number % 2
        chosen.append(next(r for r in records if (r["modality"], r["perspective"]) == (modality, wanted)))
    panel([prediction_row(r, test) for r in chosen], PICTURES / "answers.png")
    for modality in modalities:
        shutil.copy(run / "evaluation" / "panels" / f"{modality}.png", PICTURES / f"panel-{modality}.png")
    shutil.copy(run / "curves.png", PICTURES / "curves.png")

    fullest = {}
    for row in rows.values():
        best = fullest.setdefault(row["modality"], row)
        if len(row["entities"]) > len(best["entities"]):
            fullest[row["modality"]] = row
    phantom_sheet(list(fullest.values()), PICTURES / "phantom.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
