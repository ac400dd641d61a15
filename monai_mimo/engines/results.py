"""The records of an evaluation while it runs: kept on disk as they come, so that one which is ended goes on from there."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any, TextIO

import ignite.distributed as idist
from datasets import Dataset as Rows

from .. import __version__
from ..files import digest, output_errors
from ..metrics.gather import gather
from .records import Record

logger = logging.getLogger(__name__)
PARTIAL = ".partial"


class Results:
    """Records of answered questions. Every process of a run makes one, with the same arguments.

    Args:
        output_dir: they are kept in OUTPUT_DIR/.partial until `finish`.
        identity: what makes two evaluations the same; what is left of another one is discarded.

    Attributes:
        done: rows that an earlier run has answered, the same set in all processes.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, output_dir: str | Path, identity: dict[str, Any]) -> None:
        self.folder = Path(output_dir) / PARTIAL
        self.identity = {"version": __version__, **identity}
        self.records: dict[int, Record] = {}
        self._file: TextIO | None = None
        if self.folder.is_dir():
            for file in sorted(self.folder.glob("*.jsonl")):
                self.records.update(self._read(file))
        # No process writes before all have read.
        self.done = set(gather(list(self.records)))
        if self.done:
            logger.info("going on after %d questions that were answered before", len(self.done))

    def _read(self, file: Path) -> dict[int, Record]:
        """The records of a file; none of another evaluation, and not a last line that was cut off."""
        records = {}
        with open(file, encoding="utf-8") as lines:
            try:
                if json.loads(next(lines, "null")) != json.loads(json.dumps(self.identity)):
                    return {}
                for line in lines:
                    record = json.loads(line)
                    records[record["row"]] = record
            except ValueError:
                logger.info("%s ends in the middle of a record, which is asked again", file)
        return records

    def add(self, records: list[Record]) -> None:
        """Keep the records of one batch."""
        with output_errors(self.folder):
            if self._file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                # A file of this process begins anew, with what was read from it, so that no half line is left in its middle.
                self._file = open(self.folder / f"{idist.get_rank()}.jsonl", "w", encoding="utf-8")  # noqa: SIM115
                self._write([self.identity, *self.records.values()])
            self.records.update({record["row"]: record for record in records})
            self._write(records)

    def _write(self, values: list[dict[str, Any]]) -> None:
        assert self._file is not None
        self._file.writelines(json.dumps(value) + "\n" for value in values)
        self._file.flush()

    def all(self) -> list[Record]:
        """The records of all processes in the order of their rows. Every process must call it."""
        records = {record["row"]: record for record in gather(list(self.records.values()))}
        return [records[row] for row in sorted(records)]

    def finish(self) -> None:
        """Remove what was kept; the results have been written."""
        if self._file is not None:
            self._file.close()
            self._file = None
        idist.barrier()
        if idist.get_rank() == 0:
            shutil.rmtree(self.folder, ignore_errors=True)


def rows_identity(rows: Rows) -> str:
    """A hash of which questions these are, in which order."""
    return digest(*("\n".join(rows[column]) for column in ("id", "question", "answer")))[:16]
