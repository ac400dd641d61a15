"""The value that an answer of perspective V gives, and whether it is the right one: the grammar of `measured.yaml`."""

from __future__ import annotations

import re
from functools import cache

from ..plain_text import plain_answer
from .templates import measured_templates

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


def parse_value(kind: str, answer: str) -> str | None:
    """What an answer says to a question of `kind`, in lower case; none if it says nothing, or two things.

    Args:
        answer: plain, or with the tags of phrases.
    """
    text = " ".join(plain_answer(answer)[0].lower().split())
    found = {match["value"] for pattern in _patterns(kind) for match in pattern.finditer(text)}
    return found.pop() if len(found) == 1 else None


def is_right(kind: str, said: str | None, expected: str) -> bool:
    """Whether a value is the expected one: the same word or number, or a size that is `CLOSE` to it."""
    if said is None:
        return False
    if kind in SIZES:
        return abs(float(said) - float(expected)) <= CLOSE * float(expected)
    return said.lower() == expected.lower()


@cache
def _patterns(kind: str) -> list[re.Pattern[str]]:
    return [re.compile(pattern) for pattern in measured_templates()[kind]["value"]]
