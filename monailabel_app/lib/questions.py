"""The questions that stand for prompts, and answers made fit to be shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai_mimo.inference import Answer
from monai_mimo.inference.safeguards import Thresholds, guard
from monai_mimo.mimoseg.catalogue.vocabulary import standard_name

from .result import Reply, Segment


def about_prompts(points: Sequence[Any], boxes: Sequence[Any]) -> str:
    """What to ask where a user only marked something; prompts beyond the first are appended by the model's conversation."""
    if boxes:
        return "What does <box> hold?"
    return "What is at <point>?" if points else ""


def guarded(answer: Answer, question: str, thresholds: Thresholds, slice: int) -> Reply:
    """An answer about one slice, after the safeguards."""
    safe = guard(answer, question, thresholds)
    segments = [
        Segment(e.phrase, {slice: e.mask}, e.score, status, e.span)
        for e, status in zip(safe.answer.entities, safe.statuses)
    ]
    return Reply(
        safe.answer.text,
        segments,
        slice,
        list(safe.answer.warnings),
        safe.to_json()["withheld"],
        list(safe.notices),
    )


def named(phrase: str, name: str) -> bool:
    """Whether a phrase of an answer means `name`."""
    if phrase.casefold() == name.casefold():
        return True
    standard = standard_name(phrase)
    return standard is not None and standard == standard_name(name)
