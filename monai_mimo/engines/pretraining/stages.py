"""The stages of pretraining as objects, for the list in a bundle's config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from datasets import Dataset as Rows

from ...losses import MimoLoss
from ...models import Mimo
from ..checkpoints import Checkpoints
from ..setup import load_partial
from .encoder import pretrain_encoder
from .text import pretrain_text


class Stage(Protocol):
    """Changes a model in place.

    Args of `run`:
        model: on its device; rows: of the training split; loss: of the model.
        checkpoints: to resume from where the stage was stopped; it does nothing once they are of a later stage.
    """

    def run(self, model: Mimo, rows: Rows, loss: MimoLoss, checkpoints: Checkpoints | None = None) -> None: ...


def run_stages(
    stages: Sequence[Stage], model: Mimo, rows: Rows, loss: MimoLoss, checkpoints: Checkpoints | None = None
) -> None:
    """Run one stage after another; see `Stage`."""
    for stage in stages:
        stage.run(model, rows, loss, checkpoints)


@dataclass(frozen=True)
class EncoderPretraining:
    """`pretrain_encoder`: the image side learns regions by name and by prompt, without any text; 0 minutes leave it out."""

    minutes: float
    learning_rate: float
    encoder_learning_rate: float
    image_shares: Mapping[str, float] = field(default_factory=dict)
    workers: int = 0
    seed: int = 0

    def run(self, model: Mimo, rows: Rows, loss: MimoLoss, checkpoints: Checkpoints | None = None) -> None:
        """See `Stage`."""
        pretrain_encoder(
            model,
            rows,
            self.minutes,
            self.learning_rate,
            self.encoder_learning_rate,
            checkpoints=checkpoints,
            workers=self.workers,
            seed=self.seed,
            shares=self.image_shares,
        )


@dataclass(frozen=True)
class TextPretraining:
    """`pretrain_text`: the language model reads questions and answers without images, for `steps` batches, or, where they are
    not 0, for `minutes`; without both it is left out."""

    learning_rate: float
    steps: int = 0
    minutes: float = 0
    batch: int = 64
    knowledge: float = 0
    sentences: int = 0

    def run(self, model: Mimo, rows: Rows, loss: MimoLoss, checkpoints: Checkpoints | None = None) -> None:
        """See `Stage`."""
        pretrain_text(
            model,
            rows,
            loss,
            self.steps,
            self.learning_rate,
            self.batch,
            minutes=self.minutes,
            knowledge=self.knowledge,
            sentences=self.sentences,
            checkpoints=checkpoints,
        )


@dataclass(frozen=True)
class LoadPartial:
    """`load_partial`: parts of the model, by weights folder, are those of models that were trained before.

    Attributes:
        parts: weights folder -> parts.
        only: of those, if not all.
    """

    parts: Mapping[str, Sequence[str]]
    only: Sequence[str] | None = None

    def run(self, model: Mimo, rows: Rows, loss: MimoLoss, checkpoints: Checkpoints | None = None) -> None:
        """See `Stage`."""
        for folder, parts in self.parts.items():
            load_partial(model, folder, [part for part in parts if self.only is None or part in self.only])
