"""Fits the out-of-domain score of weights, and measures it on images like those of training and on phantoms of other kinds.

    python benchmarks/out_of_domain.py --dataset runs/real/set --weights monai_mimo/models/trained/lite --phantom PHANTOM

The score is fitted on training images, its limit set on validation images, and the table made on test images and on those of
a built set of phantoms (`make train` makes runs/phantom/dataset). domain.safetensors is written beside the weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset as Rows
from rich.console import Console
from rich.table import Table
from torch import Tensor

from monai_mimo.data.dataset import rows_by_image
from monai_mimo.inference.domain import Domain, summary
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.models import Mimo
from monai_mimo.models.weights import load_weights
from monai_mimo.transforms import SquareResize


@torch.no_grad()
def summaries_by_kind(model: Mimo, rows: Rows, most: int = 100) -> dict[str, Tensor]:
    """[n, F] of up to `most` images of each source and modality."""
    found: dict[str, list[Tensor]] = {}
    for numbers in rows_by_image(rows):
        row = rows[numbers[0]]
        kind = f"{row['source']}, {row['modality']}"
        if len(found.setdefault(kind, [])) < most:
            pixels = np.asarray(row["image"].convert("RGB"))
            image = SquareResize(*pixels.shape[:2], model.config.image_size).image(pixels)
            found[kind].append(summary(model.encode(image[None]))[0])
    return {kind: torch.stack(values) for kind, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--phantom", required=True, help="a built set of phantoms")
    options = parser.parse_args()

    model = load_weights(options.weights)
    train, validation, test = (
        summaries_by_kind(model, load_mimoseg(options.dataset, split)) for split in ("train", "validation", "test")
    )
    domain = Domain.fit(list(train.values()), torch.cat(list(validation.values())))
    domain.save(options.weights)
    phantom = summaries_by_kind(model, load_mimoseg(options.phantom, "test"))
    table = Table(box=None, pad_edge=False)
    for title in ("images", "n", "median distance", "warned"):
        table.add_column(title)
    for kind, values in {**test, **phantom}.items():
        distance = domain.distance(values)
        warned = (distance > 1).float().mean().item()
        table.add_row(kind, str(len(values)), f"{distance.median().item():.2f}", f"{warned:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
