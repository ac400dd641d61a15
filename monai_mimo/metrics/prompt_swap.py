"""Does the answer follow the prompt? The same image, asked with a prompt on one structure and then on another."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations
from typing import NamedTuple


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
