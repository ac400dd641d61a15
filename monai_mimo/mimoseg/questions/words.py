"""Words of questions and facts, compared without their endings; and the words that give an entity away."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources

import yaml

from ..catalogue.vocabulary import standard_name, vocabulary
from .knowledge import Knowledge, modality_words

ROOT = 5  # letters by which words are compared: "filters" and "filtering" are one
NO_NAME = {"of", "the", "and", "or", "in", "to"}
ENDINGS = re.compile(r"(us|um|is|ae|as|es|a|e|s|x|y)$")


def find_knowledge(entity: str, knowledge: Mapping[str, Knowledge]) -> Knowledge | None:
    """The entry of an entity, which may be called by a synonym."""
    return knowledge.get(entity) or knowledge.get(standard_name(entity) or "")


@cache
def stop_words() -> frozenset[str]:
    """Words of any text, which say nothing of an entity (`stop_words.yaml`)."""
    return frozenset(yaml.safe_load((resources.files(__package__) / "stop_words.yaml").read_text())["words"].split())


@lru_cache(maxsize=8192)
def content_words(text: str) -> frozenset[str]:
    """The roots of the words of a text that say something; tags and markers are no words."""
    words = re.findall(r"[^\W_]+", re.sub(r"<[^>]*>", " ", text).casefold())
    return frozenset(word[:ROOT] for word in words if len(word) > 1 and word not in stop_words())


@cache
def all_names(entity: str) -> tuple[str, ...]:
    """Everything that an entity is called: its name, its standard name and synonyms, and those of its family."""
    names = {entity: None}
    standard = standard_name(entity)
    while standard is not None and standard in vocabulary():
        names.update(dict.fromkeys([standard, *vocabulary()[standard].synonyms]))
        standard = vocabulary()[standard].family or None
    return tuple(names)


@lru_cache(maxsize=2048)
def give_away(entity: str, roots: tuple[str, ...] = ()) -> re.Pattern[str]:
    """What may not stand in a question about `entity`.

    These are every name of it; each word of its name and standard name, with other endings where it has five letters or
    more ("kidneys", "aortic") and inside other words where it has seven ("gallbladder" for the bladder); and words that
    start with one of `roots`, as its entry lists them.
    """
    parts = [rf"\b{re.escape(name.casefold())}\b" for name in all_names(entity)]
    for word in re.findall(r"[^\W_]+", f"{entity} {standard_name(entity) or ''}".casefold()):
        if word not in NO_NAME:
            parts.append(word_pattern(word))
    parts += [rf"\b{re.escape(root.casefold())}" for root in roots]
    return re.compile("|".join(dict.fromkeys(parts)))


def word_pattern(word: str) -> str:
    """A word in its forms: short ones as they are or with a plural's s, long ones with any ending."""
    if len(word) < 5:
        return rf"\b{re.escape(word)}s?\b"
    stem = ENDINGS.sub("", word)
    start = "" if len(word) > 6 else r"\b"
    return start + re.escape(stem if len(stem) > 3 else word)


@cache
def modality_pattern() -> re.Pattern[str]:
    """Words that tell how an image was made."""
    words = [r"\s+".join(map(re.escape, words.casefold().split())) for words in modality_words()]
    return re.compile(rf"(?<!\w)({'|'.join(sorted(words, key=len, reverse=True))})(?!\w)")
