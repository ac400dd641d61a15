"""What each part of the model is worth: short runs on real images, each without one part, measured on the same test images.

    mimo build --data DATA --split 80:10:10 --out runs/real/set
    python benchmarks/ablations.py --dataset runs/real/set --row no-self-attention --seed 0
    python benchmarks/ablations.py --dataset runs/real/set --all
    python benchmarks/ablations.py --table

A row takes a minute or two of one thread. `--all` runs what has no result yet, so it goes on where it was stopped. All rows but
those about the encoder start with the encoder and neck of the weights that come with the package, which learned from the
training images of the same five sets; with those of ImageNet, runs so short see nothing. The results, with what they mean, are
in benchmarks/ablations.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablated import (
    WithoutDecoderPrompts,
    adapt_language_model,
    randomise_encoder,
    without_prompt_tokens,
    without_self_attention,
)
from datasets import Dataset as Rows
from monai.utils import set_determinism
from real_quality import DICE, F1, KINDS, PHRASES, REFUSED, ratio
from short_run import (
    Recipe,
    answers,
    read_result,
    reading,
    spread_images,
    start_reading,
    train,
    write_result,
)

from monai_mimo.data.dataset import rows_by_image
from monai_mimo.engines import load_partial, of_perspectives
from monai_mimo.evaluation.records import Record
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.models import Mimo, MimoConfig
from monai_mimo.models.default_weights import SHIPPED
from monai_mimo.models.weights import save_weights
from monai_mimo.transforms import SquareResize


def same(config: MimoConfig) -> MimoConfig:
    """Nothing changed."""
    return config


def queries(count: int, config: MimoConfig) -> MimoConfig:
    """Another number of aligner queries."""
    return replace(config, aligner=replace(config.aligner, queries=count))


def frozen_encoder(config: MimoConfig) -> MimoConfig:
    """The encoder keeps the weights that it starts with."""
    return replace(config, image_encoder=replace(config.image_encoder, frozen=True))


def no_presence(config: MimoConfig) -> MimoConfig:
    """As published: nothing is told of words, and they are only seen by the aligner."""
    return replace(config, aligner=replace(config.aligner, presence=False))


def no_alignment(config: MimoConfig) -> MimoConfig:
    """The published loss: no contrastive part."""
    return replace(config, training=replace(config.training, alignment_weight=0.0))


def tune_biases(model: Mimo) -> None:
    """Folding a normalisation into a convolution leaves its bias without a gradient; here it gets one."""
    model.image_encoder.requires_grad_(True)


@dataclass(frozen=True)
class Row:
    """A model to train.

    Attributes:
        what: how the table calls it.
        config: changes the sizes.
        kind: the class of the model.
        change: what is done to the model, after the reading, before the training.
        perspectives: that it is trained on (and reads the texts of); it is asked those of I to IV.
        read: whether its language model has read the texts.
        shipped_encoder: start with encoder and neck of the weights that come with the package, else with what `config` says.
    """

    what: str
    config: Callable[[MimoConfig], MimoConfig] = same
    kind: type[Mimo] = Mimo
    change: Callable[[Mimo], None] = lambda _: None
    perspectives: Sequence[int] = (1, 2, 3, 4)
    read: bool = True
    shipped_encoder: bool = True


BASELINE = "baseline"
RANDOM_ENCODER = "random-encoder"
ROWS = {
    BASELINE: Row("baseline"),
    "no-self-attention": Row("aligner without self-attention", change=without_self_attention),
    "no-llm-prompts": Row("no prompt tokens to the LLM", change=without_prompt_tokens),
    "no-decoder-prompts": Row("no prompts to the mask decoder", kind=WithoutDecoderPrompts),
    "frozen-encoder": Row("encoder frozen", config=frozen_encoder),
    "encoder-biases": Row("biases of the encoder tuned too", change=tune_biases),
    "imagenet-encoder": Row("encoder of ImageNet", shipped_encoder=False),
    "imagenet-frozen": Row("encoder of ImageNet, frozen", config=frozen_encoder, shipped_encoder=False),
    RANDOM_ENCODER: Row("encoder random", shipped_encoder=False),
    **{
        f"lora-{rank}": Row(
            f"LLM frozen after its reading, LoRA rank {rank}", change=partial(adapt_language_model, rank=rank)
        )
        for rank in (2, 8, 32)
    },
    "perspectives-1-2": Row("trained on I and II only", perspectives=(1, 2)),
    "perspective-2": Row("trained on II only", perspectives=(2,)),
    "queries-4": Row("4 aligner queries, not 16", config=partial(queries, 4)),
    "queries-32": Row("32 aligner queries, not 16", config=partial(queries, 32)),
    "no-reading": Row("LLM has not read the texts first", read=False),
    "no-presence": Row("words are not told what is there", config=no_presence),
    "no-alignment": Row("no contrastive loss of tokens and phrases", config=no_alignment),
}


def named(*kinds: str) -> Callable[[Record], bool]:
    """Whether a record is of some of `real_quality.KINDS`."""
    return lambda record: any(KINDS[kind](record) for kind in kinds)


NAME, BOX, POINT, DESCRIPTION, KNOWLEDGE = KINDS
MEASURES: dict[str, tuple[Callable[[Record], bool], tuple[dict, dict]]] = {
    "F1, I": (named(NAME), F1),
    "F1, II": (named(BOX, POINT), F1),
    "F1, III and IV": (named(DESCRIPTION, KNOWLEDGE), F1),
    "Dice by name": (named(NAME), DICE),
    "Dice, box": (named(BOX), DICE),
    "Dice, point": (named(POINT), DICE),
    "phrase accuracy, I and II": (named(NAME, BOX, POINT), PHRASES),
    "absent refused": (named(NAME), REFUSED),
}


def measures(records: Sequence[Record]) -> dict[str, float]:
    """The value of each of `MEASURES`."""
    return {name: ratio([r for r in records if wanted(r)], *how)["value"] for name, (wanted, how) in MEASURES.items()}


def first_images(rows: Rows, count: int, side: int) -> torch.Tensor:
    """[n, 3, S, S], of each source."""
    some = spread_images(rows, count)
    pixels = [np.asarray(some[numbers[0]]["image"].convert("RGB")) for numbers in rows_by_image(some)]
    return torch.stack([SquareResize(*p.shape[:2], side).image(p) for p in pixels])


def run_row(name: str, seed: int, dataset: str, recipe: Recipe, out: Path) -> None:
    """Read, train, ask, and keep the result."""
    row, start = ROWS[name], time.process_time()
    config = row.config(recipe.config())
    rows = of_perspectives(load_mimoseg(dataset, "train"), row.perspectives)
    # What differs between two readings is in the name of their folder.
    perspectives = "" if len(row.perspectives) == 4 else "-".join(["", *map(str, row.perspectives)])
    presence, alignment = config.aligner.presence, config.training.alignment_weight
    read = f"reading{perspectives}{'' if presence else '-no-presence'}{'' if alignment else '-no-alignment'}"
    folder = reading(config, rows, out / read)
    read_seconds = time.process_time() - start

    set_determinism(seed)
    model = row.kind(config, Mimo.from_pretrained(folder).tokenizer)
    if row.read:
        start_reading(model, folder)
    if row.shipped_encoder:
        load_partial(model, SHIPPED / "lite", ["image_encoder", "neck"])
    row.change(model)
    if name == RANDOM_ENCODER:
        randomise_encoder(model, first_images(rows, 4, recipe.side))
    train_seconds = train(model, rows, recipe, seed, f"{name}, seed {seed}")

    start = time.process_time()
    test = spread_images(of_perspectives(load_mimoseg(dataset, "test"), Row.perspectives), recipe.images_per_set)
    records = answers(model, test, recipe, "asking")
    seconds = {"reading": read_seconds, "training": train_seconds, "asking": time.process_time() - start}
    sources = sorted({r["source"] for r in records})
    by_set = {source: measures([r for r in records if r["source"] == source]) for source in sources}
    if name == BASELINE:
        save_weights(model, out / f"{name}-{seed}")
    values = measures(records)
    write_result(
        result_file(out, name, seed),
        recipe,
        row=name,
        seed=seed,
        measures=values,
        by_set=by_set,
        questions=len(records),
        failed=sum(r["error"] is not None for r in records),
        seconds={part: round(value, 1) for part, value in seconds.items()},
    )
    print(name, seed, {measure: round(value, 3) for measure, value in values.items()}, seconds)


def result_file(out: Path, name: str, seed: int) -> Path:
    """Where the result of a run is kept."""
    return out / f"{name}-{seed}.json"


def markdown(out: Path, recipe: Recipe) -> str:
    """The results as a table: means over the seeds that there are, with the least and the most where there are several."""
    lines = [
        "| row | " + " | ".join(MEASURES) + " | seeds | training, s |",
        "|---|" + "---|" * (len(MEASURES) + 2),
    ]
    for name, row in ROWS.items():
        files = sorted(out.glob(f"{name}-[0-9].json"))
        results: list[dict[str, Any]] = [r for file in files if (r := read_result(file, recipe)) is not None]
        if results:
            cells = [cell([r["measures"][measure] for r in results]) for measure in MEASURES]
            seconds = np.mean([r["seconds"]["training"] for r in results])
            lines.append(
                f"| {row.what} (`{name}`) | " + " | ".join([*cells, str(len(results)), f"{seconds:.0f}"]) + " |"
            )
    return "\n".join(lines)


def cell(values: Sequence[float]) -> str:
    """One value, or the mean of several with their range."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset")
    parser.add_argument("--row", nargs="+", choices=list(ROWS), default=[])
    parser.add_argument("--all", action="store_true", help="all rows")
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--table", action="store_true", help="print the table of what there is")
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    Recipe.add_options(parser)
    options = parser.parse_args()
    names = list(ROWS) if options.all else options.row
    names = list(dict.fromkeys([BASELINE, *names])) if names else []  # there is nothing to compare with otherwise
    if names and not options.dataset:
        parser.error("--row and --all need --dataset")

    recipe = Recipe.from_options(options)
    for seed in options.seed:
        for name in names:
            if read_result(result_file(options.out, name, seed), recipe) is None:
                run_row(name, seed, options.dataset, recipe, options.out)
    if options.table:
        print(markdown(options.out, recipe))


if __name__ == "__main__":
    main()
