"""The files of a build: shards of finished cases, and the data set that is put together from them.

The shards are in `.OUT.partial` beside OUT, and kept until the set is complete."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ...errors import OutputError
from ...files import output_errors, remove_leftovers, write_json
from .case import CASE_RESULT, SCHEMA, CaseResult

PER_FOLDER = 1000  # shards
WRITABLE = "a place that can be written"


IMAGE = SCHEMA.get_field_index("image")
FILE_BYTES = 64_000_000  # of shards in one file of the store, which becomes larger as images are repeated
BATCH_ROWS, BATCH_BYTES = 1000, 16_000_000  # large batches open fast, and these still fit into memory


class PartialBuild:
    """One such folder.

    Attributes:
        new: where the data set is put together before it is renamed to OUT.
    """

    def __init__(self, out: Path) -> None:
        self.path = out.parent / f".{out.name}.partial"
        self.new = self.path / "new"
        self._plan = self.path / "plan.json"

    @contextmanager
    def opened(self, identity: dict[str, Any]) -> Iterator[None]:
        """Make the folder, or resume one of the same build; nobody else can while the block runs. When the block fails
        the folder stays if a case is finished, and an error of the output says so.

        Args:
            identity: what makes two builds the same; see `BuildPlan`.

        Raises:
            OutputError: the folder belongs to another build, or another process works on it; it cannot be written.
        """
        self.path.mkdir(exist_ok=True)
        with open(self.path / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OutputError(self.path, "another process that builds it", "one at a time") from error
            self._check(identity)
            try:
                remove_leftovers(self.path)
                if not self._plan.exists():
                    write_json(self._plan, identity)
                yield
            except BaseException as error:
                if not any((self.path / "cases").glob("*/*.arrow")):
                    self.remove()
                if isinstance(error, OSError):
                    error = OutputError(error.filename or self.path, error.strerror or str(error), WRITABLE)
                if isinstance(error, OutputError) and self.path.exists():
                    kept = (
                        f"{error.expected}; finished cases stay in {self.path} and the same command resumes from there"
                    )
                    error = OutputError(error.where, error.found, kept)
                raise error

    def _check(self, identity: dict[str, Any]) -> None:
        """Raises:
        OutputError: what is here belongs to another build."""
        if self._plan.exists():
            before = json.loads(self._plan.read_text())
            other = [key for key in {**identity, **before} if identity.get(key) != before.get(key)]
            if other:
                expected = "the same command to resume it, or this folder removed to start over"
                raise OutputError(self.path, f"an unfinished build with other {', '.join(other)}", expected)

    def shard(self, number: int) -> Path:
        """Of a case, without suffix."""
        return self.path / "cases" / f"{number // PER_FOLDER:04d}" / f"{number:07d}"

    def finished_cases(self, count: int) -> dict[int, CaseResult]:
        """Results of the cases that were built before; what failed is to be tried again."""
        results = {}
        for file in sorted((self.path / "cases").glob("*/*.json")):
            try:
                result = CASE_RESULT.validate_json(file.read_bytes())
                whole = file.with_suffix(".arrow").stat().st_size == result.size
            except (OSError, ValueError):  # torn by a power cut
                continue
            if whole and result.failure is None and int(file.stem) < count:
                results[int(file.stem)] = result
        return results

    def remove_cases(self) -> None:
        """Remove the finished cases."""
        shutil.rmtree(self.path / "cases", ignore_errors=True)

    def remove(self) -> None:
        """Remove the folder. The plan goes last: while it is there, what is left is known to be ours."""
        self.remove_cases()
        shutil.rmtree(self.new, ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)


class Piece(NamedTuple):
    """The rows of one case.

    Attributes:
        shard: without suffix.
        kept: the first so many rows of each of its images.
        cell: what the rows are counted by, beside their perspective.
    """

    shard: Path
    kept: tuple[int, ...]
    cell: tuple[str, ...]


@dataclass(frozen=True)
class StoreFile:
    """A file of the store, with the cases that it is made of, in order."""

    path: Path
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class WrittenFile:
    """How much a file holds: rows by (*cell, perspective), and bytes."""

    counts: Counter
    bytes: int


def store_files(folder: Path, pieces: Iterable[tuple[Piece, int]]) -> Iterator[StoreFile]:
    """Cut a split into files FOLDER/data-00000.arrow and so on, at least one; a case is in one file.

    Args:
        pieces: each with the bytes of its shard.
    """
    waiting: list[Piece] = []
    size = number = 0
    for piece, more in pieces:
        if waiting and size + more > FILE_BYTES:
            yield StoreFile(folder / f"data-{number:05d}.arrow", tuple(waiting))
            waiting, size, number = [], 0, number + 1
        waiting.append(piece)
        size += more
    yield StoreFile(folder / f"data-{number:05d}.arrow", tuple(waiting))


def write_file(file: StoreFile) -> WrittenFile:
    """Write one file; processes can write several at once.

    Raises:
        OutputError: it cannot be written.
    """
    counts: Counter = Counter()
    with output_errors(file.path):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        writer = RowWriter(file.path)
        for piece in file.pieces:
            for batch in read_shard(piece.shard, piece.kept):
                numbers = np.bincount(batch.column("perspective").to_numpy())
                counts.update({(*piece.cell, perspective): int(n) for perspective, n in enumerate(numbers) if n})
                writer.add(batch)
        writer.close()
    return WrittenFile(counts, writer.bytes)


class RowWriter:
    """Writes rows in the order in which they come, in batches that are large but bounded."""

    def __init__(self, path: Path) -> None:
        self.bytes = 0
        self._stream = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_stream(self._stream, SCHEMA)
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._waiting_bytes = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Append the rows of one image; the image is that of the first row."""
        size = batch.nbytes + (batch.num_rows - 1) * batch.column(IMAGE).slice(0, 1).nbytes
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        self._waiting_bytes += size
        self.bytes += size
        if self._waiting_rows >= BATCH_ROWS or self._waiting_bytes >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting).combine_chunks()
            lengths = [batch.num_rows for batch in self._waiting]
            firsts = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)
            images = table.column(IMAGE).combine_chunks().take(pa.array(firsts))
            for batch in table.set_column(IMAGE, SCHEMA.field(IMAGE), images).to_batches():
                self._writer.write_batch(batch)
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0

    def close(self) -> None:
        """Write what waits and end the file."""
        self._flush()
        self._writer.close()
        self._stream.close()


def read_shard(shard: Path, kept: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """The first `kept` rows of each image of a case.

    Args:
        shard: without suffix.
    """
    if not kept:
        return
    with pa.OSFile(str(shard.with_suffix(".arrow")), "rb") as file, pa.ipc.open_stream(file) as reader:
        for count, batch in zip(kept, reader):
            yield batch.slice(0, count)
