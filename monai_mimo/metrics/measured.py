"""Questions that are answered from masks (perspective V): accuracy of each kind, beside always saying one thing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ..mimoseg.questions.templates import KINDS, is_right, parse_value


class MeasuredAnswer(NamedTuple):
    """The kind of a question, the right value, and the value of the answer: none where it gives none, or more than one."""

    kind: str
    expected: str
    said: str | None

    @property
    def right(self) -> bool:
        """The same value, or a size close to it."""
        return is_right(self.kind, self.said, self.expected)


def measured_answer(kind: str, expected: str, answer: str) -> MeasuredAnswer:
    """With the value of an answer, plain or with tags, as the grammar of the templates reads it."""
    return MeasuredAnswer(kind, expected, parse_value(kind, answer))


def most_frequent(kind: str, expected: Iterable[str]) -> tuple[str, float]:
    """The value that is right most often when it is always said, and how often that is. For sizes, those close to it count."""
    values = list(expected)
    score = {value: sum(is_right(kind, value, other) for other in values) for value in sorted(set(values))}
    best = max(score, key=score.__getitem__)
    return best, score[best] / len(values)


def measured_accuracy(answers: Iterable[MeasuredAnswer]) -> dict[str, dict[str, Any]]:
    """Each kind that was asked, in the order of `KINDS`, then "all":

    - samples; accuracy: of the answers; unread: answers that give no value, or several, and count as wrong;
    - majority: accuracy of always saying `majority_answer`, the best value of the kind for these very questions; of "all",
      each kind with its own.
    """
    by_kind: dict[str, list[MeasuredAnswer]] = {}
    for answer in answers:
        by_kind.setdefault(answer.kind, []).append(answer)
    out: dict[str, dict[str, Any]] = {}
    for kind in (kind for kind in KINDS if kind in by_kind):
        group = by_kind[kind]
        value, share = most_frequent(kind, (a.expected for a in group))
        out[kind] = {**_counted(group), "majority": share, "majority_answer": value}
    if out:
        everything = [answer for group in by_kind.values() for answer in group]
        share = sum(cell["majority"] * cell["samples"] for cell in out.values()) / len(everything)
        out["all"] = {**_counted(everything), "majority": share, "majority_answer": ""}
    return out


def _counted(answers: list[MeasuredAnswer]) -> dict[str, Any]:
    return {
        "samples": len(answers),
        "accuracy": sum(a.right for a in answers) / len(answers),
        "unread": sum(a.said is None for a in answers),
    }
