"""The words that come with the package: English words, terms of other parts of the body, plain nouns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

ENDINGS = ("s", "es", "d", "ed", "ing", "r", "er", "ly", "y")
_FOLDER = resources.files(__package__) / "words"


@cache
def english_words() -> frozenset[str]:
    """English words and plain nouns in small letters, none of which is a typing error of a known name."""
    return frozenset((_FOLDER / "english.txt").read_text().split()) | {
        word for noun in plain_nouns() for word in noun.split()
    }


@cache
def thing_words() -> frozenset[str]:
    """Nouns that make another thing of a name before them: a liver cyst is no liver, and a heart valve is no heart."""
    return frozenset((_FOLDER / "heads.txt").read_text().split())


def is_english(word: str) -> bool:
    """Whether a word in small letters is an English one, or one with an ending ("lived", "rivers")."""
    words = english_words()
    return word in words or any(word.endswith(end) and word.removesuffix(end) in words for end in ENDINGS)


@cache
def terms_by_region() -> dict[str, tuple[str, ...]]:
    """Terms of anatomy, pathology and medicine, by the part of the body to which they belong."""
    texts = yaml.safe_load((_FOLDER / "terms.yaml").read_text())
    return {region: tuple(term.strip() for term in text.split(",")) for region, text in texts.items()}


def other_terms() -> list[str]:
    """All of `terms_by_region`, each once."""
    return list(dict.fromkeys(term for terms in terms_by_region().values() for term in terms))


@cache
def plain_nouns() -> tuple[str, ...]:
    """Things that no medical image shows: "bicycle", "teapot"."""
    return tuple(noun.strip() for noun in (_FOLDER / "things.txt").read_text().split(",") if noun.strip())


@dataclass(frozen=True)
class OffTopic:
    """Questions that no image answers.

    Attributes:
        questions: kind -> templates with {slots}; slots: name -> what may stand there.
        held_out: questions that are kept out of teaching; replies: what is said to all of them.
    """

    questions: dict[str, tuple[str, ...]]
    slots: dict[str, tuple[str, ...]]
    held_out: tuple[str, ...]
    replies: tuple[str, ...]


@cache
def off_topic() -> OffTopic:
    """The off-topic questions that come with the package."""
    values = yaml.safe_load((_FOLDER / "off_topic.yaml").read_text(encoding="utf-8"))
    questions = {kind: tuple(text.strip().splitlines()) for kind, text in values["questions"].items()}
    slots = {slot: tuple(map(str, texts)) for slot, texts in values["slots"].items()}
    return OffTopic(questions, slots, tuple(values["held_out"].strip().splitlines()), tuple(values["replies"]))
