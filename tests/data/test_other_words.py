"""Other words and off-topic questions: enough of them, none of them known, and a part that is never taught."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_mimo.data.names import KnownNames, is_english, off_topic, other_terms, plain_nouns, terms_by_region
from monai_mimo.data.other_questions import (
    HELD_ORGANS,
    absent_words,
    held_out_names,
    held_out_questions,
    off_topic_question,
    off_topic_reply,
    pseudo_word,
)
from monai_mimo.mimoseg.catalogue.vocabulary import standard_name, vocabulary, with_synonyms

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
