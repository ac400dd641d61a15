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


def moved_prompt_accuracy(answers: Iterable[PromptedAnswer]) -> tuple[float, int]:
    """Over ordered pairs of questions about one image that point at different structures: how often moving the prompt
    from the first to the second changes the answer to the second's name, with the right mask.

    Returns:
        the fraction (nan without pairs) and the number of pairs.
    """
    by_image: dict[str, list[PromptedAnswer]] = {}
    for answer in answers:
        by_image.setdefault(answer.image_id, []).append(answer)
    followed = [
        second.answered == second.expected and second.mask_right and first.answered != second.answered
        for group in by_image.values()
        for first, second in permutations(group, 2)
        if first.expected != second.expected
    ]
    return (sum(followed) / len(followed) if followed else float("nan")), len(followed)
