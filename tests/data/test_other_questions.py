"""Other questions fit their answers and their images: what is unknown is refused, and what has no name is a place without one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_mimo.data.conversation import Conversation, EncodedQuestion
from monai_mimo.data.names import REGION, KnownNames, is_english, off_topic, other_terms, plain_nouns, terms_by_region
from monai_mimo.data.other_questions import (
    HELD_ORGANS,
    OtherQuestions,
    absent_words,
    free_region,
    held_out_names,
    held_out_questions,
    off_topic_question,
    off_topic_reply,
    pseudo_word,
)
from monai_mimo.data.tokenizer import train_tokenizer
from monai_mimo.mimoseg.catalogue.vocabulary import standard_name, vocabulary, with_synonyms
from monai_mimo.mimoseg.encoding import encode_rle
from monai_mimo.transforms.resize import SquareResize

SIDE = 64
NAMES = ("liver", "spleen")
SIZE = (96, 64)
LIVER = (slice(8, 40), slice(6, 30))  # in pixels of the image


def image() -> np.ndarray:
    """A dark image with a bright liver and two further bright squares."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    for place in (LIVER, (slice(60, 80), slice(8, 26)), (slice(50, 90), slice(38, 58))):
        pixels[place] = 200
    return pixels


@pytest.fixture(scope="module")
def rows() -> Dataset:
    mask = np.zeros(SIZE, dtype=bool)
    mask[LIVER] = True
    base = {"image": image(), "size": list(SIZE), "source": "a", "modality": "CT", "points": [], "boxes": []}
    shown = {"entities": [{"phrase": "liver", "mask": encode_rle(mask)}], "absent": []}
    gone = {"entities": [], "absent": ["spleen"]}
    answer = "This is the <p> liver </p> <SEG>."
    made = [
        {**base, **gone, "perspective": 1, "question": "Where is the spleen?", "answer": "There is no spleen here."},
        {**base, **shown, "perspective": 1, "question": "Where is the liver?", "answer": answer},
        {
            **base,
            **shown,
            "perspective": 2,
            "question": "What is <point>?",
            "answer": answer,
            "points": [[10.0, 10.0, 1.0]],
        },
        {
            **base,
            **shown,
            "perspective": 2,
            "question": "What is in <box>?",
            "answer": answer,
            "boxes": [[6.0, 8, 30, 40]],
        },
    ]
    return Dataset.from_list(made)


@pytest.fixture(scope="module")
def draw(rows: Dataset) -> Callable[[int], list[tuple[EncodedQuestion, list[int], torch.Tensor]]]:
    """What a row is exchanged for, 300 times."""
    texts = [*rows["question"], *rows["answer"], "I have no name for this region. kidney"]
    conversation = Conversation(train_tokenizer(texts, 600), 4, 200, (*NAMES, REGION), SIDE)
    others = OtherQuestions(rows, conversation, KnownNames(dict.fromkeys(NAMES, ())), SIDE)
    resize = SquareResize(*SIZE, SIDE)
    pixels = resize.image(image())
    mask = np.zeros((1, *SIZE), dtype=bool)
    mask[0][LIVER] = True
    masks = resize.masks(mask)

    def drawn(number: int) -> list[tuple[EncodedQuestion, list[int], torch.Tensor]]:
        row = rows[number]
        entities = [0] if row["entities"] else []
        question = conversation.encode(row["question"], resize, row["points"], row["boxes"], row["answer"], {})
        return [
            others.exchange(number, question, entities, pixels, masks, np.random.default_rng(seed))
            for seed in range(300)
        ]

    drawn.text = lambda ids: conversation.tokenizer.decode(ids).strip()  # type: ignore[attr-defined]
    return drawn


def test_names_that_are_absent_are_exchanged_for_unknown_ones(draw) -> None:
    held, asked = set(held_out_names()), Counter()
    for question, entities, _ in draw(0):
        text, answer = draw.text(question.instruction_ids), draw.text(question.answer_ids)
        assert entities == []
        assert question.seg_names == []
        assert "liver" not in text
        if text.startswith("Where is the ") and answer.startswith("There is no "):
            name = text.removeprefix("Where is the ").rstrip("? ")
            assert name in answer
            assert name not in held
            asked["spleen" if name == "spleen" else "unknown"] += 1
        else:
            asked["off topic"] += 1
    assert 80 < asked["unknown"] < 150
    assert 3 <= asked["off topic"] <= 30
    assert asked["spleen"] > 120


def test_questions_that_name_what_is_there_stay(draw) -> None:
    assert {draw.text(question.instruction_ids) for question, _, _ in draw(1)} == {"Where is the liver?"}


@pytest.mark.parametrize("number", [2, 3])
def test_prompts_also_show_places_without_a_name(draw, number: int) -> None:
    counts = Counter()
    for question, entities, masks in draw(number):
        if entities == [0]:
            assert len(masks) == 1
            counts["named"] += 1
            continue
        counts["unnamed"] += 1
        region, known = masks[entities[0]], masks[0]
        assert not (region & known).any()
        assert not region[:, int(SIDE * SIZE[1] / SIZE[0]) + 1 :].any()  # the padding of the square
        assert question.seg_names == [len(NAMES)]
        assert REGION in draw.text(question.answer_ids)
        rows, columns = np.nonzero(region.numpy())
        if number == 2:
            x, y = question.coordinates[0]
            assert region[int(y), int(x)]
        else:
            (x0, y0), (x1, y1) = question.coordinates
            middle = (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
            assert x0 <= middle[0] <= x1
            assert y0 <= middle[1] <= y1
    assert 50 < counts["unnamed"] < 130


def test_an_image_that_is_labelled_all_over_has_no_free_region() -> None:
    pixels = torch.rand(3, SIDE, SIDE)
    masks = torch.ones(1, SIDE, SIDE, dtype=torch.bool)
    assert free_region(pixels, masks, (SIDE, SIDE), np.random.default_rng(0)) is None


KNOWN = KnownNames(with_synonyms(vocabulary()))
PARTS = sorted(terms_by_region())


def test_there_are_enough_words_and_no_two_are_the_same() -> None:
    assert len(other_terms()) >= 1500
    assert len(plain_nouns()) >= 1000
    texts = [text.casefold() for text in (*other_terms(), *plain_nouns())]
    assert len(set(texts)) == len(texts)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9' -]*", text) for text in texts)


def test_no_word_is_a_name_of_the_vocabulary() -> None:
    assert [text for text in (*other_terms(), *plain_nouns()) if standard_name(text)] == []
    assert [text for text in (*other_terms(), *plain_nouns()) if KNOWN.find(text)] == []


def test_two_hundred_names_are_never_taught() -> None:
    held = held_out_names()
    assert len(held) == len(set(held)) == 200
    assert set(HELD_ORGANS) <= set(held)
    assert sum(name in plain_nouns() for name in held) == 60
    taught = absent_words(parts=())
    assert set(taught).isdisjoint(held)
    assert set(taught) | set(held) == {*other_terms(), *plain_nouns()}


@settings(deadline=None)
@given(st.sets(st.sampled_from(PARTS)))
def test_what_an_image_may_show_is_not_among_its_absent_words(parts: set[str]) -> None:
    visible = {term for part in parts for term in terms_by_region()[part]}
    assert visible.isdisjoint(absent_words(parts))
    assert visible.isdisjoint(held_out_names(parts))
    assert len(absent_words(parts)) + len(visible) + len(held_out_names(parts)) >= 2500 - 200


def test_names_that_are_known_are_not_taught_as_absent() -> None:
    known = KnownNames({"ulna": [], "big toe": ["hallux"]})
    taught = set(absent_words((), known))
    assert {"ulna", "big toe", "hallux"} <= set(absent_words(()))
    assert {"ulna", "big toe", "hallux"}.isdisjoint(taught)
    assert "little finger" in taught


@pytest.mark.parametrize("held_out", [False, True])
def test_pseudo_words_are_no_words(held_out: bool) -> None:
    rng = np.random.default_rng(3)
    words = [pseudo_word(rng, held_out=held_out, known=KNOWN) for _ in range(300)]
    assert len(set(words)) > 280
    for word in words:
        assert re.fullmatch("[a-z]{4,14}", word)
        assert not is_english(word)
        assert KNOWN.find(word) == []
    again = np.random.default_rng(3)
    assert words == [pseudo_word(again, held_out=held_out, known=KNOWN) for _ in range(300)]


def test_pseudo_words_of_teaching_and_measuring_are_apart() -> None:
    taught = {pseudo_word(np.random.default_rng(seed)) for seed in range(300)}
    assert taught.isdisjoint(pseudo_word(np.random.default_rng(seed), held_out=True) for seed in range(300))


def test_off_topic_questions_are_many_filled_and_apart() -> None:
    templates = [text for texts in off_topic().questions.values() for text in texts]
    assert len(templates) == len(set(templates)) >= 300
    assert len(held_out_questions()) == len(set(held_out_questions())) == 50
    for template in templates:
        assert set(re.findall(r"\{(\w+)\}", template)) <= set(off_topic().slots), template
    rng = np.random.default_rng(0)
    asked = [off_topic_question(rng) for _ in range(3000)]
    assert len(set(asked)) > 700
    assert set(asked).isdisjoint(held_out_questions())
    assert not [text for text in asked if re.search(r"\{[a-z_]+\}", text)]


def test_off_topic_questions_name_nothing_that_is_known() -> None:
    """In English; "tumor" is the same word in German and Spanish."""
    rng = np.random.default_rng(1)
    asked = {off_topic_question(rng) for _ in range(5000)} | set(held_out_questions())
    named = {text: [m.canonical for m in KNOWN.find(text)] for text in asked if KNOWN.find(text)}
    assert {name for names in named.values() for name in names} <= {"tumor"}


def test_replies_ground_nothing_and_name_nothing() -> None:
    rng = np.random.default_rng(0)
    replies = {off_topic_reply(rng) for _ in range(200)}
    assert replies == set(off_topic().replies)
    assert all("<" not in reply and not KNOWN.find(reply) for reply in replies)
