"""Drafts on disk: one draft as JSON on each line of a UTF-8 file, in order."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import DataError, InputError
from ...files import write_text
from .draft import Draft

TEXTS = ("clue", "question", "answer", "explanation", "writer")


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
        raise DataError(f"{file} line {number}", "a value that is no text", f"texts in {', '.join(TEXTS)}")
    return draft


def write_lines(file: Path, records: Iterable[Any]) -> None:
    """Write one JSON value a line, as an atomic file.

    Raises:
        OutputError: the file cannot be written; what was there stays.
    """
    write_text(file, "".join(json.dumps(record) + "\n" for record in records))
