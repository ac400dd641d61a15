"""One case -> one shard of rows on disk. This is all that a worker process does, on this machine or on another."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa

from ..errors import DataError, MimoError, OutputError
from .case_rows import RowSettings, slice_rows
from .cases import Case
from .read_case import read_case
from .schema import FEATURES
from .temporary import temporary

SCHEMA = FEATURES.arrow_schema
DraftKey = tuple[tuple[str, ...], int, str]  # entities, perspective, clue


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
        drafts: which pools of questions of perspectives III and IV it drew from.
        failure: (where, found, expected), when it gave nothing because something is wrong.
    """

    rows: tuple[int, ...] = ()
    size: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    drafts: tuple[DraftKey, ...] = ()
    failure: tuple[str, str, str] | None = None

    @classmethod
    def from_json(cls, text: str) -> Receipt:
        """The inverse of `json.dumps(asdict(receipt))`."""
        values = json.loads(text)
        drafts = tuple((tuple(entities), perspective, clue) for entities, perspective, clue in values["drafts"])
        failure = values["failure"] and tuple(values["failure"])
        return cls(tuple(values["rows"]), values["size"], values["dropped"], drafts, failure)


def build_case(task: Task) -> Receipt:
    """Write the rows of a case, then its receipt, which says that the rows are complete.

    A fault of the case's own files ends up in the receipt, and no rows of the case stay.

    Raises:
        OutputError: the shard cannot be written.
    """
    rows: list[int] = []
    dropped: Counter[str] = Counter()
    drafts: set[DraftKey] = set()
    shard, receipt_file = task.shard.with_suffix(".arrow"), task.shard.with_suffix(".json")
    try:
        shard.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary(shard) as file:
                with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
                    for batch in image_batches(task, dropped, drafts):
                        writer.write_batch(batch)
                        rows.append(batch.num_rows)
                size = file.stat().st_size
            receipt = Receipt(tuple(rows), size, dict(sorted(dropped.items())), tuple(sorted(drafts)))
        except MimoError as error:
            receipt = Receipt(failure=(error.where, error.found, error.expected))
        with temporary(receipt_file) as file:
            file.write_text(json.dumps(asdict(receipt)))
    except OSError as error:
        raise OutputError(shard, f"{error.strerror or error}", "a place that can be written") from error
    return receipt


def image_batches(task: Task, dropped: Counter[str], drafts: set[DraftKey]) -> Iterator[pa.RecordBatch]:
    """The rows of each image of a case. Also counted: what is dropped, and which drafts were drawn from.

    Raises:
        MimoError: whatever is wrong with the case; one case must not end a build of many.
    """
    try:
        for shown in read_case(task.case, task.slices_per_volume):
            dropped["mask too small"] += len(task.case.labels) - len(shown.masks) - len(shown.absent)
            rows = list(slice_rows(task.case, shown, task.settings))
            if not rows:
                dropped["image without a question"] += 1
                continue
            for row in rows:
                if row["perspective"] in (3, 4):
                    clue = "box" if row["boxes"] else "point" if row["points"] else ""
                    drafts.add((tuple(e["phrase"] for e in row["entities"]), row["perspective"], clue))
            yield pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    except MimoError:
        raise
    except Exception as error:
        raise DataError(task.case.image, f"{type(error).__name__}: {error}", "a case that can be read") from error
