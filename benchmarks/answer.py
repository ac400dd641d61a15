"""How fast weights answer on one thread of a CPU: encoding an image, a question about it, start-up, memory.

    python benchmarks/answer.py --dataset runs/real/set [--weights DIR] [--repeats 15] [--busy]

The second question is answered with 24 tokens and one mask. Times are by the clock, or with --busy what the thread computes, for
a machine that does other things too. Start-up and peak memory are those of a process of its own, which has the imports already.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from monai_mimo.data.dataset import rows_by_image
from monai_mimo.errors import DataError
from monai_mimo.inference import MimoPredictor
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.models.default_weights import default_weights_dir
from monai_mimo.models.weights import fingerprint

TOKENS = 24
Question = tuple[np.ndarray, str]
Clock = Callable[[], float]


def long_question(weights: Path, dataset: str) -> Question:
    """An image, and a question of perspective III whose answer by the weights has at least 24 tokens, and one mask among them.

    Raises:
        DataError: there is none in the first images.
    """
    predictor, rows = MimoPredictor.from_pretrained(weights), load_mimoseg(dataset, "validation")
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


def start(weights: Path, question: Question, clock: Clock) -> tuple[float, float]:
    """Seconds until weights are loaded, an image is encoded and the first answer is there; peak memory in MiB."""
    begin = clock()
    predictor = MimoPredictor.from_pretrained(weights)
    predictor.set_image(question[0])
    predictor.ask(question[1], max_tokens=TOKENS)
    return clock() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def times(weights: Path, question: Question, repeats: int, clock: Clock) -> dict[str, float]:
    """Median milliseconds: "encode" an image, "first token" and whole "answer" of a question about it."""
    pixels, text = question
    predictor = MimoPredictor.from_pretrained(weights)
    taken: dict[str, list[float]] = {"encode": [], "first token": [], "answer": []}
    for number in tqdm(range(repeats + 2), desc="asked"):
        moments: list[float] = []
        begin = clock()
        predictor.set_image(pixels)
        encoded = clock()
        predictor.ask(text, max_tokens=TOKENS, on_text=lambda _, to=moments: to.append(clock()))
        end = clock()
        if number > 1:  # the first ones warm up
            for key, value in zip(taken, (encoded - begin, moments[0] - encoded, end - encoded)):
                taken[key].append(1000 * value)
    return {key: statistics.median(values) for key, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--weights", type=Path, help="default: those of `mimo ask`")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--busy", action="store_true", help="times that the thread computes, not by the clock")
    options = parser.parse_args()
    torch.set_num_threads(1)
    weights = options.weights or default_weights_dir()
    question = apart(long_question, weights, options.dataset)
    begun, memory = apart(start, weights, question, time.process_time if options.busy else time.perf_counter)
    took = times(weights, question, options.repeats, time.thread_time if options.busy else time.perf_counter)
    both = took["encode"] + took["answer"]
    print(f"{weights.name}@{fingerprint(weights)}, question: {question[1]}")
    print("| what | measured |\n|---|---|")
    print(f"| an image, encoded | {took['encode']:.1f} ms |")
    print(f"| first token of a question about an encoded image | {took['first token']:.1f} ms |")
    print(f"| its answer of {TOKENS} tokens with one mask | {took['answer']:.1f} ms |")
    print(f"| image and answer, against the answer alone | {both / took['answer']:.2f} x |")
    print(f"| load weights, encode an image, answer (imports not counted) | {begun:.2f} s |")
    print(f"| peak memory of that process, with all imports | {memory:.0f} MiB |")


if __name__ == "__main__":
    main()
