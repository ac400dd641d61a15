"""Asked for what is not there, does a model keep from showing it, and does it still show what is there?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from .matching import normalise_phrase


class NamingQuestion(NamedTuple):
    """A question of perspective I: the named entities that are not there, those that are, and what the answer grounds (none:
    it could not be answered)."""

    absent: list[str]
    expected: list[str]
    answered: list[str] | None


def absent_entities(questions: Iterable[NamingQuestion]) -> dict[str, Any]:
    """The absent-entity test.

    Returns:
        entities: absent ones that were asked for, and refused: the fraction of them that the answer does not ground;
        questions: those about something that is there, and found: the fraction of them that ground some of it;
        balanced: the mean of both fractions. A model that refuses all, or nothing, has 0.5.
    """
    entities = refused = present = found = 0
    for question in questions:
        answered = {normalise_phrase(phrase) for phrase in question.answered or ()}
        absent = [normalise_phrase(phrase) for phrase in question.absent]
        entities += len(absent)
        if question.answered is not None:
            refused += sum(phrase not in answered for phrase in absent)
        if question.expected:
            present += 1
            found += bool(answered & {normalise_phrase(phrase) for phrase in question.expected})
    shares = [part / whole if whole else float("nan") for part, whole in ((refused, entities), (found, present))]
    return {
        "entities": entities,
        "refused": shares[0],
        "questions": present,
        "found": shares[1],
        "balanced": sum(shares) / 2,
    }
