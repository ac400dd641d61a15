"""Atomic files and folders, and digests: nothing else in the package writes to a temporary name and renames.

What is written here is there complete or not at all: it is made in a hidden folder `.tmp-*` beside its place, and takes its
name by a rename on the same file system. A process that is killed leaves at most such a folder (`remove_leftovers`).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import OutputError

LEFTOVER = ".tmp-"  # begins the name of each temporary folder
BLOCK = 1 << 20  # bytes that are hashed at a time


@contextmanager
def atomic_file(path: str | Path, sync: bool = False) -> Iterator[Path]:
    """Replace a file in one step.

    Args:
        path: in an existing folder.
        sync: have the contents on the disk before the rename, so that a power cut leaves the old file or the new one.

    Yields:
        a path with the name of the file, in a temporary folder, where the block writes it. When the block ends well the file
        takes its place, with the permissions of any new file; otherwise it is removed, and what was at `path` stays.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    with _folder_beside(path) as folder:
        new = folder / path.name
        yield new
        new.chmod(folder.stat().st_mode & 0o666)  # some libraries make files that only their owner can read
        if sync:
            _sync(new)
        os.replace(new, path)
        if sync:
            _sync(path.parent)


@contextmanager
def atomic_folder(path: str | Path, replace: bool = False) -> Iterator[Path]:
    """Make a folder, with all that is in it, in one step.

    Args:
        path: its parents are made where they are missing.
        replace: put it in the place of a folder that is there. Otherwise only an empty one may be.

    Yields:
        an empty folder of the same name. When the block ends well it takes its place; otherwise it is removed.

    Raises:
        OSError: the folder cannot be written, or one that is not to be replaced is there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _folder_beside(path) as folder:
        new, old = folder / path.name, folder / "old" / path.name
        new.mkdir()
        yield new
        if not (replace and path.exists()):
            os.rename(new, path)
            return
        old.parent.mkdir()
        os.rename(path, old)
        try:
            os.rename(new, path)
        except BaseException:
            os.rename(old, path)
            raise


@contextmanager
def output_errors(path: str | Path, expected: str = "a place that can be written") -> Iterator[None]:
    """Raise an `OSError` of the block as an `OutputError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise OutputError(path, error.strerror or str(error), expected) from error


def write_text(path: str | Path, text: str) -> None:
    """Write an `atomic_file` in UTF-8, with line ends as they are; folders that are missing are made.

    Raises:
        OutputError: it cannot be written.
    """
    with output_errors(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any, indent: int = 1) -> None:
    """`write_text` of a value as JSON.

    Raises:
        OutputError: it cannot be written. TypeError: JSON has no such value.
    """
    write_text(path, json.dumps(value, indent=indent) + "\n")


def copy_file(source: str | Path, target: str | Path) -> None:
    """Copy the contents of a file to an `atomic_file`, on the disk when this returns.

    Raises:
        OSError: it cannot be read or written.
    """
    with atomic_file(target, sync=True) as file:
        shutil.copyfile(source, file)


def remove_leftovers(folder: str | Path) -> None:
    """Remove what processes that were killed while they wrote have left in a folder or below. Nobody may be writing there."""
    for left in list(Path(folder).rglob(f"{LEFTOVER}*")):
        shutil.rmtree(left, ignore_errors=True)


def digest(*parts: str | bytes | Any) -> str:
    """The SHA-256 of texts (as UTF-8) and buffers, one after another, in hex."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(part.encode() if isinstance(part, str) else part)
    return hashed.hexdigest()


def file_digest(*paths: str | Path, algorithm: Callable[[], Any] = hashlib.sha256) -> str:
    """A hash, in hex, of the contents of files, one after another.

    Raises:
        OSError: one cannot be read.
    """
    hashed = algorithm()
    for block in _blocks(paths):
        hashed.update(block)
    return hashed.hexdigest()


def _blocks(paths: Iterable[str | Path]) -> Iterator[bytes]:
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                yield block


@contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    """A new folder in that of `path`, with the permissions of any new folder, which `tempfile` does not give."""
    folder = path.parent / f"{LEFTOVER}{secrets.token_hex(6)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
