"""Whether a question means a thing by its name, by what it tells of it, or by what is marked."""

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


# The words of a question that means what is marked, and tells nothing else of it; of one that measures it.
_POINTING = frozenset({
    "a", "abnormality", "am", "an", "anatomical", "anatomy", "and", "are", "area", "as", "at", "be", "belong", "belongs",
    "box", "boxed", "boxes", "call", "called", "can", "circled", "click", "clicked", "clicking", "contour", "could",
    "delineate", "describe", "did", "do", "does", "draw", "drawn", "drew", "exactly", "find", "finding", "for", "give",
    "have", "here", "highlight", "i", "identify", "image", "in", "inside", "is", "it", "its", "just", "kind", "know",
    "label", "lesion", "lie", "lies", "like", "locate", "located", "look", "looking", "looks", "mark", "marked", "marking",
    "mask", "me", "mean", "means", "name", "now", "object", "of", "on", "organ", "our", "out", "outline", "part",
    "picture", "pixel", "place", "please", "point", "pointed", "pointing", "points", "precisely", "region", "scan",
    "scribble", "scribbled", "see", "seeing", "segment", "segmentation", "select", "selected", "show", "shown", "shows",
    "so", "spot", "structure", "tell", "that", "the", "there", "these", "they", "thing", "this", "those", "tissue", "to",
    "touch", "touches", "trace", "type", "under", "us", "want", "was", "we", "what", "where", "which", "with", "within",
    "would", "you",
})  # fmt: skip
_MEASURED = frozenset({
    "above", "below", "big", "bottom", "centimeters", "centimetres", "cm", "count", "cover", "covers", "diameter",
    "direction", "end", "extent", "fill", "fills", "from", "half", "high", "hold", "holds", "how", "large", "largest", "left",
    "length", "long", "longest", "lower", "many", "measure", "measures", "middle", "millimeters", "millimetres", "mm",
    "much", "number", "or", "parts", "per", "percent", "percentage", "quadrant", "quarter", "quarters", "right", "share",
    "side", "size", "square", "take", "takes", "top", "up", "upper", "wide", "width",
})  # fmt: skip
# Of one about all of an image, without marks; it has one of the second.
_WHOLE = frozenset({
    "abnormal", "abnormalities", "all", "anything", "detect", "everything", "findings", "finds", "lesions", "list",
    "objects", "organs", "parts", "report", "something", "structures", "summarise", "summarize", "things", "tissues",
    "visible", "wrong",
})  # fmt: skip
_OF_WHOLE = frozenset({
    "abnormality", "all", "anything", "describe", "everything", "finding", "here", "image", "lesion", "organ", "organs",
    "picture", "region", "scan", "see", "seeing", "segment", "shown", "shows", "something", "structure", "structures",
    "this", "visible",
})  # fmt: skip
_IS_THIS = re.compile(r"^\W*(?:is|are|could|can|might)\s+(?:this|that|it|these|those)\b(?!.*<)", re.IGNORECASE)


def only_points(question: str) -> bool:
    """Whether a question without markers only means what is marked, in whatever words: "What is this?", "segment it, please",
    "How large is it?"."""
    words, kind = _words(question), asked_kind(question)
    if POINT in question or BOX in question or kind == "modality" or not words:
        return False
    return (_POINTING if kind is None else _POINTING | _MEASURED).issuperset(words)


def asks_whether_marked(question: str) -> bool:
    """Whether a question without markers asks if what is marked is something: "Is this a cyst?"."""
    return bool(_IS_THIS.match(question)) and asked_kind(question) is None


def asks_for_all(question: str) -> bool:
    """Whether a question without marks is about all of an image: "What do you see?", "Describe the picture."."""
    words = _words(question)
    if POINT in question or BOX in question or asked_kind(question):
        return False
    return (_POINTING | _WHOLE).issuperset(words) and not _OF_WHOLE.isdisjoint(words)


def _words(question: str) -> list[str]:
    return re.findall(r"[^\W_]+", question.lower().replace("'s", "").replace("’s", ""))
