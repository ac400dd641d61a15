"""Whether a question means a thing by its name, by what it tells of it, or by what is marked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources

import yaml

from ..mimoseg.questions.templates import asked_kind
from .names import plain_words
from .tokenizer import BOX, POINT

# A question that asks for one thing by its name, in the words that people use for it. What tells of the thing instead of naming
# it ("the organ that makes bile") is left to the model.
ASKED = re.compile(
    r"""^\W*(?:(?:hi|hello|please|now|so|ok)\W+)*(?:(?:can|could|would)\s+you\s+(?:please\s+)?)?
    (?:mark\s+every\s+pixel\s+that\s+belongs\s+to|where(?:'s|’s|\s+is|\s+are)|show(?:\s+me)?|find(?:\s+me)?|segment|outline|delineate|locate|highlight|mark|ground|detect|identify
      |contour|annotate|trace|point\s+(?:out|to|at)|is\s+there|are\s+there|can\s+you\s+(?:see|find)|do\s+you\s+see|is|are
      |i\s+need\s+(?:a\s+)?masks?\s+of|give\s+me\s+(?:a\s+)?masks?\s+of|masks?\s+of)
    \s+(?:(?:the|a|an|any|all|every|some|my|his|her|their|this|patient's)\s+)*(?P<name>[\w'’\-]+(?:\s+[\w'’\-]+){0,6}?)
    (?:[\s,]+(?:visible|present|there|here|for\s+me|please|and\s+where)\b.*
      |\s+(?:in|on|at|of|from|within)\s+(?:the|this|that|these|my|his|her)\s+
       (?:\w+\s+)?(?:image|picture|scan|slice|photo|photograph|radiograph|x-?ray|ct|mri?|ultrasound|view|frame)s?\b.*)?
    \W*$""",
    re.IGNORECASE | re.VERBOSE,
)

_DESCRIBING = frozenset({
    "organ", "organs", "structure", "structures", "riddle", "clue", "clues", "description", "descriptions", "it", "its", "that",
    "which", "whose", "who",
})  # fmt: skip
_WORDS = resources.files(__package__) / "words" / "asking.yaml"
_YES_OR_NO = re.compile(
    r"^\W*(?:is|are|was|does|do|did|has|have|can|could|might|may|should|would|will)\b", re.IGNORECASE
)
_IS_THIS = re.compile(r"^\W*(?:is|are|could|can|might)\s+(?:this|that|it|these|those)\b(?!.*<)", re.IGNORECASE)


def describes(question: str) -> bool:
    """Whether a question tells of a thing instead of naming it: "the organ that lies below the heart" asks for no heart. One with
    prompts, of a number, size or place, or in the words of an order for a named thing does not."""
    ordered = ASKED.match(question)
    if ordered and _DESCRIBING.isdisjoint(plain_words(ordered["name"])):
        return False
    if POINT in question or BOX in question or asked_kind(question):
        return False
    return not _DESCRIBING.isdisjoint(plain_words(question.replace("that belongs to", "of")))


def only_points(question: str) -> bool:
    """Whether a question without markers only means what is marked, in whatever words: "What is this?", "segment it, please",
    "How large is it?"."""
    words, kind = _words(question), asked_kind(question)
    if POINT in question or BOX in question or kind == "modality" or not words:
        return False
    return _are(words, "pointing") if kind is None else _are(words, "pointing", "measuring")


def asks_whether_marked(question: str) -> bool:
    """Whether a question without markers asks if what is marked is something: "Is this a cyst?"."""
    return bool(_IS_THIS.match(question)) and asked_kind(question) is None


def asks_for_all(question: str) -> bool:
    """Whether a question without marks is about all of an image: "What do you see?", "Describe the picture."."""
    words = _words(question)
    if POINT in question or BOX in question or asked_kind(question):
        return False
    return _are(words, "pointing", "whole") and not _kinds()["of_whole"].isdisjoint(words)


def judges(question: str, names: Sequence[tuple[int, int]]) -> bool:
    """Whether a question of yes or no is about more than whether known things are there, and where: "Is the heart enlarged?".

    Args:
        names: where known names are in it, (start, end).
    """
    if not names or not _YES_OR_NO.match(question) or asked_kind(question):
        return False
    rest = question
    for start, end in sorted(names, reverse=True):
        rest = rest[:start] + rest[end:]
    return not _are(_words(rest), "pointing", "measuring", "whole", "present")


@cache
def _kinds() -> dict[str, frozenset[str]]:
    return {kind: frozenset(words.split()) for kind, words in yaml.safe_load(_WORDS.read_text()).items()}


def _are(words: Sequence[str], *kinds: str) -> bool:
    """Whether all words are of these kinds, of words/asking.yaml."""
    return frozenset[str]().union(*(_kinds()[kind] for kind in kinds)).issuperset(words)


def _words(question: str) -> list[str]:
    return re.findall(r"[^\W_]+", question.lower().replace("'s", "").replace("’s", ""))
