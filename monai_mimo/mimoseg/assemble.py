"""From shards of cases to the store: Arrow files of bounded size for each split, written as a stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from .build_case import SCHEMA

FILE_BYTES = 500_000_000
BATCH_ROWS, BATCH_BYTES = 1000, 16_000_000  # large batches open fast, and these still fit into memory


class SplitWriter:
    """Writes FOLDER/data-00000.arrow and so on: record batches in the order in which they come. A file is closed only between
    cases, so that the rows of a case are together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = self.bytes = self._files = 0
        folder.mkdir(parents=True)
        self._open()

    def _open(self) -> None:
        self._stream = pa.OSFile(str(self.folder / f"data-{self._files:05d}.arrow"), "wb")
        self._writer = pa.ipc.new_stream(self._stream, SCHEMA)
        self._files += 1
        self._file_bytes = 0
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._waiting_bytes = 0

    def add_case(self, batches: Iterator[pa.RecordBatch]) -> None:
        """Append the rows of one case."""
        if self._file_bytes >= FILE_BYTES:
            self.close()
            self._open()
        for batch in batches:
            self._waiting.append(batch)
            self._waiting_rows += batch.num_rows
            self._waiting_bytes += batch.nbytes
            self.rows += batch.num_rows
            self.bytes += batch.nbytes
            self._file_bytes += batch.nbytes
            if self._waiting_rows >= BATCH_ROWS or self._waiting_bytes >= BATCH_BYTES:
                self._flush()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting).combine_chunks()
            for batch in table.to_batches():
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


def count_perspectives(batch: pa.RecordBatch, counts: Counter, *cell: str) -> pa.RecordBatch:
    """Add the rows of a batch to counts[*cell, perspective], and return it."""
    numbers = np.bincount(batch.column("perspective").to_numpy())
    counts.update({(*cell, perspective): int(n) for perspective, n in enumerate(numbers) if n})
    return batch
