"""Small things that many tests need. Nothing here is downloaded; all of it is made by code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_mimo.data.conversation import EncodedQuestion, QuestionBatch, collate_questions
from monai_mimo.data.tokenizer import train_tokenizer
from monai_mimo.models import Mimo, load_preset
from monai_mimo.models.weights import save_weights
from monai_mimo.transforms.resize import SquareResize

TEXTS = [
    "Where is the left kidney? USER: ASSISTANT:",
    "What lies at <point>?",
    "Name what <box> holds.",
    "It is the <p> left kidney </p> <SEG>.",
    "I see the <p> liver </p> <SEG> and the <p> spleen </p> <SEG>.",
    "There is no tumor in this image.",
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def make_nano(**changes: object) -> Mimo:
    """A `nano` model with a tokenizer of `TEXTS`."""
    config = load_preset("nano", **changes)
    return Mimo(config, train_tokenizer(TEXTS * 4, config.language_model.vocabulary))


@pytest.fixture
def nano() -> Mimo:
    return make_nano()


@pytest.fixture(scope="session")
def nano_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder of an untrained `nano` model."""
    torch.manual_seed(0)
    return save_weights(make_nano(), tmp_path_factory.mktemp("weights") / "nano")


def encode(
    model: Mimo, question: str, answer: str | None = None, size: tuple[int, int] = (48, 64), **prompts: Any
) -> EncodedQuestion:
    """One encoded question about an image of `size` (h, w)."""
    return model.conversation().encode(question, SquareResize(*size, model.config.image_size), answer=answer, **prompts)


def collate_all(model: Mimo, questions: list[EncodedQuestion], generate: bool = True) -> QuestionBatch:
    """Questions about one image as a batch."""
    return collate_questions(questions, [0] * len(questions), model.tokenizer.pad_token_id, generate=generate)


def four_questions(model: Mimo) -> list[EncodedQuestion]:
    """No mask; one mask and a point; two masks; one mask and a box; all of unequal length."""
    return [
        encode(model, "Is there a tumor?", "There is no tumor in this image.", named={"tumor": False}),
        encode(model, "What lies at <point>?", "It is the <p> liver </p> <SEG>.", points=[(5, 6, 1)]),
        encode(
            model,
            "Where are liver and spleen?",
            "I see the <p> liver </p> <SEG> and the <p> spleen </p> <SEG>.",
            named={"liver": True, "spleen": True},
        ),
        encode(model, "Name what <box> holds.", "The <p> spleen </p> <SEG>.", boxes=[(2, 3, 20, 30)]),
    ]


def training_batch(model: Mimo) -> tuple[torch.Tensor, QuestionBatch]:
    """Two images with two of the `four_questions` each."""
    images = torch.rand(2, 3, model.config.image_size, model.config.image_size)
    return images, collate_questions(four_questions(model), [0, 0, 1, 1], model.tokenizer.pad_token_id)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
