"""Learning a new kind of image from few labelled ones: weights that never saw it, fine-tuned as the viewers' train task does.

    mimo build --source endoscopy_polyp=DATA/endoscopy_polyp --perspectives 1,2 --split 70:15:15 --out runs/few-shot/polyp
    python benchmarks/few_shot.py --dataset runs/few-shot/polyp --weights WEIGHTS --out runs/few-shot/results.json \
        --picture docs/pictures/few-shot.png

The built set is of one source (of several modalities: `--modality`), and WEIGHTS must not know it. The 5, 20 and 100 images are
of its training split, each lot part of the next; the held-out images, of validation and test, are the same for all. U-Nets
learn from the same images for as many seconds of one core as the fine-tuning of the weights took. Rows that `--out` holds are
not made again; the picture has a panel for each source and modality in it, with what was trained as these options say.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib
import numpy as np
import pyarrow as pa
from datasets import Dataset as Rows
from datasets import concatenate_datasets
from matplotlib import pyplot
from real_baseline import ENCODERS, labelled_images, measure_unet, train_unet
from real_quality import DICE, KINDS, answers_of, ratio
from rich.console import Console
from rich.table import Table

from monai_mimo.data.dataset import rows_by_image
from monai_mimo.engines import fine_tune
from monai_mimo.engines.fine_tune import CHOICES
from monai_mimo.errors import InputError
from monai_mimo.files import write_json
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.models import Mimo
from monai_mimo.models.weights import fingerprint

BY_NAME, BY_BOX = "by name (I)", "box (II)"
UNETS = dict(zip(("U-Net, MIMO's encoder", "U-Net from scratch"), ENCODERS))


def choose_images(rows: Rows, count: int, seed: int) -> Rows:
    """The questions about `count` images drawn at random; those of a smaller count are among them."""
    groups = rows_by_image(rows)
    if len(groups) < count:
        raise InputError("images", f"{len(groups)} in the split", f"{count} or more")
    order = np.random.default_rng(seed).permutation(len(groups))[:count]
    return rows.select(sorted(number for place in order for number in groups[place]))


def to_measure(rows: Rows) -> Rows:
    """Of each image and what is asked for, the first question by name and the first by a box."""
    first: dict[tuple, int] = {}
    texts = rows.remove_columns("image")
    for number, row in enumerate(texts):
        if not row["points"]:
            names = tuple(entity["phrase"] for entity in row["entities"])
            first.setdefault((row["image_id"], row["perspective"], names), number)
    return rows.select(sorted(first.values()))


def write_set(folder: Path, **splits: Rows) -> Path:
    """A built set of these splits."""
    for split, rows in splits.items():
        table = rows.with_format("arrow")[:]
        (folder / split).mkdir(parents=True)
        with (
            pa.OSFile(str(folder / split / "data-00000.arrow"), "wb") as file,
            pa.ipc.new_stream(file, table.schema) as out,
        ):
            out.write_table(table)
    return folder


def measure_mimo(weights: Path, rows: Rows, max_tokens: int = 48) -> dict[str, Any]:
    """Dice of the answers to questions by name and by box, with intervals over patients."""
    records = answers_of(Mimo.from_pretrained(weights), rows, "asking", max_tokens)
    return {kind: ratio([r for r in records if KINDS[kind](r)], *DICE) for kind in (BY_NAME, BY_BOX)}


def learn_mimo(weights: Path, train: Rows, held_out: Rows, parts: str, **options: Any) -> dict[str, Any]:
    """Fine-tune weights: Dice, and the seconds of one core that its steps took."""
    times: list[float] = []
    with TemporaryDirectory() as folder:
        done = fine_tune(
            weights,
            write_set(Path(folder) / "set", train=train, validation=held_out.select(range(4))),  # measured below
            Path(folder) / "weights",
            parts=CHOICES[parts],
            on_step=lambda *_: times.append(time.process_time()),
            **options,
        )
        seconds = (times[-1] - times[0]) * len(times) / (len(times) - 1)
        return {"seconds": seconds, "steps": len(times), **measure_mimo(done.folder, held_out)}


def learn_unet(encoder: str, train: Rows, held_out: Rows, seconds: float, side: int) -> dict[str, Any]:
    """Train a U-Net for so long: Dice."""
    images, others = labelled_images(train), labelled_images(held_out)
    entities = sorted({entity for image in [*images, *others] for entity in image.masks})
    net, steps = train_unet(images, entities, encoder, side, seconds / 60, f"U-Net, {len(images)} images")
    value = measure_unet(net, entities, others, side)["all"]
    return {"seconds": seconds, "steps": steps, BY_NAME: {"value": value.pop("dice"), **value}}


def draw(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """The curves, a panel for each kind of image."""
    matplotlib.use("Agg")
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    figure, panels = pyplot.subplots(1, len(kinds), figsize=(5.2 * len(kinds), 4), sharey=True, squeeze=False)
    for panel, kind in zip(panels[0], kinds):
        here = [row for row in rows if row["kind"] == kind]
        counts = sorted({row["images"] for row in here})
        for learner in dict.fromkeys(row["learner"] for row in here):
            points = sorted((r for r in here if r["learner"] == learner), key=lambda r: r["images"])
            for question, style in ((BY_BOX, "--"), (BY_NAME, "-")):
                values = [row[question] for row in points if question in row]
                if not values:
                    continue
                x = [counts.index(row["images"]) for row in points]
                y = np.array([[v["value"], v["value"] - v["low"], v["high"] - v["value"]] for v in values])
                color = {"MIMO": "C0", **{name: f"C{n}" for n, name in enumerate(UNETS, start=1)}}[learner]
                label = f"MIMO, {'by name' if question == BY_NAME else 'by a box'}" if learner == "MIMO" else learner
                panel.errorbar(x, y[:, 0], y[:, 1:].T, fmt=f"o{style}", color=color, capsize=3, label=label)
        panel.set_xticks(range(len(counts)), [str(count) for count in counts])
        panel.set(title=kind, xlabel="labelled images", ylim=(0, 1))
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("Dice on images held out")
    panels[0][0].legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """For the terminal."""
    table = Table(box=None, pad_edge=False)
    for column in ("kind", "learner", "images", "steps", "seconds", "Dice by name", "Dice by box"):
        table.add_column(column)
    for row in rows:
        cells = [row.get(question) for question in (BY_NAME, BY_BOX)]
        values = [f"{c['value']:.3f} ({c['low']:.3f}-{c['high']:.3f})" if c else "" for c in cells]
        learner = f"{row['learner']}, {row['parts']}" if row.get("parts") else row["learner"]
        table.add_row(row["kind"], learner, *(f"{row.get(k, 0):.0f}" for k in ("images", "steps", "seconds")), *values)
    Console(width=150).print(table)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--modality", help="only its images")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs="+", default=[5, 20, 100])
    parser.add_argument("--held-out", type=int, default=40)
    parser.add_argument("--parts", choices=CHOICES, default="all")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--learners", nargs="+", choices=("MIMO", *UNETS), default=("MIMO", *UNETS))
    parser.add_argument("--seed", type=int, default=0, help="of the choice of images")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()

    splits = {split: load_mimoseg(options.dataset, split) for split in ("train", "validation", "test")}
    for split, part in splits.items():
        columns = zip(part["modality"], part["perspective"], part["absent"])
        keep = [
            n
            for n, (modality, perspective, absent) in enumerate(columns)
            if options.modality in (None, modality) and perspective in (1, 2) and not absent
        ]
        splits[split] = part.select(keep)
    others = concatenate_datasets([splits["validation"], splits["test"]])
    held_out = to_measure(choose_images(others, options.held_out, options.seed))
    kind = f"{held_out['source'][0]}, {held_out['modality'][0]}"
    about = {"kind": kind, "held_out": options.held_out, "seed": options.seed}
    tuning = {"parts": options.parts, "steps_asked": options.steps, "learning_rate": options.learning_rate}
    ours = {**about, "learner": "MIMO", "weights": fingerprint(options.weights)}
    rows: list[dict[str, Any]] = json.loads(options.out.read_text()) if options.out.exists() else []

    def known(key: dict[str, Any]) -> dict[str, Any] | None:
        return next((row for row in rows if key.items() <= row.items()), None)

    def add(row: dict[str, Any]) -> dict[str, Any]:
        rows.append(row)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, rows)
        return row

    if "MIMO" in options.learners and not known({**ours, "images": 0}):
        add({**ours, "images": 0, **measure_mimo(options.weights, held_out)})
    for count in options.images:
        train = choose_images(splits["train"], count, options.seed)
        key = {**ours, **tuning, "images": count}
        row = known(key)
        if row is None:
            learned = learn_mimo(
                options.weights,
                train,
                held_out,
                options.parts,
                steps=options.steps,
                learning_rate=options.learning_rate,
            )
            row = add({**key, **learned})
        side = Mimo.from_pretrained(options.weights).config.image_size
        for learner in [name for name in UNETS if name in options.learners]:
            key = {**about, "learner": learner, "images": count, "seconds": row["seconds"]}
            if known(key) is None:
                add({**key, **learn_unet(UNETS[learner], train, held_out, row["seconds"], side)})
    print_table(rows)
    if options.picture:
        shown = [
            row for row in rows if row["learner"] == "MIMO" and (not row["images"] or tuning.items() <= row.items())
        ]
        times = {row.get("seconds") for row in shown}
        draw(shown + [row for row in rows if row["learner"] in UNETS and row["seconds"] in times], options.picture)


if __name__ == "__main__":
    main()
