"""One case -> one shard of rows on disk. This is all that a worker process does, on this machine or on another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from ..errors import DataError, MimoError
from ..files import atomic_file, output_errors
from .case_rows import slice_rows
from .cases import Case
from .questions.settings import RowSettings
from .read_case import ShownSlice, read_case
from .schema import FEATURES
from .vqa import read_picture, vqa_rows

SCHEMA = FEATURES.arrow_schema
DraftKey = tuple[tuple[str, ...], int, str]  # entities, perspective, clue
NOTES = 5  # of a case


@dataclass(frozen=True)
class Task:
    """What a worker is told. `number` is the place of the case in the plan; SHARD.arrow and SHARD.json are written."""

    number: int
    case: Case
    settings: RowSettings
    slices_per_volume: int
    shard: Path


@dataclass(frozen=True)
class Receipt:
    """What became of a case.

    Attributes:
        rows: of each image that gave any, in the order of the shard, where each image is a record batch.
        size: bytes of the shard.
        dropped: reason -> how many.
        notes: what was odd, the first few of it; `noted` is how much there was.
        drafts: which pools of questions of perspectives III and IV it drew from.
        failure: (where, found, expected), when it gave nothing because something is wrong.
    """

    rows: tuple[int, ...] = ()
    size: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    noted: int = 0
    drafts: tuple[DraftKey, ...] = ()
    failure: tuple[str, str, str] | None = None


RECEIPT = TypeAdapter(Receipt)  # to and from JSON


def build_case(task: Task) -> Receipt:
    """Write the rows of a case, then its receipt, which says that the rows are complete.

    A fault of the case's own files ends up in the receipt, and no rows of the case stay.

    Raises:
        OutputError: the shard cannot be written.
    """
    tally = Tally()
    shard, receipt_file = task.shard.with_suffix(".arrow"), task.shard.with_suffix(".json")
    with output_errors(shard):
        shard.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_file(shard) as file:
                with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
                    for batch in image_batches(task, tally):
                        writer.write_batch(batch)
                receipt = tally.receipt(file.stat().st_size)
        except MimoError as error:
            receipt = Receipt(failure=(error.where, error.found, error.expected))
        with atomic_file(receipt_file) as file:
            file.write_bytes(RECEIPT.dump_json(receipt))
    return receipt


@dataclass
class Tally:
    """What is counted while a case is read; see `Receipt`."""

    rows: list[int] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    drafts: set[DraftKey] = field(default_factory=set)

    def count(self, shown: ShownSlice, labels: int, rows: list[dict[str, Any]]) -> None:
        """Add a slice of a case with so many labels, and the rows that it gave."""
        self.notes += shown.notes
        self.dropped.update(shown.passed)
        self.dropped["mask too small"] += labels - len(shown.masks) - len(shown.absent)
        if rows:
            self.rows.append(len(rows))
        else:
            self.dropped["image without a question"] += 1
        for row in rows:
            if row["perspective"] in (3, 4):
                clue = "box" if row["boxes"] else "point" if row["points"] else ""
                self.drafts.add((tuple(e["phrase"] for e in row["entities"]), row["perspective"], clue))

    def receipt(self, size: int) -> Receipt:
        """Of a case whose shard has `size` bytes."""
        dropped = {reason: n for reason, n in sorted(self.dropped.items()) if n}
        notes = tuple(self.notes[:NOTES])
        return Receipt(tuple(self.rows), size, dropped, notes, len(self.notes), tuple(sorted(self.drafts)))


def image_batches(task: Task, tally: Tally) -> Iterator[pa.RecordBatch]:
    """The rows of each image of a case; the first of them has the image.

    Raises:
        MimoError: whatever is wrong with the case; one case must not end a build of many.
    """
    try:
        for shown, rows in shown_rows(task):
            tally.count(shown, len(task.case.labels), rows)
            for row in rows[1:]:
                row["image"] = None  # all have the same; see `assemble`
            if rows:
                yield pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    except MimoError:
        raise
    except Exception as error:
        raise DataError(task.case.image, f"{type(error).__name__}: {error}", "a case that can be read") from error


def shown_rows(task: Task) -> Iterator[tuple[ShownSlice, list[dict[str, Any]]]]:
    """Each image of a case with its rows: what was published about it, or what is asked about its masks."""
    case = task.case
    if case.pairs:
        shown = read_picture(case)
        yield shown, list(vqa_rows(case, shown))
        return
    for shown in read_case(case, task.slices_per_volume):
        yield shown, list(slice_rows(case, shown, task.settings))
