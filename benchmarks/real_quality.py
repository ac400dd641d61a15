"""How good weights are on real images, set by set and perspective by perspective, with bootstrap intervals over patients.

    mimo build --data DATA --split 80:10:10 --out runs/real/set
    python benchmarks/real_quality.py --dataset runs/real/set --weights monai_mimo/models/trained/lite --out runs/real/quality

Both splits that were not trained on (validation and test, 20 % of the patients of each set) are asked. Dice is the mean over
all expected entities; one that the answer does not ground counts 0. The temperature of the scores is fitted on the validation
patients, and the calibration measured on those of the test split; since each set has few patients in either, also on halves of
all of them drawn at random, a temperature from one and the error on the other. --write-temperature puts that of all of them
beside the weights, so that answers show calibrated scores; nothing here is measured with it. With --jitter the box questions
are asked once more with each edge of the box moved at random by up to that part of the box's side. With --moved SET, a built
set of perspective II alone, it is counted how often a prompt that moves to another structure of the same image changes the
answer to that structure. Questions that are answered from masks (perspective V) are counted apart: the accuracy of each
kind, beside always saying its most frequent answer.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset as Rows
from datasets import concatenate_datasets
from ignite.engine import Engine, Events
from rich.console import Console
from rich.table import Table

from monai_mimo.calibration.temperature import save_temperature
from monai_mimo.evaluation.answer_records import AnswerRecord, records_of_batch
from monai_mimo.evaluation.evaluator import GroundingEvaluator, evaluation_loader
from monai_mimo.evaluation.progress import Progress
from monai_mimo.evaluation.summary import measured_figures, prompted
from monai_mimo.metrics import (
    apply_temperature,
    bootstrap_ratios,
    fit_temperature,
    is_correct,
    prompt_swap_accuracy,
    reliability,
    sums_by_patient,
)
from monai_mimo.metrics.table import measured_text_table
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.mimoseg.categories import MEASURED
from monai_mimo.models import Mimo
from monai_mimo.models.default_weights import find_weights
from monai_mimo.models.weights import fingerprint

KINDS: dict[str, Callable[[AnswerRecord], bool]] = {
    "by name (I)": lambda r: r["perspective"] == 1,
    "box (II)": lambda r: r["perspective"] == 2 and bool(r["boxes"]),
    "point (II)": lambda r: r["perspective"] == 2 and bool(r["points"]),
    "from description (III)": lambda r: r["perspective"] == 3,
    "with knowledge (IV)": lambda r: r["perspective"] == 4,
}


# Names on the card, and the targets of Dice by name, with a box and with a point.
SETS = {
    "chest_xray_lung": ("lungs (X-ray)", 0.95, 0.95, 0.94),
    "endoscopy_polyp": ("polyp (endoscopy)", 0.84, 0.90, 0.86),
    "ultrasound_nerve": ("nerve (ultrasound)", 0.72, 0.82, 0.75),
    "ct_liver": ("liver (CT)", 0.88, 0.93, 0.90),
    "Task04_Hippocampus": ("hippocampus (MR)", 0.82, 0.85, 0.83),
}
OVER_ALL = {
    "F1, perspective I": 0.90,
    "F1, perspective II": 0.90,
    "F1, perspective III": 0.85,
    "F1, perspective IV": 0.85,
    "phrase accuracy": 0.97,
    "absent entity refused": 0.95,
}


def answers_of(model: Mimo, rows: Rows, name: str, max_tokens: int) -> list[AnswerRecord]:
    """A record of each question, in the order of the rows."""
    records: list[AnswerRecord] = []
    evaluator = GroundingEvaluator(
        "cpu",
        evaluation_loader(model, rows, 8),
        model,
        rows,
        max_tokens=max_tokens,
        val_handlers=[Progress(name)],
    )

    def collect(engine: Engine) -> None:
        records.extend(records_of_batch(engine.state.output))

    evaluator.add_event_handler(Events.ITERATION_COMPLETED, collect)
    evaluator.run()
    return records


def with_interval(patients: Sequence[str], values: np.ndarray) -> dict[str, Any]:
    """Of values [n, 2] the ratio of the sums of both columns, with its interval over patients, and how many those are."""
    sums = sums_by_patient(patients, values)
    [[low, high]] = bootstrap_ratios(sums[:, :1], sums[:, 1:])
    part, whole = values[:, 0].sum(), values[:, 1].sum()
    value = part / whole if whole else float("nan")
    return {"value": float(value), "low": float(low), "high": float(high), "patients": len(sums)}


def mean_with_interval(patients: Sequence[str], values: Sequence[float]) -> dict[str, Any]:
    """The mean of values [n], as `with_interval`."""
    return with_interval(patients, np.stack([values, np.ones(len(values))], axis=1))


def ratio(records: Sequence[AnswerRecord], part: dict[str, float], whole: dict[str, float]) -> dict[str, Any]:
    """A ratio of two sums of counts, with its interval over patients."""
    if not records:
        return {"value": float("nan"), "low": float("nan"), "high": float("nan"), "questions": 0, "patients": 0}
    patients = [f"{r['source']}/{r['patient']}" for r in records]
    values = np.array(
        [[sum(w * r["counts"][field] for field, w in side.items()) for side in (part, whole)] for r in records]
    )
    return {**with_interval(patients, values), "questions": len(records)}


DICE = {"dice": 1.0}, {"reference": 1.0}
F1 = {"correct": 2.0}, {"predicted": 1.0, "reference": 1.0}
PHRASES = {"phrases_right": 1.0}, {"samples": 1.0}
REFUSED = {"refused": 1.0}, {"refusals": 1.0}


def summarise(records: Sequence[AnswerRecord]) -> dict[str, Any]:
    """Dice of each set and kind of question, and what is measured over all sets; of perspective V, accuracy by kind."""
    from_masks = measured_figures(records)
    records = [r for r in records if r["perspective"] != MEASURED]
    sources = sorted({r["source"] for r in records})
    groups = {
        (source, kind): [r for r in records if r["source"] == source and is_kind(r)]
        for source in sources
        for kind, is_kind in KINDS.items()
    }
    over_all = {f"F1, {kind}": ratio([r for r in records if is_kind(r)], *F1) for kind, is_kind in KINDS.items()}
    for perspective, name in enumerate(("I", "II", "III", "IV"), start=1):
        over_all[f"F1, perspective {name}"] = ratio([r for r in records if r["perspective"] == perspective], *F1)
    over_all["phrase accuracy"] = ratio(records, *PHRASES)
    over_all["absent entity refused"] = ratio([r for r in records if r["counts"]["refusals"]], *REFUSED)
    return {
        "dice": {source: {kind: ratio(groups[source, kind], *DICE) for kind in KINDS} for source in sources},
        "all": over_all,
        "measured": from_masks,
        "moved_prompt": prompt_swap_accuracy(prompted(records))._asdict(),
    }


def scored(records: Sequence[AnswerRecord]) -> tuple[np.ndarray, np.ndarray]:
    """[n] scores of the answered phrases, and whether each is right."""
    said = [e for r in records for e in r["predicted_entities"]]
    return np.array([e["score"] for e in said]), is_correct([e["iou"] for e in said])


def calibrate(fit: Sequence[AnswerRecord], test: Sequence[AnswerRecord]) -> dict[str, float]:
    """Temperature from one split, expected calibration error on the other, before and after."""
    temperature = fit_temperature(*scored(fit))
    scores, right = scored(test)
    return {
        "temperature": temperature,
        "ece_before": reliability(scores, right.tolist()).ece,
        "ece": reliability(apply_temperature(scores, temperature).tolist(), right.tolist()).ece,
        "answers": len(scores),
    }


def calibrate_halves(records: Sequence[AnswerRecord], repeats: int = 100) -> dict[str, float]:
    """The temperature of all records; and the calibration error of one half of the patients of each set with the temperature of
    the other half, as mean and 95 % range over `repeats` random halves."""
    rng, errors = np.random.default_rng(0), []
    patients = {s: sorted({r["patient"] for r in records if r["source"] == s}) for s in {r["source"] for r in records}}
    for _ in range(repeats):
        half = {(source, patient) for source in sorted(patients) for patient in rng.permutation(patients[source])[::2]}
        one = [r for r in records if (r["source"], r["patient"]) in half]
        other = [r for r in records if (r["source"], r["patient"]) not in half]
        errors.append(calibrate(one, other)["ece"])
    low, high = np.percentile(errors, (2.5, 97.5))
    return {
        "temperature_of_all": fit_temperature(*scored(records)),
        "ece_halves": float(np.mean(errors)),
        "low": float(low),
        "high": float(high),
    }


def with_jitter(rows: Rows, part: float) -> Rows:
    """The box questions of II and IV, with each edge moved by up to `part` of the box's side, within the image."""
    asked = zip(rows["boxes"], rows["perspective"])
    rows = rows.select([n for n, (boxes, perspective) in enumerate(asked) if boxes and perspective != MEASURED])
    rng, moved = np.random.default_rng(0), []
    for boxes, (height, width) in zip(rows["boxes"], rows["size"]):
        new = []
        for x0, y0, x1, y1 in boxes:
            dx0, dy0, dx1, dy1 = rng.uniform(-part, part, 4) * (x1 - x0, y1 - y0, x1 - x0, y1 - y0)
            left, top = max(0, round(x0 + dx0)), max(0, round(y0 + dy0))
            right, bottom = min(width, round(x1 + dx1)), min(height, round(y1 + dy1))
            new.append([left, top, max(right, left + 1), max(bottom, top + 1)])
        moved.append(new)
    features = rows.features["boxes"]
    return rows.remove_columns(["boxes"]).add_column("boxes", moved, feature=features)


def where_prompts_differ(rows: Rows) -> Rows:
    """The prompted questions about one structure, of the images of which another is asked for too."""
    asked: dict[str, set[str]] = {}
    alone = {}
    for number, (image, entities) in enumerate(zip(rows["image_id"], rows["entities"])):
        if len(entities) == 1:
            alone[number] = image
            asked.setdefault(image, set()).add(entities[0]["phrase"])
    return rows.select([number for number, image in alone.items() if len(asked[image]) > 1])


def print_tables(result: dict[str, Any]) -> None:
    """For the terminal."""

    def cell(value: dict[str, Any]) -> str:
        return f"{value['value']:.3f} ({value['low']:.3f}-{value['high']:.3f})" if value["questions"] else "-"

    table = Table(box=None, pad_edge=False, title="Dice (95 % interval over patients)")
    for column in ("set", *KINDS):
        table.add_column(column)
    for source, kinds in result["dice"].items():
        table.add_row(source, *(cell(kinds[kind]) for kind in KINDS))
    Console(width=170).print(table)
    for name, value in result["all"].items():
        print(f"{name}: {cell(value)}, {value['questions']} questions")
    if result["measured"]:
        print(measured_text_table(result["measured"]).plain())
    print(f"moved prompt: {result['moved_prompt']}")
    print(f"calibration: {result['calibration']}")
    print(f"calibration of random halves: {result['calibration_halves']}")
    if "jitter" in result:
        print(f"boxes with jitter: {result['jitter']}")
    print(f"{result['seconds']:.0f} s")


def markdown(result: dict[str, Any]) -> str:
    """The tables of docs/model-card.md."""

    def cell(value: dict[str, Any], target: float | None = None) -> str:
        text = f"{value['value']:.3f} ({value['low']:.3f}-{value['high']:.3f})"
        return text if target is None else f"{text} / {target:.2f}"

    lines = [
        "| set | questions | by name (I) / target | box (II) / target | point (II) / target "
        "| description (III) | knowledge (IV) |",
        "|---|---|---|---|---|---|---|",
    ]
    for source, (name, *targets) in SETS.items():
        kinds = list(result["dice"][source].values())
        asked, patients = sum(kind["questions"] for kind in kinds), kinds[0]["patients"]
        cells = [cell(kind, target) for kind, target in zip(kinds, [*targets, None, None])]
        lines.append(f"| {name} | {asked} of {patients} patients | {' | '.join(cells)} |")
    lines += ["", "| over all sets | value (95 % interval) | target |", "|---|---|---|"]
    lines += [f"| {name} | {cell(result['all'][name])} | {target:.2f} |" for name, target in OVER_ALL.items()]
    moved, scores = result["moved_prompt"], result["calibration"]
    lines.append(f"| moved prompt: name and mask follow ({moved['pairs']} pairs) | {moved['accuracy']:.3f} | 0.90 |")
    lines.append(
        f"| expected calibration error of the score, before / after temperature {scores['temperature']:.2f} "
        f"| {scores['ece_before']:.3f} / {scores['ece']:.3f} | 0.05 |"
    )
    if "jitter" in result:
        before, after = result["jitter"]["dice_before"], result["jitter"]["dice_after"]
        lines.append(
            f"| Dice of box questions, and with edges jittered by 10 % "
            f"| {before:.3f} / {after:.3f} (drop {before - after:.3f}) | drop 0.03 |"
        )
    if result["measured"]:
        lines += ["", measured_text_table(result["measured"]).markdown()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--weights", help="default: those of `mimo ask`")
    parser.add_argument("--images", type=int, help="only the first so many images of each split and set")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--jitter", type=float, default=0.1)
    parser.add_argument(
        "--moved", help="a set of perspective II alone, where images are asked about several structures"
    )
    parser.add_argument("--write-temperature", action="store_true", help="put it beside the weights (calibration.json)")
    parser.add_argument("--out", type=Path, help="quality.json, records.jsonl and card.md go there")
    options = parser.parse_args()

    weights = find_weights(options.weights)
    model, start = Mimo.from_pretrained(weights), time.perf_counter()
    splits = {split: load_mimoseg(options.dataset, split) for split in ("validation", "test")}
    if options.images:
        splits = {split: first_images(rows, options.images) for split, rows in splits.items()}
    records = {split: answers_of(model, rows, split, options.max_tokens) for split, rows in splits.items()}
    everything = [r for part in records.values() for r in part]
    result = summarise(everything)
    result["calibration"] = calibrate(records["validation"], records["test"])
    result["calibration_halves"] = calibrate_halves(everything)
    if options.write_temperature:
        count = len({(r["source"], r["patient"]) for r in everything})
        answers = len(scored(everything)[0])
        on = f"{answers} phrases about {count} patients that were not trained on (validation and test)"
        save_temperature(weights, result["calibration_halves"]["temperature_of_all"], on)
    if options.moved:
        moved = concatenate_datasets([load_mimoseg(options.moved, split) for split in splits])
        answered = answers_of(model, where_prompts_differ(moved), "moved prompts", options.max_tokens)
        result["moved_prompt"] = prompt_swap_accuracy(prompted(answered))._asdict()
    if options.jitter:
        rows = with_jitter(concatenate_datasets(list(splits.values())), options.jitter)
        jittered = answers_of(model, rows, "jitter", options.max_tokens)
        before = ratio([r for r in everything if r["boxes"] and r["perspective"] != MEASURED], *DICE)["value"]
        after = ratio(jittered, *DICE)["value"]
        result["jitter"] = {"part": options.jitter, "dice_before": before, "dice_after": after}
    result["seconds"] = time.perf_counter() - start
    result["weights"] = f"{weights.name}@{fingerprint(weights)}"
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "quality.json").write_text(json.dumps(result, indent=2))
        if set(result["dice"]) >= set(SETS):
            (options.out / "card.md").write_text(markdown(result) + "\n")
        with open(options.out / "records.jsonl", "w") as file:
            file.writelines(json.dumps(record) + "\n" for record in everything)
    print_tables(result)


def first_images(rows: Rows, count: int) -> Rows:
    """The questions about the first `count` images of each source."""
    seen: dict[str, list[str]] = {}
    keep = []
    for number, (source, image) in enumerate(zip(rows["source"], rows["image_id"])):
        images = seen.setdefault(source, [])
        if image not in images and len(images) < count:
            images.append(image)
        if image in images:
            keep.append(number)
    return rows.select(keep)


if __name__ == "__main__":
    main()
