"""Does it segment what it never learned? Train on all sets but one, then point at the structures of that one.

    mimo build --data DATA --split 80:10:10 --out runs/real/set
    python benchmarks/leave_one_out.py --dataset runs/real/set --out runs/leave-one-out

For each set: a short run (`Recipe`, `train`) that starts from the encoder of ImageNet and never saw the set, neither images
nor texts, is given the true box of a structure, and points in structures, on the images of the set that no run was trained on.
The phrase has to be wrong; what is measured is the mask of the first `<SEG>` of the answer, and where there is none, it counts
0. Beside it stand a run of as many steps on all sets, and the ellipse that fills the box. To spend the steps on what is
measured, all runs are trained on questions of perspective II alone. Runs that have a result are not repeated.
docs/generalisation.md shows the results.
"""

from __future__ import annotations

import argparse
import json
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset as Rows
from datasets import concatenate_datasets
from monai.utils import set_determinism
from real_quality import answers_of, mean_with_interval

from monai_mimo.engines import load_partial, loss_of, some_images, tokenizer_for, train_steps
from monai_mimo.engines.pretraining import TEXT_PARTS, pretrain_text
from monai_mimo.evaluation import Progress
from monai_mimo.evaluation.answer_records import AnswerRecord
from monai_mimo.files import write_json
from monai_mimo.metrics.matching import overlaps
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.mimoseg.encoding import decode_rle
from monai_mimo.models import Mimo, MimoConfig, load_preset
from monai_mimo.models.weights import save_weights


@dataclass(frozen=True)
class Recipe:
    """What runs that are compared have in common.

    Attributes:
        preset, side: the model, and the side of its square input in pixels.
        text_layers, text_width, vocabulary: of its language model, smaller than the preset's.
        steps, images, questions: of training; images of a step, and questions about each.
        reading_steps, reading_batch: of the first reading of the texts.
        sentences: answers are learned up to so many.
        images_per_set, max_tokens: of the evaluation.
    """

    preset: str = "lite"
    side: int = 96
    text_layers: int = 2
    text_width: int = 128
    vocabulary: int = 1024
    steps: int = 80
    images: int = 8
    questions: int = 2
    reading_steps: int = 100
    reading_batch: int = 32
    sentences: int = 1
    images_per_set: int = 12
    max_tokens: int = 28

    def config(self) -> MimoConfig:
        """The preset with this recipe's values, and the plain augmentation."""
        config = load_preset(self.preset)
        training = replace(
            config.training,
            images_per_batch=self.images,
            questions_per_image=self.questions,
            language_steps=self.reading_steps,
            language_batch=self.reading_batch,
            answer_sentences=self.sentences,
            strong_augmentation=False,
        )
        heads = self.text_width // 32
        architecture = config.language_model.architecture | {
            "num_hidden_layers": self.text_layers,
            "hidden_size": self.text_width,
            "intermediate_size": 3 * self.text_width,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "initializer_range": round(self.text_width**-0.5, 3),
        }
        language_model = replace(config.language_model, architecture=architecture, vocabulary=self.vocabulary)
        return replace(config, image_size=self.side, language_model=language_model, training=training)

    @classmethod
    def add_options(cls, parser: ArgumentParser) -> None:
        """An option for each value."""
        for field in fields(cls):
            name = field.name.replace("_", "-")
            parser.add_argument(f"--{name}", type=type(field.default), default=field.default)

    @classmethod
    def from_options(cls, options: Namespace) -> Recipe:
        """The recipe that a command line asks for."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})


def reading(config: MimoConfig, rows: Rows, folder: Path) -> Path:
    """The weights folder of a model whose language side has read the texts of `rows`; made when it is not there.

    Args:
        config: of the model; its number of queries does not matter.
        folder: where it is kept. It is not checked that what stands there has read the same.
    """
    if not folder.exists():
        set_determinism(0)
        model, start = Mimo(config, tokenizer_for(config, rows)), time.process_time()
        training = config.training
        pretrain_text(
            model,
            rows,
            loss_of(model),
            training.language_steps,
            training.learning_rate,
            training.language_batch,
            knowledge=training.language_knowledge if {3, 4} & set(rows["perspective"]) else 0,
            sentences=training.answer_sentences,
        )
        save_weights(model, folder, seconds=round(time.process_time() - start, 1))
    return folder


def start_reading(model: Mimo, folder: Path) -> None:
    """Give a model the language side that has read the texts, in place."""
    load_partial(model, folder, [part for part in TEXT_PARTS if getattr(model, part) is not None])


def train(model: Mimo, rows: Rows, recipe: Recipe, seed: int, name: str) -> float:
    """Train what can be trained of a model on questions of `rows`, in place.

    Perspectives are drawn in the shares of the preset, and those without one are not; each set as often as any other.

    Returns:
        the seconds of processor time that it took, which do not depend on what else a machine does.
    """
    start = time.process_time()
    set_determinism(seed)
    config = model.config.training
    shares = dict(enumerate(config.perspective_shares, start=1))
    train_steps(
        model,
        rows,
        steps=recipe.steps,
        learning_rate=config.learning_rate,
        encoder_learning_rate=config.encoder_learning_rate,
        images_per_batch=recipe.images,
        questions_per_image=recipe.questions,
        seed=seed,
        perspective_weights={p: shares[p] for p in shares.keys() & set(rows["perspective"])},
        handlers=[Progress(name)],
    )
    return time.process_time() - start


def spread_images(rows: Rows, count: int) -> Rows:
    """The questions about `count` images of each source, spread evenly over it."""
    sources = np.array(rows["source"])
    of_each = (rows.select(np.flatnonzero(sources == source)) for source in dict.fromkeys(sources))
    return concatenate_datasets([some_images(part, count) for part in of_each])


def answers(model: Mimo, rows: Rows, recipe: Recipe, name: str) -> list[AnswerRecord]:
    """The records of a model's answers to `rows`."""
    return answers_of(model, rows, name, recipe.max_tokens)


def read_result(file: Path, recipe: Recipe) -> dict[str, Any] | None:
    """What `write_result` wrote, or none if there is nothing yet.

    Raises:
        SystemExit: it is of another recipe, so it cannot stand beside this one's results.
    """
    if not file.exists():
        return None
    result = json.loads(file.read_text())
    if result["recipe"] != vars(recipe):
        raise SystemExit(f"{file}: made by another recipe ({result['recipe']}); choose another --out")
    return result


def write_result(file: Path, recipe: Recipe, **values: Any) -> None:
    """Keep a result, atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"recipe": vars(recipe), **values})


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


def dice_of_first(record: AnswerRecord) -> float:
    """Dice of the first mask of an answer, whatever its phrase; 0 without any."""
    said = record["predicted_entities"]
    if not said:
        return 0.0
    return overlaps(decode_rle(said[0]["mask"]), decode_rle(record["entities"][0]["mask"]))[1]


def dice_of_ellipse(record: AnswerRecord) -> float:
    """Dice of the ellipse in the box of a question."""
    mask = decode_rle(record["entities"][0]["mask"])
    return overlaps(ellipse_in(record["boxes"][0], *mask.shape), mask)[1]


def mean_of(records: Sequence[AnswerRecord], values: Sequence[float]) -> dict[str, Any]:
    """The mean of a value of each record, with its 95 % interval over patients."""
    return {**mean_with_interval([r["patient"] for r in records], values), "questions": len(records)}


def summarise(records: Sequence[AnswerRecord]) -> dict[str, Any]:
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
