"""How fast weights answer on a CPU, and what would make them faster: speed and quality side by side, ratios from one run.

    python benchmarks/fast_inference.py --dataset runs/real/set --out runs/real/fast [--weights DIR] [--variants NAME ...]

Each way of `faster_variants.py` answers the same questions of perspectives I and II about the first `--images` validation images
of each set; and, on one thread, taken in turn, so that what else the machine does hits all of them alike: an image is encoded,
and a second question about it is answered with 24 tokens and one mask. Times are by the clock, or with --busy what the thread
computes, for a machine that does other things too. Load time and peak memory are those of a process of its own for each, which
loads, changes the model and answers once. The same command goes on where a run was ended.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faster_variants import VARIANTS
from real_quality import DICE, F1, KINDS, answers_of, first_images, ratio
from tqdm import tqdm

from monai_mimo.data.dataset import rows_by_image
from monai_mimo.engines import of_perspectives
from monai_mimo.errors import DataError
from monai_mimo.inference import MimoPredictor
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.models import Mimo
from monai_mimo.models.default_weights import default_weights_dir
from monai_mimo.models.weights import fingerprint

TOKENS = 24
Question = tuple[np.ndarray, str]


def make(name: str, weights: Path) -> MimoPredictor:
    """The weights, changed that way."""
    return MimoPredictor(VARIANTS[name](Mimo.from_pretrained(weights)))


def long_question(weights: Path, dataset: str) -> Question:
    """An image, and a question of perspective III whose answer by the weights has at least 24 tokens, and one mask among them.

    Raises:
        DataError: there is none in the first images.
    """
    predictor, rows = make("as it is", weights), load_mimoseg(dataset, "validation")
    found: list[torch.Tensor] = []
    answer = predictor.model.answer

    def watched(*arguments: Any, **options: Any) -> Any:
        found.append((out := answer(*arguments, **options)).ids[0])
        return out

    predictor.model.answer = watched  # type: ignore[method-assign]
    for numbers in rows_by_image(rows)[:40]:
        row = rows[numbers[0]]
        pixels = np.asarray(row["image"].convert("RGB"))
        predictor.set_image(pixels)
        for number in numbers:
            if rows[number]["perspective"] == 3:
                said = predictor.ask(rows[number]["question"], max_tokens=TOKENS)
                if len(found[-1]) == TOKENS and len(said.entities) == 1:
                    return pixels, rows[number]["question"]
    raise DataError(
        dataset, "no answer of that length with one mask", "weights that answer questions of perspective III"
    )


def apart(function: Callable, *arguments: Any) -> Any:
    """What a function gives in a process of its own, which has the imports already, and nothing else."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(function, *arguments).result()


def start(name: str, weights: Path, question: Question, busy: bool) -> dict[str, Any]:
    """Seconds until the model is loaded and changed and an image encoded, and until the first answer is there; peak memory."""

    def clock() -> float:
        compiler = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + compiler.ru_utime + compiler.ru_stime if busy else time.perf_counter()

    begin = clock()
    predictor = make(name, weights)
    predictor.set_image(question[0])
    loaded = clock() - begin
    predictor.ask(question[1], max_tokens=TOKENS)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"load_s": loaded, "first_answer_s": clock() - begin, "memory_mib": memory}


def quality(name: str, weights: Path, dataset: str, images: int) -> dict[str, Any]:
    """Dice by kind of question, F1, and the answers."""
    rows = first_images(of_perspectives(load_mimoseg(dataset, "validation"), (1, 2)), images)
    model = make(name, weights).model
    records = answers_of(model, rows, name, max_tokens=TOKENS)
    dice = {kind: ratio([r for r in records if is_kind(r)], *DICE)["value"] for kind, is_kind in KINDS.items()}
    return {
        "dice": {kind: value for kind, value in dice.items() if not np.isnan(value)},
        "f1": ratio(records, *F1)["value"],
        "questions": len(records),
        "answers": [r["predicted_answer"] for r in records],
    }


def times(names: list[str], weights: Path, question: Question, repeats: int, busy: bool) -> dict[str, dict[str, float]]:
    """Median milliseconds of each step of each variant, in turn."""
    clock: Callable[[], float] = time.thread_time if busy else time.perf_counter
    pixels, text = question
    predictors = {name: make(name, weights) for name in names}
    taken: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for number in tqdm(range(repeats + 2), desc="in turn"):
        for name, predictor in predictors.items():
            moments: list[float] = []
            predictor.set_image(pixels)
            predictor.ask(text, max_tokens=2)
            begin = clock()
            predictor.set_image(pixels)
            encoded = clock()
            predictor.ask(text, max_tokens=TOKENS, on_text=lambda _, to=moments: to.append(clock()))
            end = clock()
            step = {"encode": encoded - begin, "first_token": moments[0] - encoded, "answer": end - encoded}
            if number > 1:  # the first ones compile
                for key, value in step.items():
                    taken[name].setdefault(key, []).append(1000 * value)
    return {name: {key: statistics.median(v) for key, v in of.items()} for name, of in taken.items()}


def table(results: dict[str, Any]) -> str:
    """Markdown: each variant beside the model as it is."""
    base = results["as it is"]
    kinds = list(base["dice"])
    head = [
        "variant",
        "encode",
        "first token",
        f"{TOKENS} tokens, one mask",
        "speed of an answer",
        "of image and answer",
    ]
    head += ["load", "peak memory", *(f"Dice {kind}" for kind in kinds), "F1", "same answers"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, of in results.items():
        if "failed" in of:
            lines.append(f"| {name} | does not run: {of['failed']} |" + " |" * (len(head) - 2))
            continue
        both = (base["encode"] + base["answer"]) / (of["encode"] + of["answer"])
        same = np.mean([a == b for a, b in zip(of["answers"], base["answers"], strict=True)])
        cells = [name, *(f"{of[key]:.1f} ms" for key in ("encode", "first_token", "answer"))]
        cells += [
            f"{base['answer'] / of['answer']:.2f} x",
            f"{both:.2f} x",
            f"{of['load_s']:.1f} s",
            f"{of['first_answer_s']:.1f} s",
        ]
        cells += [f"{of['memory_mib']:.0f} MiB", *(f"{of['dice'][kind]:.3f}" for kind in kinds)]
        cells += [f"{of['f1']:.3f}", f"{100 * same:.1f} %"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--weights", type=Path, help="default: those of `mimo ask`")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--images", type=int, default=16, help="of each set, for the quality")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--busy", action="store_true", help="times that the thread computes, not by the clock")
    parser.add_argument("--out", type=Path, required=True, help="fast.json and fast.md go there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    weights = options.weights or default_weights_dir()
    file = options.out / "fast.json"
    options.out.mkdir(parents=True, exist_ok=True)
    about = {"weights": f"{weights.name}@{fingerprint(weights)}", "images": options.images, "busy": options.busy}
    known = json.loads(file.read_text()) if file.exists() else {}
    results: dict[str, Any] = known["variants"] if known.get("about") == about else {}
    names = list(dict.fromkeys(["as it is", *options.variants]))

    question = apart(long_question, weights, options.dataset)
    for name in [name for name in names if name not in results]:  # before this process holds models of its own
        try:
            results[name] = apart(start, name, weights, question, options.busy)
        except Exception as error:
            traceback.print_exc()
            results[name] = {"failed": f"{type(error).__name__}: {error}".partition("\n")[0]}
    for name in names:
        if "failed" not in results[name] and "f1" not in results[name]:
            results[name] |= quality(name, weights, options.dataset, options.images)
            file.write_text(json.dumps({"about": about, "variants": results}, indent=1))
    run = [name for name in names if "failed" not in results[name]]
    for name, of in times(run, weights, question, options.repeats, options.busy).items():
        results[name] |= of
    file.write_text(json.dumps({"about": about, "variants": results}, indent=1))
    text = table({name: results[name] for name in names})
    (options.out / "fast.md").write_text(text + "\n")
    print(f"{about['weights']}, question: {question[1]}\n{text}")


if __name__ == "__main__":
    main()
