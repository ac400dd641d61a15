"""Questions in anybody's words about what is marked, about all of an image, and for names with parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_mimo.data.names import REGION
from monai_mimo.inference import MimoPredictor
from monai_mimo.inference.predictor import UNJUDGED
from monai_mimo.inference.without_words import MARK_IT

from ..conftest import make_nano

NAMES = {"liver": (), "left kidney": (), "right kidney": (), "brain tumor": ()}
FINE = {"width": 32, "layers": 2, "heads": 2, "mlp_width": 64, "fine": (8, 8, 16, 16, 16)}
H, W = 40, 56
CLICK = [(3, 5)]


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> MimoPredictor:
    """One that sees two things: the liver in the left half of the image, the right kidney in its upper right quarter. The
    left kidney is outlined where the right one is, and looks less like it; a tumor is outlined, and does not look like one."""
    torch.manual_seed(0)
    predictor = MimoPredictor(make_nano(mask_decoder=FINE, names=NAMES))
    names = predictor.model.region_names
    where = {
        "liver": np.s_[:, :16],
        "left kidney": np.s_[:12, 16:],
        "right kidney": np.s_[:12, 16:],
        "brain tumor": np.s_[20:, 20:],
    }
    likely = {"liver": 0.9, "left kidney": 0.6, "right kidney": 0.8, "brain tumor": 0.1}

    def outlines(features: object, image: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = torch.full((len(ids), 32, 32), -5.0)
        for grid, number in zip(logits, ids.tolist()):
            grid[where[names.names[number]]] = 5.0
        return logits, torch.full((len(ids),), 0.5)

    def chances(features: object, image: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(len(masks), len(names.names))
        for row, mask in zip(found, masks):
            for name, place in where.items():
                inside = torch.zeros(32, 32, dtype=torch.bool)
                inside[place] = True
                if torch.equal(mask > 0.5, inside):
                    row[names.names.index(name)] = likely[name]
        return found

    monkeypatch.setattr(predictor.model, "outline_names", outlines)
    monkeypatch.setattr(names, "chances", chances)
    predictor.set_image(np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8))
    predictor._image = predictor._image.__class__(predictor._image.features, predictor._image.resize)
    return predictor


@pytest.mark.parametrize("question", ["What do you see?", "Describe the image.", "Segment everything"])
def test_all_of_an_image_is_what_looks_like_its_name(predictor: MimoPredictor, question: str) -> None:
    answer = predictor.ask(question)
    assert answer.text == "I see the liver and the right kidney."
    assert [e.phrase for e in answer.entities] == ["liver", "right kidney"]
    assert [answer.text[slice(*e.span)] for e in answer.entities] == ["liver", "right kidney"]
    assert [e.score for e in answer.entities] == pytest.approx([0.45, 0.4])
    assert answer.entities[0].mask[:, : W // 2 - 1].all()
    assert not answer.entities[0].mask[:, W // 2 + 1 :].any()


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Where are the kidneys?", "I see the right kidney."),
        ("Is there a kidney?", "I see the right kidney."),
        ("Is there a tumour?", "I cannot find any tumour here."),
        ("Where is it?", MARK_IT),
        ("How large is this?", MARK_IT),
        ("Where is the spleen?", 'I do not know what "spleen" looks like. What I know: ' + ", ".join(NAMES) + "."),
    ],
)
def test_parts_are_found_and_what_is_not_named_is_to_be_marked(
    predictor: MimoPredictor, question: str, text: str
) -> None:
    said: list[str] = []
    answer = predictor.ask(question, on_text=said.append)
    assert answer.text == text
    assert "".join(said) == text
    assert [e.phrase for e in answer.entities] == (["right kidney"] if text.startswith("I see") else [])


def shown(predictor: MimoPredictor, monkeypatch: pytest.MonkeyPatch, question: str) -> str:
    """The answer to a question about a click that shows the upper left of the image, without a name."""
    logits = torch.full((1, 32, 32), -5.0)
    logits[:, :8, :16] = 5.0
    monkeypatch.setattr(predictor.model, "outline", lambda *_: (logits, torch.tensor([0.8])))
    monkeypatch.setattr(predictor.model, "by_clicks", lambda *_: torch.eye(len(NAMES) + 1)[-1:])
    answer = predictor.ask(question, CLICK)
    for entity in answer.entities:
        assert entity.phrase == REGION
        assert answer.text[slice(*entity.span)] == REGION
    return answer.text


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("", "This is a region that I have no name for."),
        ("What is this?", "This is a region that I have no name for."),
        ("Which organ did I click on?", "This is a region that I have no name for."),
        (
            "Is this the spleen?",
            'I do not know what "spleen" looks like. This is a region that I have no name for.',
        ),
        ("In which quarter of the image is this?", "I see the region in the upper left quarter of the image."),
        ("Is this a tumour?", "This is a region that I have no name for."),
    ],
)
def test_in_other_words_a_prompt_shows_the_same(
    predictor: MimoPredictor, monkeypatch: pytest.MonkeyPatch, question: str, text: str
) -> None:
    assert shown(predictor, monkeypatch, question) == text


def test_what_masks_cannot_tell_is_not_said(predictor: MimoPredictor) -> None:
    where = predictor.ask("Where is the liver?")
    assert predictor.ask("Is the liver enlarged?").text == f"{UNJUDGED} {where.text}"
