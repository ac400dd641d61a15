"""An answer keeps only what was asked for and what looks like its name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_mimo.inference import Entity, MimoPredictor
from monai_mimo.inference.as_asked import as_asked
from monai_mimo.inference.question import Question
from monai_mimo.models.region_names import RegionNames

from .test_prompts_alone import make

LEFT, RIGHT, NONE = (np.full((32, 32), -5, dtype=np.float32) for _ in range(3))
LEFT[:, :16] = 5
RIGHT[:, 16:] = 5


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> MimoPredictor:
    """What lies at the left looks like a liver, at the right like a spleen."""

    def chances(self: RegionNames, features: object, image_index: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        left = masks[:, :, :16].mean((1, 2)) > masks[:, :, 16:].mean((1, 2))
        return torch.stack([left, ~left, torch.zeros_like(left)], dim=1).float().clamp(0.01, 0.98)

    monkeypatch.setattr(RegionNames, "chances", chances)
    predictor = MimoPredictor(make())
    predictor.set_image(np.zeros((64, 64, 3), dtype=np.uint8))
    return predictor


def entity(phrase: str, text: str, logits: np.ndarray) -> Entity:
    start = text.index(phrase)
    return Entity(phrase, (start, start + len(phrase)), np.kron(logits > 0, np.ones((2, 2))) > 0, 0.9, logits)


def check(predictor: MimoPredictor, question: str, text: str, *found: tuple[str, np.ndarray], **prompts: object):
    entities = [entity(phrase, text, logits) for phrase, logits in found]
    asked = Question(question, **prompts)
    said, kept = as_asked(predictor.model, predictor.names, predictor._image, asked, text, entities)
    return said, [e.phrase for e in kept]


def test_what_looks_like_its_name_stays(predictor: MimoPredictor) -> None:
    text = "I see the liver and the spleen."
    assert check(predictor, "Where are the liver and the spleen?", text, ("liver", LEFT), ("spleen", RIGHT)) == (
        text,
        ["liver", "spleen"],
    )


@pytest.mark.parametrize("logits", [RIGHT, NONE])
def test_what_does_not_is_not_found(predictor: MimoPredictor, logits: np.ndarray) -> None:
    text = "I found the liver in the image."
    assert check(predictor, "Where is the liver?", text, ("liver", logits)) == ("I cannot find any liver here.", [])


def test_yes_becomes_no(predictor: MimoPredictor) -> None:
    said, kept = check(predictor, "Is there a liver?", "Yes, the liver is there.", ("liver", RIGHT))
    assert (said, kept) == ("No, I cannot find any liver here.", [])


def test_one_of_two_stays(predictor: MimoPredictor) -> None:
    text = "I see the liver and the spleen."
    said, kept = check(predictor, "Where are the liver and the spleen?", text, ("liver", LEFT), ("spleen", LEFT))
    assert (said, kept) == (f"{text} But I cannot find any spleen here.", ["liver"])


def test_prompts_are_believed(predictor: MimoPredictor) -> None:
    text = "This is the liver."
    said = check(predictor, "What is <point>?", text, ("liver", RIGHT), points=[(40, 8, 1)])
    assert said == (text, ["liver"])


def test_a_name_that_was_not_asked_for_goes(predictor: MimoPredictor) -> None:
    said = check(predictor, "Where is the spleen?", "I see the liver.", ("liver", LEFT))
    assert said == ("I cannot find any spleen here.", [])


def test_a_modality_that_is_known_is_told(predictor: MimoPredictor) -> None:
    question, said = "Which modality is this?", "I see a CT image."
    assert check(predictor, question, said) == (said, [])
    predictor._image = replace(predictor._image, looks_like="MR")
    assert check(predictor, question, said) == ("This is an MR image.", [])
