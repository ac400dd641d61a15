"""Questions of perspectives III and IV before they meet an image: who can write them, and how they are kept on disk."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...errors import DataError, InputError
from ...files import write_text

TEXTS = ("clue", "question", "answer", "explanation", "writer")


@dataclass(frozen=True)
class Draft:
    """One question with its answer about entities that it does not name.

    Attributes:
        perspective: 3 (reasoning) or 4 (reasoning on a visual clue).
        entities: the answer, in its order; one or several.
        clue: "" for III, "point" or "box" for IV; several entities of IV have one box each.
        question: for IV, `<point>` or `<box>` stands once for each entity, in the order of `entities`.
        answer: names each entity as `<p> entity </p> <SEG>`, in the order of `entities`, and names no other.
        explanation: plain sentences from the knowledge entries; follows the answer.
        writer: who wrote it: "offline", or "llm:MODEL".
        aspects: which aspects of the entries were used, e.g. ("function", "anatomy").
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


def write_drafts(file: Path, drafts: Iterable[Draft]) -> None:
    """Write drafts; the same drafts give the same bytes.

    Raises:
        OutputError: the file cannot be written; what was there stays.
    """
    write_lines(file, (dataclasses.asdict(draft) for draft in drafts))


def read_drafts(file: Path) -> list[Draft]:
    """The drafts of a file; blank lines are skipped.

    Raises:
        InputError: the file cannot be read.
        DataError: a line is no draft; the error names it.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(file, str(error), "a file of drafts, one JSON object a line") from error
    return [_draft(file, number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _draft(file: Path, number: int, line: str) -> Draft:
    try:
        values = json.loads(line)
        lists = {field: values.get(field, []) for field in ("entities", "aspects")}
        if not all(isinstance(names, list) for names in lists.values()):
            raise TypeError("entities and aspects are lists")
        draft = Draft(**{**values, **{field: tuple(names) for field, names in lists.items()}})
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{file} line {number}", f"{type(error).__name__} ({error})", "a draft as JSON") from error
    if draft.perspective not in (3, 4):
        raise DataError(f"{file} line {number}", f"perspective {draft.perspective!r}", "3 or 4")
    if draft.clue not in (("",) if draft.perspective == 3 else ("point", "box")):
        raise DataError(f"{file} line {number}", f"clue {draft.clue!r}", "none for 3, point or box for 4")
    if not draft.entities or not all(isinstance(name, str) for name in (*draft.entities, *draft.aspects)):
        raise DataError(f"{file} line {number}", f"entities {list(draft.entities)}", "one name or several")
    if not all(isinstance(getattr(draft, field), str) for field in TEXTS):
        raise DataError(f"{file} line {number}", "a value that is not text", f"texts in {', '.join(TEXTS)}")
    return draft


def write_lines(file: Path, values: Iterable[Any]) -> None:
    """Write one JSON value a line, as an atomic file.

    Raises:
        OutputError: the file cannot be written; what was there stays.
    """
    write_text(file, "".join(json.dumps(value) + "\n" for value in values))
