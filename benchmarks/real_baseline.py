"""U-Nets, one for each set, to stand beside MIMO: trained on a built set, measured on its validation and test images.

    python benchmarks/real_baseline.py --dataset runs/real/set --minutes 40 --out runs/real/unets.json \
        [--encoder efficientnet-lite0|none] [--source endoscopy_polyp] [--mimo runs/real/quality/quality.json]

All sets together get `--minutes` of one core, the time that MIMO was trained, each the same part of it. Dice is measured as
benchmarks/real_quality.py measures MIMO by name: both splits that were not trained on, each entity where it is there, the
mean over all masks, with intervals by a bootstrap over patients. Rows that `--out` holds are not made again, so that sets
can be trained one by one, and the command goes on where it was stopped. `--mimo` is what real_quality.py wrote.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import concatenate_datasets
from real_quality import mean_with_interval
from rich.console import Console
from rich.table import Table
from torch import nn
from unets import ENCODERS, LabelledPixels, labelled_images, train_unet, unet_masks

from monai_mimo.errors import InputError
from monai_mimo.files import write_json
from monai_mimo.metrics import overlaps
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.models.weights import parameter_counts


def measure_unet(
    net: nn.Module, entities: Sequence[str], images: Sequence[LabelledPixels], side: int
) -> dict[str, dict[str, Any]]:
    """Dice of each entity and of "all", with intervals; only of entities that are there."""
    found: dict[str, list[tuple[str, float]]] = {entity: [] for entity in entities}
    for image in images:
        drawn = unet_masks(net, image.pixels, side)
        for entity, mask in image.masks.items():
            found[entity].append((image.patient, overlaps(drawn[entities.index(entity)], mask)[1]))
    found["all"] = [pair for pairs in list(found.values()) for pair in pairs]
    return {entity: of_masks(*zip(*pairs)) for entity, pairs in found.items() if pairs}


def of_masks(patients: Sequence[str], dice: Sequence[float]) -> dict[str, Any]:
    """The mean Dice of masks, with its interval over patients."""
    mean = mean_with_interval(patients, dice)
    return {"dice": mean.pop("value"), **mean, "masks": len(dice)}


def print_table(rows: Sequence[dict[str, Any]], mimo: dict[str, Any]) -> None:
    """For the terminal."""
    table = Table(box=None, pad_edge=False, title="Dice by name (95 % interval over patients)")
    for column in ("set", "entity", "masks", "patients", "encoder", "minutes", "steps", "U-Net", "MIMO"):
        table.add_column(column)
    for row in rows:
        for entity, value in row["dice"].items():
            if entity == "all" and len(row["dice"]) == 2:
                continue  # of one entity
            ours = mimo.get(row["source"], {}).get("by name (I)") if entity == "all" or len(row["dice"]) == 2 else None
            table.add_row(
                row["source"],
                entity,
                f"{value['masks']}",
                f"{value['patients']}",
                row["encoder"],
                f"{row['minutes']:g}",
                f"{row['steps']}",
                f"{value['dice']:.3f} ({value['low']:.3f}-{value['high']:.3f})",
                f"{ours['value']:.3f} ({ours['low']:.3f}-{ours['high']:.3f})" if ours else "",
            )
    Console(width=150).print(table)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--minutes", type=float, required=True, help="of one core, for all sets together")
    parser.add_argument("--encoder", choices=ENCODERS, default=ENCODERS[0])
    parser.add_argument("--source", help="only this set")
    parser.add_argument("--side", type=int, default=128, help="pixels of the square that the U-Nets read")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mimo", type=Path)
    options = parser.parse_args()

    train = load_mimoseg(options.dataset, "train")
    held_out = concatenate_datasets([load_mimoseg(options.dataset, split) for split in ("validation", "test")])
    sources = np.array(train["source"])
    names = sorted(set(sources))
    if options.source and options.source not in names:
        raise InputError("--source", options.source, f"one of {', '.join(names)}")
    rows = json.loads(options.out.read_text()) if options.out.exists() else []
    for source in [options.source] if options.source else names:
        key = {
            "source": source,
            "encoder": options.encoder,
            "minutes": options.minutes / len(names),
            "side": options.side,
            "seed": options.seed,
        }
        if any(key.items() <= row.items() for row in rows):
            continue
        images = labelled_images(train.select(np.flatnonzero(sources == source)))
        others = labelled_images(held_out.select(np.flatnonzero(np.array(held_out["source"]) == source)))
        entities = sorted({entity for image in [*images, *others] for entity in image.masks})
        net, steps = train_unet(
            images, entities, options.encoder, options.side, key["minutes"], source, seed=options.seed
        )
        dice = measure_unet(net, entities, others, options.side)
        rows.append(
            {**key, "steps": steps, "parameters": parameter_counts(net)[0], "images": len(images), "dice": dice}
        )
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, rows)
    print_table(rows, json.loads(options.mimo.read_text())["dice"] if options.mimo else {})


if __name__ == "__main__":
    main()
