"""How much faster is the second question about an image? Time to the first token of the answer, both in one process.

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
from transformers.generation.streamers import BaseStreamer  # noqa: E402

from monai_mimo.inference import MimoPredictor  # noqa: E402


class FirstToken(BaseStreamer):
    """Notes when the first token of an answer is there; what `transformers` puts before it is the prompt."""

    def __init__(self) -> None:
        self.puts = 0
        self.at: float | None = None

    def put(self, value: object) -> None:
        self.puts += 1
        if self.puts == 2:
            self.at = time.perf_counter()

    def end(self) -> None:
        pass


def ask(predictor: MimoPredictor) -> float:
    """The moment of the first token."""
    first = FirstToken()
    predictor.ask("What is at <point>?", points=[(50, 50)], streamer=first)
    assert first.at is not None
    return first.at


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
    print("time to the first token (median of 20 where repeated)")
    print(f"  first question of the process   {first * 1000:8.0f} ms   {first / later:6.1f} x")
    print(
        f"  first question about an image   {statistics.median(warm) * 1000:8.1f} ms   {statistics.median(warm) / later:6.1f} x"
    )
    print(f"  second question about it        {later * 1000:8.1f} ms      1.0 x")


if __name__ == "__main__":
    main()
