"""Does it segment what it never learned? Train on all sets but one, then point at the structures of that one.

    mimo build --data DATA --split 80:10:10 --out runs/real/set
    python benchmarks/leave_one_out.py --dataset runs/real/set --out runs/leave-one-out

For each set: a short run (benchmarks/short_run.py) that starts from the encoder of ImageNet and never saw the set, neither images
nor texts, is given the true box of a structure, and points in structures, on the images of the set that no run was trained on.
The phrase has to be wrong; what is measured is the mask of the first `<SEG>` of the answer, and where there is none, it counts
0. Beside it stand a run of as many steps on all sets, and the ellipse that fills the box. To spend the steps on what is
measured, all runs are trained on questions of perspective II alone. Runs that have a result are not repeated.
docs/generalisation.md shows the results.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset as Rows
from datasets import concatenate_datasets
from monai.utils import set_determinism
from real_quality import mean_with_interval
from short_run import Recipe, answers, read_result, reading, start_reading, train, write_result

from monai_mimo.evaluation.records import Record
from monai_mimo.metrics.matching import overlaps
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.mimoseg.encoding import decode_rle
from monai_mimo.models import Mimo

ALL = "all sets"


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The box (x0, y0, x1, y1), inclusive-exclusive, of a mask bool [h, w] that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def ellipse_in(box: Sequence[float], height: int, width: int) -> np.ndarray:
    """The ellipse that touches the sides of a box, filled: bool [h, w]."""
    x0, y0, x1, y1 = box
    y, x = np.mgrid[:height, :width] + 0.5
    return ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 <= 1


def questions_about_one(rows: Rows) -> Rows:
    """The questions of perspective II about one structure; a box is made the true one (the set's are a little off)."""
    texts = rows.select_columns(["perspective", "entities", "boxes"])
    keep, boxes = [], []
    for number, row in enumerate(texts):
        if row["perspective"] == 2 and len(row["entities"]) == 1:
            keep.append(number)
            boxes.append([box_of(decode_rle(row["entities"][0]["mask"]))] if row["boxes"] else [])
    feature = rows.features["boxes"]
    return rows.select(keep).flatten_indices().remove_columns(["boxes"]).add_column("boxes", boxes, feature=feature)


def dice_of_first(record: Record) -> float:
    """Dice of the first mask of an answer, whatever its phrase; 0 without any."""
    said = record["predicted_entities"]
    if not said:
        return 0.0
    return overlaps(decode_rle(said[0]["mask"]), decode_rle(record["entities"][0]["mask"]))[1]


def dice_of_ellipse(record: Record) -> float:
    """Dice of the ellipse in the box of a question."""
    mask = decode_rle(record["entities"][0]["mask"])
    return overlaps(ellipse_in(record["boxes"][0], *mask.shape), mask)[1]


def mean_of(records: Sequence[Record], values: Sequence[float]) -> dict[str, Any]:
    """The mean of a value of each record, with its 95 % interval over patients."""
    return {**mean_with_interval([r["patient"] for r in records], values), "questions": len(records)}


def summarise(records: Sequence[Record]) -> dict[str, Any]:
    """Of the box and the point questions: Dice of the first mask, and how many answers had none; Dice of the ellipse."""
    boxes, points = [r for r in records if r["boxes"]], [r for r in records if r["points"]]
    result: dict[str, Any] = {"ellipse": mean_of(boxes, [dice_of_ellipse(r) for r in boxes])}
    for kind, asked in (("box", boxes), ("point", points)):
        result[kind] = mean_of(asked, [dice_of_first(r) for r in asked])
        result[kind]["without_mask"] = sum(not r["predicted_entities"] for r in asked)
        result[kind]["named_right"] = sum(bool(r["counts"]["phrases_right"]) for r in asked)
    return result


def trained(rows: Rows, recipe: Recipe, folder: Path, seed: int, name: str) -> Mimo:
    """A short run on `rows`, its reading of the texts included, which is kept in `folder`."""
    config = recipe.config()
    reading(config, rows, folder)
    set_determinism(seed)
    model = Mimo(config, Mimo.from_pretrained(folder).tokenizer)
    start_reading(model, folder)
    train(model, rows, recipe, seed, name)
    return model


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--leave-out", nargs="*", help="only these sets (and the run on all); default: each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/leave-one-out"))
    Recipe.add_options(parser)
    parser.set_defaults(reading_steps=40)
    options = parser.parse_args()
    recipe, out = Recipe.from_options(options), options.out

    train_rows = load_mimoseg(options.dataset, "train", perspective=2)
    kept_apart = concatenate_datasets([load_mimoseg(options.dataset, split) for split in ("validation", "test")])
    asked = questions_about_one(kept_apart)
    asked_sources, sources = np.array(asked["source"]), np.array(train_rows["source"])
    names = sorted(set(sources))
    if unknown := set(options.leave_out or ()) - set(names):
        parser.error(f"--leave-out {min(unknown)}: the sets are {', '.join(names)}")

    for left_out in (ALL, *(names if options.leave_out is None else options.leave_out)):
        file = out / f"{left_out.replace(' ', '-')}-{options.seed}.json"
        if read_result(file, recipe) is not None:
            continue
        start = time.process_time()
        rows = train_rows.select(np.flatnonzero(sources != left_out))
        model = trained(rows, recipe, out / f"reading-{left_out.replace(' ', '-')}", options.seed, left_out)
        results = {}
        for source in names if left_out == ALL else [left_out]:
            questions = asked.select(np.flatnonzero(asked_sources == source))
            results[source] = summarise(answers(model, questions, recipe, source))
        write_result(file, recipe, seed=options.seed, results=results, seconds=round(time.process_time() - start, 1))
    print(markdown(out, options.seed, recipe, names))


def markdown(out: Path, seed: int, recipe: Recipe, names: Sequence[str]) -> str:
    """The results that there are, as a table."""
    titles = (
        "set left out", "box questions", "box", "box, trained on all sets", "ellipse in the box", "point questions",
        "point", "point, trained on all sets", "answers without a mask, box / point", "right phrase, all sets, box",
    )  # fmt: skip
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    on_all = read_result(out / f"{ALL.replace(' ', '-')}-{seed}.json", recipe)
    for name in names:
        result = read_result(out / f"{name}-{seed}.json", recipe)
        if result is None or on_all is None:
            continue
        own, theirs = result["results"][name], on_all["results"][name]
        none = f"{own['box']['without_mask']} / {own['point']['without_mask']}"
        right = theirs["box"]["named_right"] / theirs["box"]["questions"]
        cells = [
            name, str(own["box"]["questions"]), interval(own["box"]), interval(theirs["box"]), interval(own["ellipse"]),
            str(own["point"]["questions"]), interval(own["point"]), interval(theirs["point"]), none, f"{right:.2f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def interval(value: dict[str, Any]) -> str:
    """A mean with its interval."""
    return f"{value['value']:.3f} ({value['low']:.3f}-{value['high']:.3f})"


if __name__ == "__main__":
    main()
