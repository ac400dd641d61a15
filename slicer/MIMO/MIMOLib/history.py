"""Undo and redo over whole states, as they were."""

from __future__ import annotations

from dataclasses import dataclass

from .answer import Answer
from .masks import Segment
from .prompts import Marks

NONE = Marks()
MOST = 50  # steps that are kept


@dataclass(frozen=True)
class State:
    """All that a step can change.

    Attributes:
        answers: (question, answer) of which masks were accepted, for a report.
    """

    marks: Marks = NONE
    answer: Answer | None = None
    accepted: tuple[Segment, ...] = ()
    answers: tuple[tuple[str, str], ...] = ()


class History:
    """States before and after the current one. The current one is kept by who shows it."""

    def __init__(self) -> None:
        self._before: list[State] = []
        self._after: list[State] = []

    @property
    def can_undo(self) -> bool:
        return bool(self._before)

    @property
    def can_redo(self) -> bool:
        return bool(self._after)

    def step(self, before: State) -> None:
        """Remember the state that a step is about to change; what was undone is gone."""
        self._before = [*self._before, before][-MOST:]
        self._after = []

    def undo(self, current: State) -> State:
        """The state before the last step; `current` itself where there was none."""
        if not self._before:
            return current
        self._after.append(current)
        return self._before.pop()

    def redo(self, current: State) -> State:
        """The state after the step that was undone last; `current` itself where there is none."""
        if not self._after:
            return current
        self._before.append(current)
        return self._after.pop()

    def clear(self) -> None:
        """Forget all, as when another volume is chosen."""
        self._before, self._after = [], []
