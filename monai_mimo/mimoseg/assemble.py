"""From shards of cases to the store: Arrow files for each split, each written as a stream by one process. A shard holds each
image once, the store with each of its rows, so that any row can be read alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..files import output_errors
from .build_case import SCHEMA

IMAGE = SCHEMA.get_field_index("image")
FILE_BYTES = 64_000_000  # of shards in one file of the store, which becomes larger as images are repeated
BATCH_ROWS, BATCH_BYTES = 1000, 16_000_000  # large batches open fast, and these still fit into memory


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
class Written:
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


def write_file(file: StoreFile) -> Written:
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
    return Written(counts, writer.bytes)


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
