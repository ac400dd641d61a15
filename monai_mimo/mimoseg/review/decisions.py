"""Decisions about rows: lines of JSON in DIR/review, one file for each reviewer, that are only ever added to.

Of several decisions about a row the last one counts, whoever made it. A decision holds the texts that it was made about, so
that it says nothing of a row whose texts are others since the set was built anew.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ...errors import DataError, InputError, OutputError
from ...files import atomic_file, output_errors

FOLDER = "review"
TEXTS = ("question", "answer")
Choice = Literal["keep", "drop", "edit"]


@dataclass(frozen=True)
class Decision:
    """What one person decided about one row.

    Attributes:
        id: of the row.
        question, answer: as they stand after the decision.
        built_question, built_answer: as they were built.
        time: in UTC, ISO 8601.
    """

    id: str
    split: str
    decision: Choice
    question: str
    answer: str
    built_question: str
    built_answer: str
    reviewer: str
    time: str


FIELDS = tuple(field.name for field in fields(Decision))


def now() -> str:
    """The time as a decision records it."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def log_file(folder: str | Path, reviewer: str) -> Path:
    """Where the decisions of one reviewer are.

    Raises:
        InputError: the name holds anything but letters, digits, spaces and . _ @ -
    """
    if not re.fullmatch(r"[\w@-][\w .@-]{0,63}", reviewer):
        raise InputError("--reviewer", repr(reviewer), "a name of letters, digits, spaces and . _ @ -")
    return Path(folder) / FOLDER / f"{reviewer}.jsonl"


def append(folder: str | Path, decision: Decision) -> None:
    """Add a decision; when this returns it is on the disk.

    Raises:
        OutputError: it cannot be written.
    """
    path = log_file(folder, decision.reviewer)
    line = json.dumps(asdict(decision), ensure_ascii=False).encode() + b"\n"
    with output_errors(path):
        path.parent.mkdir(exist_ok=True)
        with open(path, "ab+", buffering=0) as file:
            file.seek(0)
            written = file.read()
            if not written.endswith(b"\n"):  # a crash cut the last line off, before anybody relied on it
                file.truncate(written.rfind(b"\n") + 1)
            file.write(line)
            os.fsync(file.fileno())


def read_decisions(folder: str | Path) -> dict[str, Decision]:
    """The last decision about each row, by its id. A line that a crash cut off is passed over.

    Raises:
        DataError: a whole line is no decision.
    """
    decisions: list[Decision] = []
    for path in sorted((Path(folder) / FOLDER).glob("*.jsonl")):
        lines = path.read_bytes().split(b"\n")[:-1]
        for number, line in enumerate(lines, start=1):
            try:
                decisions.append(Decision(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise DataError(f"{path}:{number}", str(error), "a line that `mimo review` wrote") from error
    return {d.id: d for d in sorted(decisions, key=lambda d: d.time)}


def apply_decisions(rows: Dataset, folder: str | Path) -> Dataset:
    """The rows of a split without those that were dropped, and with the texts of those that were edited.

    Args:
        rows: of the built set in `folder`, still memory-mapped afterwards.
    """
    if not (Path(folder) / FOLDER).is_dir():
        return rows
    decisions = read_decisions(folder)
    table = rows.select_columns(["id", *TEXTS]).with_format("arrow")[:]
    known = pa.array(list(decisions), pa.string())
    places = np.flatnonzero(pc.is_in(table["id"], value_set=known).to_numpy())
    dropped, edited = [], {}
    for place, row in zip(places.tolist(), table.take(places).to_pylist()):
        decision = decisions[row["id"]]
        if not is_about(decision, row):
            continue
        if decision.decision == "drop":
            dropped.append(place)
        elif any(row[text] != getattr(decision, text) for text in TEXTS):
            edited[place] = decision
    if edited:
        names = rows.column_names
        for text in TEXTS:
            column = _replaced(table[text], {place: getattr(d, text) for place, d in edited.items()})
            feature = rows.features[text]
            rows = rows.remove_columns(text).add_column(text, column, feature=feature)  # type: ignore[arg-type]
        rows = rows.select_columns(names)
    if dropped:
        rows = rows.select(np.setdiff1d(np.arange(len(rows)), dropped))
    return rows


def is_about(decision: Decision, row: dict[str, str]) -> bool:
    """Whether the row still has the texts that the decision was made about."""
    return (decision.built_question, decision.built_answer) == (row["question"], row["answer"])


def _replaced(column: pa.ChunkedArray, values: dict[int, str]) -> pa.ChunkedArray:
    mask = np.zeros(len(column), dtype=bool)
    mask[list(values)] = True
    texts = pa.array([values[place] for place in sorted(values)], column.type)
    return pc.replace_with_mask(column, pa.array(mask), texts)


def export_decisions(decisions: Iterable[Decision], path: Path) -> None:
    """Write decisions as .csv or .json, an atomic file.

    Raises:
        InputError: the name ends otherwise. OutputError: it exists or cannot be written.
    """
    if path.suffix not in (".csv", ".json"):
        raise InputError("--export", path.name, "a name that ends with .csv or .json")
    if path.exists():
        raise OutputError(path, "an existing file", "a new name")
    ordered = sorted(decisions, key=lambda d: (d.split, d.id))
    with (
        output_errors(path),
        atomic_file(path) as new,
        open(new, "w", newline="", encoding="utf-8") as file,
    ):
        if path.suffix == ".json":
            json.dump([asdict(d) for d in ordered], file, indent=2, ensure_ascii=False)
        else:
            writer = csv.writer(file)
            writer.writerow(FIELDS)
            writer.writerows(astuple(d) for d in ordered)
