"""The folder in which a build is made, `.OUT.partial` beside OUT: shards of finished cases, kept until the set is complete."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import remove_leftovers, write_json
from .build_case import RECEIPT, Receipt

PER_FOLDER = 1000  # shards
WRITABLE = "a place that can be written"


class Partial:
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
        """Make the folder, or go on with one of the same build; nobody else can while the block runs. When the block fails
        the folder stays if a case is finished, and an error of the output says so.

        Args:
            identity: what makes two builds the same; see `Plan`.

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
                        f"{error.expected}; finished cases stay in {self.path} and the same command goes on from there"
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
                expected = "the same command to go on with it, or this folder removed to begin anew"
                raise OutputError(self.path, f"an unfinished build with other {', '.join(other)}", expected)

    def shard(self, number: int) -> Path:
        """Of a case, without suffix."""
        return self.path / "cases" / f"{number // PER_FOLDER:04d}" / f"{number:07d}"

    def finished(self, count: int) -> dict[int, Receipt]:
        """Receipts of the cases that were built before; what failed is to be tried again."""
        receipts = {}
        for file in sorted((self.path / "cases").glob("*/*.json")):
            try:
                receipt = RECEIPT.validate_json(file.read_bytes())
                whole = file.with_suffix(".arrow").stat().st_size == receipt.size
            except (OSError, ValueError):  # torn by a power cut
                continue
            if whole and receipt.failure is None and int(file.stem) < count:
                receipts[int(file.stem)] = receipt
        return receipts

    def forget(self) -> None:
        """Remove the finished cases."""
        shutil.rmtree(self.path / "cases", ignore_errors=True)

    def remove(self) -> None:
        """Remove the folder. The plan goes last: while it is there, what is left is known to be ours."""
        self.forget()
        shutil.rmtree(self.new, ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)
