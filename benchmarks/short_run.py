"""A short training run that stands for the long one, for benchmarks that compare many: minutes on one thread.

It starts from an image encoder that is trained, and from a small language model that has read the texts; all else starts from
nothing. The reading is done once and kept, so that runs to be compared start alike.
"""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset as Rows
from datasets import concatenate_datasets
from monai.utils import set_determinism
from real_quality import answers_of

from monai_mimo.engines import load_partial, loss_of, some_images, tokenizer_for, train_steps
from monai_mimo.engines.pretraining import TEXT_PARTS, pretrain_text
from monai_mimo.evaluation import Progress
from monai_mimo.evaluation.records import Record
from monai_mimo.files import write_json
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


def answers(model: Mimo, rows: Rows, recipe: Recipe, name: str) -> list[Record]:
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
    """Keep a result, as an atomic file."""
    write_json(file, {"recipe": vars(recipe), **values})
