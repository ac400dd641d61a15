"""The parts of a training or evaluation run that its config names: tokenizer, data, optimizer, schedule."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import ignite.distributed as idist
import numpy as np
import torch
from datasets import Dataset as Rows
from datasets import concatenate_datasets
from torch import device as Device
from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedTokenizerBase, get_cosine_schedule_with_warmup

from ..data.dataset import Augment, Batch, MimoSegDataset, Steps, rows_by_image
from ..data.feature_cache import FeatureCache
from ..data.names import KnownNames
from ..data.order import SET, TrainingOrder
from ..data.other_questions import OtherQuestions
from ..data.step_loader import StepLoader
from ..data.tokenizer import train_tokenizer
from ..errors import InputError, WeightsError
from ..files import digest
from ..licences import allows
from ..losses import MimoLoss, Targets
from ..mimoseg import load_mimoseg
from ..mimoseg.describe.licences import source_licences
from ..models import Mimo, MimoConfig
from ..models.pretrained import pretrained_tokenizer
from ..models.training_data import TrainingData
from ..transforms.resize import SquareResize

logger = logging.getLogger(__name__)


def tokenizer_for(config: MimoConfig, rows: Rows) -> PreTrainedTokenizerBase:
    """The tokenizer of the pretrained language model, or for one that is trained from scratch, a tokenizer learned from the
    questions and answers of `rows`."""
    if config.language_model.source is not None:
        return pretrained_tokenizer(config.language_model.source)
    texts = {f"USER: {question} ASSISTANT: {answer}" for question, answer in zip(rows["question"], rows["answer"])}
    return train_tokenizer(sorted(texts), config.language_model.vocabulary)


def load_sets(
    folders: Mapping[str, str],
    split: str,
    perspective: int | None = None,
    left_out: Sequence[str] = (),
    licence: str | None = None,
) -> Rows:
    """The rows of several built sets, with a column `set` that says which one each is of.

    Args:
        folders: by name; see `load_mimoseg`, also for the errors.
        left_out: sources whose rows are not wanted.
        licence: "permissive": only sources whose licence is known to allow any use (`licences.use_of`).

    Raises:
        InputError: no set has a source that is to be left out, or none has such a licence.
    """
    parts = {name: load_mimoseg(folder, split, perspective) for name, folder in folders.items()}
    sources = {source for rows in parts.values() for source in rows.unique("source")}
    if licence is not None:
        licences = {k: v for name, folder in folders.items() for k, v in _licences(folder, parts[name]).items()}
        unwanted = {name for name, text in licences.items() if not allows(text, licence)}
        left_out = [*sources.intersection(left_out), *unwanted]
        if sources and sources <= set(left_out):
            raise InputError("licence", f"no source that is {licence} and not left out", "some, or no `licence`")
    elif split == "train" and not sources >= set(left_out):
        missing = ", ".join(sorted(set(left_out) - sources))
        raise InputError("left_out", missing, f"sources of the set: {', '.join(sorted(sources))}")
    if left_out:
        wanted = {name: [n for n, s in enumerate(rows["source"]) if s not in left_out] for name, rows in parts.items()}
        parts = {name: rows.select(wanted[name]) for name, rows in parts.items()}
    if len(parts) == 1:
        return next(iter(parts.values()))
    return concatenate_datasets([rows.add_column(SET, [name] * len(rows)) for name, rows in parts.items()])


def _licences(folder: str, rows: Rows) -> dict[str, str]:
    return source_licences(folder, set(rows["source"]))


def training_data(folders: Mapping[str, str], rows: Rows) -> TrainingData:
    """The sources of `rows`, which `load_sets` read from `folders`, with their licences."""
    used = set(rows["source"])  # `unique` would copy all rows that were selected
    licences = [_licences(folder, load_mimoseg(folder, "train")) for folder in folders.values()]
    found = [TrainingData({name: text for name, text in some.items() if name in used}) for some in licences]
    return TrainingData.united(TrainingData(), *found) or TrainingData()


@dataclass(frozen=True)
class SamplingConfig:
    """Which questions a step asks, and how they are read.

    Attributes:
        images_per_batch ... absent_share, length_window: see `TrainingOrder`, whose `window` is the last.
        augment_images: move images and change their intensity; prompts are drawn anew in any case.
        other_questions: ask also about unknown names, off the topic, and about places without a name, of models that know names.
        transforms: MONAI dictionary transforms of the user's own; see `Augment`.
        memory_gb: of this process and its workers, for decoded images; those that have no place are decoded each time.
        workers: processes that load ahead.
    """

    images_per_batch: int
    global_batch: int
    questions_per_image: int
    seed: int = 0
    balanced: bool = False
    set_weights: Mapping[str, float] | None = None
    perspective_weights: Mapping[int, float] | None = None
    image_shares: Mapping[str, float] = field(default_factory=dict)
    absent_share: float = 1
    length_window: int = 1
    augment_images: bool = True
    other_questions: bool = True
    transforms: Callable | None = None
    memory_gb: float = 4.0
    workers: int = 0


def other_questions(model: Mimo, rows: Rows) -> OtherQuestions | None:
    """What a model that knows names and regions without a name is also asked; none for others."""
    if model.region_names is None:
        return None
    return OtherQuestions(rows, model.conversation(), KnownNames(model.config.names), model.config.image_size)


def training_loader(
    model: Mimo, rows: Rows, sampling: SamplingConfig, features: FeatureCache | None = None, variants: int = 1
) -> StepLoader:
    """The share of this process of each step.

    Args:
        features: of the images, instead of the images (`encode_once`), with so many `variants` of each.

    Raises:
        InputError: a feature cache together with `transforms`, or one of images as they are together with augmented ones.
    """
    if features is not None and sampling.transforms is not None:
        raise InputError("transforms", "a feature cache", "one of them, for the images are not there to be changed")
    if features is not None and sampling.augment_images and variants == 1:
        expected = "feature_variants of 2 or more, or augment_images: false"
        raise InputError("feature_cache", "augment_images: true", expected)
    side, workers, strong = model.config.image_size, sampling.workers, model.config.training.strong_augmentation
    an_image = 4 * 3 * side**2 + 4 * side**2  # bytes, with four masks
    dataset = MimoSegDataset(
        rows,
        model.conversation(),
        side,
        cache=int(sampling.memory_gb * 1e9) // max(workers, 1) // an_image,
        augment=Augment(
            image=sampling.augment_images and features is None, strong=strong, transforms=sampling.transforms
        ),
        sentences=model.config.training.answer_sentences,
        others=other_questions(model, rows) if sampling.other_questions and features is None else None,
        features=features,
        variants=variants if sampling.augment_images else 1,
        strong=strong,
    )
    order = TrainingOrder(
        rows,
        dataset.data,
        images_per_batch=sampling.images_per_batch,
        global_batch=sampling.global_batch,
        questions_per_image=sampling.questions_per_image,
        seed=sampling.seed,
        balanced=sampling.balanced,
        set_weights=sampling.set_weights,
        perspective_weights=sampling.perspective_weights,
        image_shares=sampling.image_shares or None,
        absent_share=sampling.absent_share,
        window=sampling.length_window,
    )
    steps = Steps(dataset, order, model.tokenizer.pad_token_id, idist.get_rank(), idist.get_world_size())
    return StepLoader(steps, workers)


def some_images(rows: Rows, count: int) -> Rows:
    """The rows of `count` images spread evenly over a split."""
    groups = rows_by_image(rows)
    chosen = np.linspace(0, len(groups) - 1, min(count, len(groups))).round().astype(int)
    return rows.select([number for group in chosen for number in groups[group]])


def of_perspectives(rows: Rows, perspectives: Sequence[int]) -> Rows:
    """The questions of some perspectives."""
    return rows.select([n for n, value in enumerate(rows["perspective"]) if value in perspectives])


def rows_that_fit(rows: Rows, model: Mimo, *, with_answers: bool = True) -> Rows:
    """The rows whose question, and the named part of whose answer, fit the model's context; the log says how many do not."""
    conversation = model.conversation()
    anywhere = SquareResize(1, 1, 1)

    def fits(question: str, answer: str, points: list, boxes: list) -> bool:
        if len(f"{question}{answer}".encode()) < conversation.context // 2 - conversation.image_tokens:
            return True  # a token is a byte at least
        try:
            conversation.encode(question, anywhere, points, boxes, answer if with_answers else None)
        except InputError:
            return False
        return True

    columns = zip(*(rows[name] for name in ("question", "answer", "points", "boxes")))
    fitting = [number for number, row in enumerate(columns) if fits(*row)]
    if len(fitting) == len(rows):
        return rows
    logger.warning(
        "%d of %d questions are left out: longer than %d tokens",
        len(rows) - len(fitting),
        len(rows),
        conversation.context,
    )
    return rows.select(fitting)


def perspective_weights(config: MimoConfig) -> dict[int, float] | None:
    """Those of a preset, where it prefers some perspectives to others."""
    shares = config.training.perspective_shares
    return dict(enumerate(shares, start=1)) if len(set(shares)) > 1 else None


def rows_hash(rows: Rows) -> str:
    """Names what a run learns from: the questions and answers, and what they are about."""
    return digest(*("\0".join(values) for values in zip(*(rows[name] for name in ("id", "question", "answer")))))[:16]


def load_partial(model: Mimo, folder: str | Path, parts: Sequence[str]) -> None:
    """Start from parts of another model: copy into `model` its tensors that have the same name and
    shape, in place.

    Args:
        model: whose own values stay where the other has nothing that fits.
        folder: a weights folder.
        parts: the attributes of `Mimo` to copy, such as "image_encoder" and "mask_decoder".

    Raises:
        WeightsError: the folder cannot be read, or a part has nothing that fits.
    """
    other = Mimo.from_pretrained(folder)
    state, own = other.state_dict(), model.state_dict()
    fitting = {
        name: tensor
        for name, tensor in state.items()
        if name.split(".")[0] in parts and name in own and own[name].shape == tensor.shape
    }
    empty = set(parts) - {name.split(".")[0] for name in fitting}
    if empty:
        raise WeightsError(folder, f"no tensor of {', '.join(sorted(empty))} that fits", "weights of a similar preset")
    model.load_state_dict(fitting, strict=False)
    model.training_data = TrainingData.united(model.training_data, other.training_data)
    logger.info("loaded from %s: %d tensors of %s", folder, len(fitting), ", ".join(parts))


def prepare_model(
    model: Mimo,
    device: Device | str,
    start_from: Mapping[str, Sequence[str]] | None = None,
    frozen: Iterable[str] = (),
    activation_checkpointing: bool = False,
    four_bit: bool = False,
    learns_from: TrainingData | None = None,
) -> Mimo:
    """The model as it is trained, on its device.

    Args:
        start_from: weights folders, and the parts to be loaded from each (`load_partial`).
        frozen: parts that get no gradient besides those that are frozen already, e.g. "mask_decoder" or "mask_decoder.fine".
        activation_checkpointing: the language model forgets the activations of its layers and computes them again in the
            backward pass.
        four_bit: see `in_four_bits`, also for the errors.
        learns_from: is noted with its weights, beside what it and those in `start_from` learned from before.

    Raises:
        InputError: it has no such part.
    """
    model.training_data = TrainingData.united(model.training_data, learns_from)
    for folder, parts in (start_from or {}).items():
        load_partial(model, folder, parts)
    for part in frozen:
        try:
            model.get_submodule(part).requires_grad_(False)
        except AttributeError:
            parts = ", ".join(name for name, _ in model.named_children())
            raise InputError("frozen", repr(part), f"of {parts}, or a part of these") from None
    if activation_checkpointing:
        model.language_model.causal_lm.gradient_checkpointing_enable({"use_reentrant": False})
    return (in_four_bits(model) if four_bit else model).to(device)


def prepare_batch(batch: Batch, device: Device | str | None = None, non_blocking: bool = False, **_: object) -> tuple:
    """A batch as MONAI's trainer takes it: (inputs, targets, args, kwargs)."""
    device = device or "cpu"
    questions = batch.questions.to(device, non_blocking)
    masks = batch.masks.to(device, non_blocking=non_blocking)
    images = batch.images.to(device, torch.float32, non_blocking)
    return images, Targets(questions.labels, masks, questions.presence), (), {"questions": questions}


def loss_of(model: Mimo) -> MimoLoss:
    """The loss that the model's preset asks for."""
    config = model.config.training
    return MimoLoss(
        phrase=config.phrase_weight,
        alignment=config.alignment_weight,
        presence=config.presence_weight,
        naming=config.naming_weight,
        phrase_tokens=model.phrase_ids,
    )


def adam(model: nn.Module, learning_rate: float, encoder_learning_rate: float) -> Adam:
    """Adam over what is trainable, with a rate of its own for encoders that are not frozen."""
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    model = getattr(model, "module", model)  # without the wrapper of a distributed run
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[name.startswith(("image_encoder.", "segmentation_encoder."))].append(parameter)
    rates = {False: learning_rate, True: encoder_learning_rate}
    return Adam([{"params": parameters, "lr": rates[key]} for key, parameters in groups.items() if parameters])


def warmup_cosine(optimizer: Optimizer, steps: int, warmup: float = 0.05) -> LambdaLR:
    """Linear warm-up over a part of `steps` iterations, then cosine decay to zero."""
    return get_cosine_schedule_with_warmup(optimizer, round(warmup * steps), steps)


def in_four_bits(model: Mimo) -> Mimo:
    """Put the frozen matrices of the language model's layers into NF4 by `bitsandbytes`; call it before the model goes to its
    GPU, for they are converted on the way there. Adapters, embeddings and the output layer stay as they are.

    Raises:
        InputError: there is no CUDA device, no `bitsandbytes`, or the language model is trained itself.
    """
    if not torch.cuda.is_available():
        raise InputError("four_bit", "no CUDA device", "one, for bitsandbytes; leave four_bit out to train without")
    if find_spec("bitsandbytes") is None:
        raise InputError("four_bit", "no package bitsandbytes", "pip install 'monai-mimo[four-bit]'")
    if model.config.lora is None:
        raise InputError("four_bit", "a preset without lora", "a frozen language model, as `lora` makes it")
    return replace_linear(model)


def replace_linear(model: Mimo) -> Mimo:
    """The model with `bitsandbytes.nn.Linear4bit` in place of what `in_four_bits` says."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    causal_lm = model.language_model.causal_lm
    kept = set(causal_lm.get_output_embeddings().modules())  # with what `peft` wraps around them
    for parent in list(causal_lm.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear and layer not in kept and not layer.weight.requires_grad:
                new = Linear4bit(
                    layer.in_features,
                    layer.out_features,
                    bias=layer.bias is not None,
                    compute_dtype=torch.bfloat16,
                    quant_type="nf4",
                    device="meta",
                )
                new.weight = Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4", module=new)
                new.bias = layer.bias
                setattr(parent, name, new)
    return model
