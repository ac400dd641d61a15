"""Does an answer follow its question? Names that were asked for but are not there, and prompts that were exchanged."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations
from typing import Any, NamedTuple

from .matching import normalise_phrase


class PromptedAnswer(NamedTuple):
    """One question of perspective II with one prompt: which image, what it points at, what was answered, and whether
    the answered mask overlaps the right one with IoU > 0.5."""

    image_id: str
    expected: str
    answered: str
    mask_right: bool


class PromptSwap(NamedTuple):
    """Over ordered pairs of questions about one image that point at different structures: in which fraction moving the prompt
    from the first to the second changes the answer to the second's name, with the right mask (`accuracy`); in which it
    changes the answer at all (`changed`); and how many `pairs`. Fractions are nan without pairs."""

    accuracy: float
    changed: float
    pairs: int


def prompt_swap_accuracy(answers: Iterable[PromptedAnswer]) -> PromptSwap:
    """The prompt-swap test over all pairs within each image."""
    by_image: dict[str, list[PromptedAnswer]] = {}
    for answer in answers:
        by_image.setdefault(answer.image_id, []).append(answer)
    pairs = [
        (first, second)
        for group in by_image.values()
        for first, second in permutations(group, 2)
        if first.expected != second.expected
    ]
    if not pairs:
        return PromptSwap(float("nan"), float("nan"), 0)
    changed = [first.answered != second.answered for first, second in pairs]
    right = [second.answered == second.expected and second.mask_right for _, second in pairs]
    return PromptSwap(sum(a and b for a, b in zip(changed, right)) / len(pairs), sum(changed) / len(pairs), len(pairs))


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
