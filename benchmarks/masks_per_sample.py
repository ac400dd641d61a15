"""What does a training step cost with 8 masks in each answer, against 1? Both in one run, the same number of tokens.

python benchmarks/masks_per_sample.py [--preset tiny] [--steps 10]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from monai_mimo.data.collate import QuestionBatch, collate_questions
from monai_mimo.data.tokenizer import train_tokenizer
from monai_mimo.losses import MimoLoss, Targets
from monai_mimo.models import Mimo, load_preset
from monai_mimo.transforms import SquareResize

PHRASES = [f"organ {letter}" for letter in "abcdefgh"]


def batch_of(model: Mimo, masks: int, images: int) -> tuple[QuestionBatch, Targets]:
    """One question for each image, whose answer names eight phrases and grounds the first `masks` of them."""
    side = model.config.image_size
    answer = " ".join(f"<p> {p} </p> <SEG>" if n < masks else f"a {p} of b" for n, p in enumerate(PHRASES))
    question = model.conversation().encode("Where are all of them?", SquareResize(side, side, side), answer=answer)
    batch = collate_questions([question] * images, range(images), model.tokenizer.pad_token_id)
    return batch, Targets(batch.labels, torch.rand(masks * images, side, side) > 0.5)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--images", type=int, default=8)
    options = parser.parse_args()

    config = load_preset(options.preset)
    texts = ["Where are all of them?", " ".join(f"<p> {p} </p> <SEG> a {p} of b" for p in PHRASES)] * 5
    model = Mimo(config, train_tokenizer(texts, config.language_model.vocabulary))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-4)
    loss = MimoLoss()
    images = torch.rand(options.images, 3, config.image_size, config.image_size)
    batches = {masks: batch_of(model, masks, options.images) for masks in (1, 8)}
    times: dict[int, list[float]] = {masks: [] for masks in batches}
    for step in range(options.steps + 2):
        for masks, (questions, targets) in batches.items():  # in turn, so that both meet the same machine
            begin = time.perf_counter()
            optimizer.zero_grad()
            loss(model(images, questions), targets).backward()
            optimizer.step()
            if step >= 2:
                times[masks].append(time.perf_counter() - begin)
    medians = {masks: statistics.median(values) for masks, values in times.items()}
    for masks, value in medians.items():
        print(
            f"{masks} mask{'s' * (masks > 1)} in each answer: {value * 1000:7.0f} ms a step, {value / medians[1]:.2f} x"
        )


if __name__ == "__main__":
    main()
