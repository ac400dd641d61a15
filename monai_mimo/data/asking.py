"""Whether a question means a thing by its name or by what it tells of it."""

from __future__ import annotations

import re

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


def describes(question: str) -> bool:
    """Whether a question tells of a thing instead of naming it: "the organ that lies below the heart" asks for no heart. One with
    prompts, of a number, size or place, or in the words of an order for a named thing does not."""
    ordered = ASKED.match(question)
    if ordered and _DESCRIBING.isdisjoint(plain_words(ordered["name"])):
        return False
    if POINT in question or BOX in question or asked_kind(question):
        return False
    return not _DESCRIBING.isdisjoint(plain_words(question.replace("that belongs to", "of")))
