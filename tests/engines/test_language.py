"""Reading texts without images teaches an LLM to copy a phrase and to name what a prompt's token tells it."""

from __future__ import annotations

import torch

from monai_mimo.data.tokenizer import train_tokenizer
from monai_mimo.engines import read_texts
from monai_mimo.engines.language import tell_phrases, text_loss
from monai_mimo.losses import MimoLoss
from monai_mimo.models import Mimo, load_preset

NAMES = ["liver", "left kidney", "spleen", "tumor", "nerve", "optic disc"]
QUESTIONS = [f"Where is the {name}?" for name in NAMES] + ["What is at <point>?"] * len(NAMES)
ANSWERS = [f"Here is the <p> {name} </p> <SEG>." for name in NAMES] * 2
ROWS = {"question": QUESTIONS, "answer": ANSWERS}


def make_model() -> Mimo:
    torch.manual_seed(0)
    config = load_preset("nano")
    return Mimo(config, train_tokenizer(QUESTIONS + ANSWERS, config.language_model.vocabulary))


def test_phrases_become_likely_and_the_rest_stays() -> None:
    model = make_model()
    before = {n: p.detach().clone() for n, p in model.named_parameters() if not n.startswith("language_model.")}
    texts = list(zip(QUESTIONS, ANSWERS))
    start = text_loss(model, MimoLoss(), texts).item()
    read_texts(model, ROWS, MimoLoss(), 120, 5e-3, batch=12)
    assert start > 3
    assert text_loss(model, MimoLoss(), texts).item() < 0.1  # by guessing it could not be below ln 6 at each phrase
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters() if n in before)


def test_prompt_tokens_hold_the_mean_of_their_phrase() -> None:
    from monai_mimo.data.collate import collate_questions
    from monai_mimo.engines.language import ANYWHERE

    model = make_model()
    texts = [
        ("Name <box> and <box>.", "the <p> liver </p> <SEG> and the <p> left kidney </p> <SEG>"),
        ("Where?", "here"),
    ]
    boxes = [[(0, 0, 1, 1)] * 2, []]
    questions = [model.conversation().encode(q, ANYWHERE, boxes=b, answer=a) for (q, a), b in zip(texts, boxes)]
    batch = collate_questions(questions, [0, 0], model.tokenizer.pad_token_id)
    embeddings = tell_phrases(model, batch, texts)
    plain = model.language_model.embed(batch.input_ids)
    at_box = batch.input_ids == model.box_id
    first = torch.zeros_like(at_box)
    first[0, (batch.input_ids[0] == model.image_id).nonzero()[0]] = True
    torch.testing.assert_close(embeddings[~at_box & ~first], plain[~at_box & ~first])
    both = model.tokenizer("liver", add_special_tokens=False)["input_ids"]
    both += model.tokenizer("left kidney", add_special_tokens=False)["input_ids"]
    torch.testing.assert_close(embeddings[first][0], model.language_model.embed(torch.tensor(both)).mean(0))
    for token, phrase in zip(embeddings[at_box], ["liver", "liver", "left kidney", "left kidney"]):  # two for each box
        ids = torch.tensor(model.tokenizer(phrase, add_special_tokens=False)["input_ids"])
        torch.testing.assert_close(token, model.language_model.embed(ids).mean(0))


def test_no_steps_change_nothing() -> None:
    model = make_model()
    before = [p.detach().clone() for p in model.parameters()]
    read_texts(model, ROWS, MimoLoss(), 0, 1e-3)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))
