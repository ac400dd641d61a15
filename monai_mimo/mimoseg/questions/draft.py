"""A question of perspective III or IV before it meets an image, and who can write one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Draft:
    """One question with its answer about entities that it does not name.

    Attributes:
        perspective: 3 (reasoning) or 4 (reasoning on a visual clue).
        entities: the answer, in its order; one or several.
        clue: "" for III, "point" or "box" for IV; several entities of IV have one box each.
        question: for IV, `<point>` or `<box>` stands once for each entity, in the order of `entities`.
        answer: names each entity as `<p> entity </p> <SEG>`, in the order of `entities`, and names no other.
        explanation: plain sentences from the knowledge records; follows the answer.
        writer: who wrote it: "offline", or "llm:MODEL".
        aspects: which aspects of the records were used, e.g. ("function", "anatomy").
    """

    perspective: int
    entities: tuple[str, ...]
    clue: str
    question: str
    answer: str
    explanation: str
    writer: str
    aspects: tuple[str, ...] = ()


class QuestionWriter(Protocol):
    """Writes drafts. The same arguments give the same drafts, in the same order."""

    name: str

    def write(self, entities: Sequence[str], perspective: int, clue: str, count: int, seed: int) -> list[Draft]:
        """Up to `count` distinct drafts about `entities`; fewer, or none, where the writer knows too little of them."""
        ...
