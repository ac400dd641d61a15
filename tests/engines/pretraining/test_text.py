"""Reading texts without images teaches an LLM to copy a phrase and to name what a prompt's token tells it."""

from __future__ import annotations

import numpy as np
import torch

from monai_mimo.data.conversation import collate_questions
from monai_mimo.data.tokenizer import train_tokenizer
from monai_mimo.engines.pretraining import pretrain_text
from monai_mimo.engines.pretraining.text import ANYWHERE, embed_texts, exchange_names, text_loss
from monai_mimo.losses import MimoLoss
from monai_mimo.models import Mimo, load_preset

NAMES = ["liver", "left kidney", "spleen", "tumor", "nerve", "optic disc"]
QUESTIONS = [f"Where is the {name}?" for name in NAMES] + ["What is at <point>?"] * len(NAMES)
ANSWERS = [f"Here is the <p> {name} </p> <SEG>." for name in NAMES] * 2
TEXTS = [(q, a, (name,), ()) for q, a, name in zip(QUESTIONS, ANSWERS, NAMES * 2)]
ROWS = {
    "question": QUESTIONS,
    "answer": ANSWERS,
    "entities": [[{"phrase": name}] for name in NAMES * 2],
    "absent": [[]] * len(QUESTIONS),
    "perspective": [1] * len(NAMES) + [2] * len(NAMES),
}


def make_model() -> Mimo:
    torch.manual_seed(0)
    config = load_preset("nano")
    return Mimo(config, train_tokenizer(QUESTIONS + ANSWERS, config.language_model.vocabulary))


def test_phrases_become_likely_and_the_rest_stays() -> None:
    model = make_model()
    reads = ("language_model.", "presence.embedding.")
    before = {n: p.detach().clone() for n, p in model.named_parameters() if not n.startswith(reads)}
    start = text_loss(model, MimoLoss(), TEXTS).item()
    pretrain_text(model, ROWS, MimoLoss(), 120, 5e-3, batch=12)
    assert start > 3
    assert text_loss(model, MimoLoss(), TEXTS).item() < 0.1  # by guessing it could not be below ln 6 at each phrase
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters() if n in before)


def test_what_the_aligner_shall_tell_is_told_truly() -> None:
    """Both tokens of a box hold the mean of its phrase; words that name something say whether it is there."""
    model = make_model()
    texts = [
        (
            "Name <box> and <box>.",
            "the <p> liver </p> <SEG> and the <p> left kidney </p> <SEG>",
            ("liver", "left kidney"),
            (),
        ),
        ("The left kidney or a tumor?", "the <p> left kidney </p> <SEG>", ("left kidney",), ("tumor",)),
    ]
    boxes = [[(0, 0, 1, 1)] * 2, []]
    questions = [
        model.conversation().encode(
            q, ANYWHERE, boxes=b, answer=a, named=dict.fromkeys(there, True) | dict.fromkeys(gone, False)
        )
        for (q, a, there, gone), b in zip(texts, boxes)
    ]
    batch = collate_questions(questions, [0, 0], model.tokenizer.pad_token_id)
    told = embed_texts(model, batch, texts) - model.language_model.embed(batch.input_ids)
    at_box = batch.input_ids == model.box_id
    for token, phrase in zip(
        embed_texts(model, batch, texts)[at_box], ["liver", "liver", "left kidney", "left kidney"]
    ):
        ids = torch.tensor(model.tokenizer(phrase, add_special_tokens=False)["input_ids"])
        torch.testing.assert_close(token, model.language_model.embed(ids).mean(0))
    words = model.tokenizer("The left kidney or a tumor?", add_special_tokens=False)["input_ids"]
    spoken = [model.tokenizer.decode(word).strip() for word in words]
    at_words = batch.is_instruction[1].nonzero()[:, 0]
    present, absent = model.presence.embedding.weight[1:]
    for place, word in zip(at_words.tolist(), spoken):
        expected = {"left": present, "kidney": present, "tumor": absent}.get(word, torch.zeros_like(present))
        torch.testing.assert_close(told[1, place], expected)
    rest = ~at_box & ~batch.is_instruction
    assert not told[rest].any()


def test_names_are_exchanged_whatever_their_case() -> None:
    text = (
        "Where is the L2 vertebra?",
        "L2 vertebra: <p> L2 vertebra </p> <SEG>. No liver.",
        ("L2 vertebra",),
        ("liver",),
    )
    question, answer, phrases, absent = exchange_names(text, ["aorta", "L3 vertebra"], np.random.default_rng(0))
    assert {*phrases, *absent} == {"aorta", "L3 vertebra"}
    assert question == f"Where is the {phrases[0]}?"
    assert answer == f"{phrases[0]}: <p> {phrases[0]} </p> <SEG>. No {absent[0]}."


def test_no_steps_change_nothing() -> None:
    model = make_model()
    before = [p.detach().clone() for p in model.parameters()]
    pretrain_text(model, ROWS, MimoLoss(), 0, 1e-3)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))
