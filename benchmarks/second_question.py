"""How much faster is the second question about an image? Time to the first text of the answer, both in one process.

    python benchmarks/second_question.py [--weights DIR] [--image FILE]

The first question is asked as `mimo ask` asks it: imports, weights, image, encoding, and then the question. "warm" leaves
imports and weights out.
"""

from __future__ import annotations

import argparse
import statistics
import time

started = time.perf_counter()

import numpy as np  # noqa: E402

from monai_mimo.inference import MimoPredictor  # noqa: E402


def ask(predictor: MimoPredictor) -> float:
    """The moment when the first text of the answer is there."""
    moments: list[float] = []
    predictor.ask("What is at <point>?", points=[(50, 50)], on_text=lambda _: moments.append(time.perf_counter()))
    return moments[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights")
    parser.add_argument("--image")
    options = parser.parse_args()
    image = options.image or np.random.default_rng(0).integers(0, 255, (512, 512, 3), dtype=np.uint8)

    predictor = MimoPredictor.from_pretrained(options.weights)
    predictor.set_image(image)
    first = ask(predictor) - started

    warm, second = [], []
    for _ in range(20):
        begin = time.perf_counter()
        predictor.set_image(image)
        warm.append(ask(predictor) - begin)
        begin = time.perf_counter()
        second.append(ask(predictor) - begin)
    later = statistics.median(second)
    print("time to the first text (median of 20 where repeated)")
    print(f"  first question of the process   {first * 1000:8.0f} ms   {first / later:6.1f} x")
    print(
        f"  first question about an image   {statistics.median(warm) * 1000:8.1f} ms   {statistics.median(warm) / later:6.1f} x"
    )
    print(f"  second question about it        {later * 1000:8.1f} ms      1.0 x")


if __name__ == "__main__":
    main()
