"""Learning a little more: from weights and some labelled images to new weights, and what both make of held-out images."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset as Rows
from ignite.engine import Engine, Events
from monai.handlers import LrScheduleHandler
from torch import Tensor

from ..calibration.domain import ImageDomain
from ..calibration.fit import KeepRecords, fit_domain, scored_names, temperature_of
from ..calibration.temperature import load_temperature, save_temperature
from ..errors import DataError, InputError
from ..evaluation.answer_records import AnswerRecord
from ..evaluation.evaluator import GroundingEvaluator, evaluation_loader, grounding_metrics
from ..mimoseg import build, load_mimoseg
from ..mimoseg.sources.cases import SourceSpec
from ..mimoseg.sources.labelled import LabelledImage, write_labelled
from ..models import Mimo
from ..models.config import LoraConfig
from ..models.default_weights import find_weights
from ..models.language_model import add_lora
from ..models.training_data import TrainingData
from ..models.weights import save_weights
from .handlers import GradientClip, NanGuard
from .setup import (
    SamplingConfig,
    adam,
    loss_of,
    prepare_batch,
    rows_that_fit,
    training_data,
    training_loader,
    warmup_cosine,
)
from .trainer import MimoTrainer

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
HEADS = ("mask_decoder", "input_aligner", "prompt_encoder", "presence", "phrase_of_seg", "neck", "segmentation_neck")
ENCODERS = ("image_encoder", "segmentation_encoder")
PARTS = (*HEADS, *ENCODERS)
# By the names that viewers show.
CHOICES = {"all": PARTS, "all but encoders": HEADS, "decoder": ("mask_decoder",)}
ENCODER_RATE = 1 / 3  # of the learning rate, as where the shipped weights were trained
FEWEST = 3  # labelled patients, of whom one at least is held out


@dataclass(frozen=True)
class Quality:
    """Grounding F1 and Dice over the questions about the held-out images, as `mimo evaluate` counts them."""

    f1: float
    dice: float

    def beats(self, other: Quality) -> bool:
        """By F1, and at the same F1 by Dice."""
        return (self.f1, self.dice) > (other.f1, other.dice)


@dataclass(frozen=True)
class FineTuned:
    """New weights in `folder`, and the quality of the old (`before`) and the new ones (`after`) on the same `held_out`
    questions, none of whose images was trained on; `trained_on` counts the questions that were."""

    folder: Path
    before: Quality
    after: Quality
    trained_on: int
    held_out: int

    @property
    def better(self) -> bool:
        """Whether the new weights are to be used."""
        return self.after.beats(self.before)


def build_labelled(
    images: Sequence[LabelledImage],
    out: str | Path,
    *,
    held_out: float = 0.25,
    slices_per_volume: int = 12,
    seed: int = 0,
) -> Path:
    """Make questions of perspectives I and II about labelled images, split by patient into train and validation.

    Args:
        out: a folder that does not exist yet.
        held_out: the share of patients that are not trained on; at least one is held out.

    Raises:
        InputError: there are fewer than three patients, or an image or its names cannot be used.
        DataError: image and label map do not fit together.
    """
    out = Path(out)
    patients = len({i.patient or str(i.image) for i in images})
    if patients < FEWEST:
        found = f"{patients} labelled {'patient' if patients == 1 else 'patients'}"
        raise InputError("labels", found, f"at least {FEWEST}, so that one can be held out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".labelled-") as folder:
        source = write_labelled(images, Path(folder) / "source")
        share = round(100 * held_out)
        build(
            [SourceSpec("labelled", source)],
            out,
            ratio=f"{100 - share}:{share}:0",
            seed=seed,
            slices_per_volume=slices_per_volume,
            perspectives=(1, 2),
            progress=False,
        )
    return out


def fine_tune(
    weights: str | Path,
    labelled: str | Path | Sequence[LabelledImage],
    out: str | Path,
    *,
    steps: int = 100,
    learning_rate: float = 1e-3,
    images_per_batch: int = 8,
    questions_per_image: int = 4,
    rank: int = 8,
    parts: Sequence[str] = ("mask_decoder",),
    seed: int = 0,
    device: str | torch.device = "cpu",
    on_step: Callable[[int, int, float], None] | None = None,
) -> FineTuned:
    """Train LoRA adapters of the language model and `parts` of the model on labelled images.

    The new weights warn of unknown images as the old ones did, or where their encoder was trained, of those unlike the labelled
    ones; the temperature of their scores is fitted on the held-out questions where these are enough, and else that of the old.

    Args:
        weights: a weights folder; it is not changed.
        labelled: images with label maps, or a built set with train and validation.
        out: the new weights folder, written whole at the end. It has the form of the old one: adapters of a model
            that had none are merged.
        learning_rate: the highest, after a warm-up; it decays to zero by a cosine.
        rank: of the adapters, where the model has none yet.
        parts: of the model that are trained besides them, of `PARTS`. An encoder that the preset freezes stays as it is; others
            learn at a third of the rate.
        on_step: is called after each step with its number, `steps` and the loss; what it raises ends the training, and
            nothing is written.

    Raises:
        InputError: there are too few labelled images, or an option is out of range.
        DataError, WeightsError: data or weights cannot be read.
    """
    if steps < 1 or not 0 < learning_rate < 1 or rank < 1:
        found = f"{steps} steps, learning rate {learning_rate:g}, rank {rank}"
        raise InputError("fine_tune", found, "1 step or more, a learning rate between 0 and 1, a rank of 1 or more")
    if unknown := set(parts) - set(PARTS):
        raise InputError("parts", repr(min(unknown)), f"some of {', '.join(PARTS)}")
    if not isinstance(labelled, str | Path):
        with tempfile.TemporaryDirectory(prefix="mimo-labelled-") as folder:
            built = build_labelled(labelled, Path(folder) / "set", seed=seed)
            options: dict[str, Any] = {"steps": steps, "learning_rate": learning_rate, "rank": rank, "parts": parts}
            options |= {"images_per_batch": images_per_batch, "questions_per_image": questions_per_image}
            return fine_tune(weights, built, out, **options, seed=seed, device=device, on_step=on_step)

    model = Mimo.from_pretrained(weights).to(device)
    train = rows_that_fit(load_mimoseg(labelled, "train"), model)
    held_out = rows_that_fit(load_mimoseg(labelled, "validation"), model, with_answers=False)
    if not len(train) or not len(held_out):
        raise DataError(labelled, f"{len(train)} questions to train on, {len(held_out)} held out", "some of both")
    before = quality_of(model, held_out)
    encoders = frozen_features(model)
    with adapted(model, rank, parts) as trained:
        train_steps(
            trained,
            train,
            steps=steps,
            learning_rate=learning_rate,
            encoder_learning_rate=ENCODER_RATE * learning_rate,
            images_per_batch=images_per_batch,
            questions_per_image=questions_per_image,
            seed=seed,
            handlers=[] if on_step is None else [_TellStep(on_step, steps)],
        )
    records: list[AnswerRecord] = []
    after = quality_of(model, held_out, records)
    result = FineTuned(Path(out), before, after, len(train), len(held_out))
    notes: Mapping[str, Any] = {"steps": steps, "before": vars(before), "after": vars(after), "held_out": len(held_out)}
    domain = ImageDomain.load(find_weights(weights))
    if domain is None or not torch.equal(encoders, frozen_features(model)):  # which the training has changed
        domain = fit_domain(model, train, held_out)
    temperature = temperature_of(*scored_names(model, records, held_out))
    fitted_on = "the held-out questions of a fine-tuning"
    if temperature is None:
        temperature, fitted_on = load_temperature(find_weights(weights)), "before a fine-tuning"
    learned = training_data({"labelled": str(labelled)}, train)
    model.training_data = TrainingData.united(model.training_data, learned)
    save_weights(model.cpu(), out, fine_tuned=notes)
    domain.save(Path(out))
    if temperature is not None:
        save_temperature(Path(out), temperature, fitted_on)
    return result


@torch.no_grad()
def frozen_features(model: Mimo) -> Tensor:
    """What the image encoder gives of one fixed image, to tell whether it has changed."""
    side = model.config.image_size
    image = torch.linspace(0, 1, 3 * side * side, device=next(model.parameters()).device).view(1, 3, side, side)
    return torch.cat([m.flatten() for m in model.encoder_maps(image).image[:2]]).cpu()


def quality_of(model: Mimo, rows: Rows, records: list[AnswerRecord] | None = None) -> Quality:
    """What the answers of a model to the questions of `rows` are worth; their records are appended to a list that is given."""
    evaluator = GroundingEvaluator(
        next(model.parameters()).device,
        evaluation_loader(model, rows, 16),
        model,
        rows,
        key_val_metric=grounding_metrics(),
        val_handlers=[] if records is None else [KeepRecords(records)],
    )
    evaluator.run()
    overall = evaluator.state.metrics["grounding"]["overall"]
    f1, dice = (float(overall[name]) for name in ("f1", "dice"))
    return Quality(f1, 0.0 if math.isnan(dice) else dice)  # where no phrase was found there is no Dice


@contextmanager
def adapted(model: Mimo, rank: int, parts: Sequence[str]) -> Iterator[Mimo]:
    """Within it, only adapters of the language model and `parts` can be trained; after it the model has its own form again."""
    language = model.language_model
    required = {name: p.requires_grad for name, p in model.named_parameters()}
    own_adapter = model.config.lora is not None
    trained = {id(p) for p in language.parameters() if own_adapter and p.requires_grad}
    model.requires_grad_(False)
    if not own_adapter:
        device = next(language.parameters()).device
        language.model = add_lora(language.model, LoraConfig(rank, rank, LINEAR), model.tokenizer).to(device)
    for parameter in language.parameters():
        parameter.requires_grad_(parameter.requires_grad or id(parameter) in trained)
    for part in parts:
        module = getattr(model, part, None)  # a preset may do without
        if module is not None and not (part in ENCODERS and getattr(model.config, part).frozen):
            module.requires_grad_(True)
    try:
        yield model
    finally:
        if not own_adapter:
            language.model = language.model.merge_and_unload()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(required.get(name, True))


def train_steps(
    model: Mimo,
    rows: Rows,
    *,
    steps: int,
    learning_rate: float,
    encoder_learning_rate: float,
    images_per_batch: int,
    questions_per_image: int,
    seed: int,
    perspective_weights: Mapping[int, float] | None = None,
    handlers: Sequence[Any] = (),
) -> None:
    """Train what can be trained of a model for some steps, in place, each kind of image as often as any other, with a warm-up
    and cosine decay to zero.

    Args:
        learning_rate, encoder_learning_rate: see `adam`.
        images_per_batch, questions_per_image, perspective_weights: see `SamplingConfig`.
        handlers: of the trainer, after its own.
    """
    torch.manual_seed(seed)
    images = min(images_per_batch, len(set(rows["image_id"])))
    sampling = SamplingConfig(
        images, images, questions_per_image, seed, balanced=True, perspective_weights=perspective_weights
    )
    optimizer = adam(model, learning_rate, encoder_learning_rate)
    trainer = MimoTrainer(
        device=next(model.parameters()).device,
        max_epochs=1,
        train_data_loader=training_loader(model, rows, sampling),
        epoch_length=steps,
        network=model,
        optimizer=optimizer,
        loss_function=loss_of(model),
        prepare_batch=prepare_batch,
        train_handlers=[
            LrScheduleHandler(warmup_cosine(optimizer, steps), print_lr=False, epoch_level=False),
            GradientClip(model),
            NanGuard(rows),
            *handlers,
        ],
        decollate=False,
    )
    trainer.run()


class _TellStep:
    """Calls `on_step` of `fine_tune` after each step."""

    def __init__(self, on_step: Callable[[int, int, float], None], steps: int) -> None:
        self.on_step, self.steps = on_step, steps

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        self.on_step(engine.state.iteration, self.steps, float(engine.state.output["loss"]))
