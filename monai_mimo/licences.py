"""What a licence of a data set allows to be done with what was learned from it, as far as its text says so."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .errors import InputError

UNKNOWN = "unknown"
PERMISSIVE = "permissive"
USES = (PERMISSIVE, "non-commercial", "research", UNKNOWN)  # from the freest to the strictest

_PERMISSIVE = re.compile(
    r"(cc0|public domain|cc[- ]by([- ]sa)?|mit|apache|bsd|pddl|dbcl|odc[- ]by)"
    r"([- ](license|licence))?([- ]v?\d+(\.\d+)?)?([- ](clause|universal|international))?( in its repository)?"
)


def use_of(licence: str) -> str:
    """One of `USES`.

    `permissive` is any use, with the source named and perhaps under the same licence: CC0, public domain, CC BY, CC BY-SA, MIT,
    Apache and their like, each part of "A and B" or "A, B". What was not checked, or is in other words, is `unknown`: this never
    guesses.

    Args:
        licence: a name or an identifier of SPDX, or words such as "research use"; "... in its repository" says where it stands.
    """
    text = " ".join(licence.lower().replace("(", " and ").replace(")", " ").split())
    if not text or re.search(r"\b(unknown|not checked|mixed|not stated|none stated)\b", text):
        return UNKNOWN
    if re.search(r"\bnon-?commercial\b|\bnc\b", text):
        return "non-commercial"
    if re.search(r"\bresearch\b|\beducation\b|\bacademic\b", text):
        return "research"
    parts = re.split(r"\s*,\s*|\s+and\s+", text)
    return PERMISSIVE if all(_PERMISSIVE.fullmatch(part) for part in parts) else UNKNOWN


def allows(licence: str, wanted: str) -> bool:
    """Whether a licence is known to allow the use `wanted`, or a freer one.

    Raises:
        InputError: `wanted` is not one of `USES`.
    """
    if wanted not in USES:
        raise InputError("licence", repr(wanted), f"one of {', '.join(USES)}")
    return USES.index(use_of(licence)) <= USES.index(wanted)


def strictest(licences: Iterable[str]) -> str:
    """The use that all of them allow; without any, `unknown`."""
    return max((use_of(licence) for licence in licences), key=USES.index, default=UNKNOWN)
