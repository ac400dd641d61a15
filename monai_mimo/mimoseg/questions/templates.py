"""The texts of `templates.yaml` and `measured.yaml`: filled in, and values of perspective V read back from answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import yaml

from ..encoding import plain_answer

KINDS = (
    "modality",
    "present",
    "marked",
    "count",
    "left_right",
    "upper_lower",
    "quarter",
    "larger",
    "diameter_mm",
    "area_mm2",
    "area_percent",
)
SIZES = ("diameter_mm", "area_mm2", "area_percent")
CLOSE = 0.2  # a size that is wrong by no more than this part of the true one is right
# Kinds whose value changes when the image is shifted, turned or scaled; the others keep theirs.
OF_PLACE_OR_SIZE = frozenset({"count", "left_right", "upper_lower", "quarter", *SIZES})


@cache
def templates() -> dict[str, Any]:
    """All templates: `instruction` (perspective I) and `visual_clue` (perspective II)."""
    return _load("templates.yaml")


@cache
def measured_templates() -> dict[str, Any]:
    """Those of perspective V: texts and grammar by kind, and the words that fill them."""
    return _load("measured.yaml")


def _load(name: str) -> dict[str, Any]:
    return yaml.safe_load((resources.files(__package__) / name).read_text())


def listed(phrases: Sequence[str]) -> str:
    """ "the a", "the a and the b", "the a, the b and the c"."""
    with_article = [f"the {phrase}" for phrase in phrases]
    return " and ".join([", ".join(with_article[:-1]), with_article[-1]] if len(phrases) > 1 else with_article)


def marked(phrase: str) -> str:
    """A phrase marked for its mask."""
    return f"<p> {phrase} </p> <SEG>"


def grounded(phrases: Sequence[str]) -> str:
    """A list with articles, each phrase marked for its mask."""
    return listed([marked(phrase) for phrase in phrases])


def sentence(text: str) -> str:
    """Start with a capital letter; a phrase tag does not count as a letter."""
    return text[:1].upper() + text[1:]


def parse_value(kind: str, answer: str) -> str | None:
    """What an answer says to a question of `kind`, in lower case; none if it says nothing, or two things.

    Args:
        answer: plain, or with the tags of phrases.
    """
    text = " ".join(plain_answer(answer)[0].lower().split())
    found = {match["value"] for pattern in _patterns(kind) for match in pattern.finditer(text)}
    return found.pop() if len(found) == 1 else None


def image_of(modality: str) -> str:
    """ "a CT image", "an MR image", "a photograph"."""
    article = "an" if re.match("[aeiou]|[AEFHILMNORSX]([A-Z]|-)", modality) else "a"
    return measured_templates()["images"].get(modality, f"{article} {modality} image")


def asked_kind(question: str) -> str | None:
    """Which of `KINDS` a question asks for, in words of one's own too; none for other questions, and for those of yes or no."""
    text = " ".join(question.lower().split())
    kinds = (
        "modality",
        "quarter",
        "left_right",
        "upper_lower",
        "area_percent",
        "diameter_mm",
        "area_mm2",
        "count",
        "larger",
    )
    return next((kind for kind in kinds if re.search(measured_templates()[kind]["asked"], text)), None)


def value_in(kind: str, text: str) -> tuple[int, int] | None:
    """Where a plain answer says its value of `kind`, (start, end); none where it says nothing."""
    matches = (pattern.search(text.lower()) for pattern in _patterns(kind))
    return next((match.span("value") for match in matches if match), None)


def is_right(kind: str, found: str | None, expected: str) -> bool:
    """Whether a value is the expected one: the same word or number, or a size that is `CLOSE` to it."""
    if found is None:
        return False
    if kind in SIZES:
        return abs(float(found) - float(expected)) <= CLOSE * float(expected)
    return found.lower() == expected.lower()


@cache
def _patterns(kind: str) -> list[re.Pattern[str]]:
    return [re.compile(pattern) for pattern in measured_templates()[kind]["value"]]
