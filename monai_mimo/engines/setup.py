"""The parts of a training or evaluation run that its config names: tokenizer, data, optimizer, schedule."""

from __future__ import annotations

import logging

import numpy as np
from datasets import Dataset as Rows
from monai.data import DataLoader
from torch import device as Device
from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedTokenizerBase, get_cosine_schedule_with_warmup

from ..data.dataset import Batch, MimoSegDataset, make_loader, rows_by_image
from ..data.tokenizer import train_tokenizer
from ..errors import InputError
from ..losses import Targets
from ..models import Mimo, MimoConfig
from ..transforms.resize import SquareResize

logger = logging.getLogger(__name__)


def tokenizer_for(config: MimoConfig, rows: Rows) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that is trained from scratch, learned from the questions and answers of `rows`."""
    texts = {f"USER: {question} ASSISTANT: {answer}" for question, answer in zip(rows["question"], rows["answer"])}
    return train_tokenizer(sorted(texts), config.language_model.vocabulary)


def training_loader(
    model: Mimo, rows: Rows, images_per_batch: int, questions_per_image: int, workers: int = 0
) -> DataLoader:
    """Random, balanced, augmented batches with answers."""
    dataset = MimoSegDataset(
        rows,
        model.conversation(),
        model.config.image_size,
        questions_per_image=questions_per_image,
        augment=True,
    )
    return make_loader(dataset, model.tokenizer.pad_token_id, images_per_batch, balanced=True, workers=workers)


def some_images(rows: Rows, count: int) -> Rows:
    """The rows of `count` images spread evenly over a split."""
    groups = rows_by_image(rows)
    chosen = np.linspace(0, len(groups) - 1, min(count, len(groups))).round().astype(int)
    return rows.select([number for group in chosen for number in groups[group]])


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


def prepare_batch(batch: Batch, device: Device | str | None = None, non_blocking: bool = False, **_: object) -> tuple:
    """A batch as MONAI's trainer takes it: (inputs, targets, args, kwargs)."""
    questions = batch.questions.to(device or "cpu", non_blocking)
    masks = batch.masks.to(device, non_blocking=non_blocking)
    images = batch.images.to(device, non_blocking=non_blocking)
    return images, Targets(questions.labels, masks, questions.presence), (), {"questions": questions}


def adam(model: nn.Module, learning_rate: float, encoder_learning_rate: float) -> Adam:
    """Adam over what is trainable, with a rate of its own for encoders that are not frozen."""
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[name.startswith(("image_encoder.", "segmentation_encoder."))].append(parameter)
    rates = {False: learning_rate, True: encoder_learning_rate}
    return Adam([{"params": parameters, "lr": rates[key]} for key, parameters in groups.items() if parameters])


def warmup_cosine(optimizer: Optimizer, steps: int, warmup: float = 0.05) -> LambdaLR:
    """Linear warm-up over a part of `steps` iterations, then cosine decay to zero."""
    return get_cosine_schedule_with_warmup(optimizer, round(warmup * steps), steps)
