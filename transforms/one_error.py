"""One clear error for whatever the libraries raise for a damaged file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError, MimoError


@contextmanager
def one_error(path: Path, expected: str) -> Iterator[None]:
    """Turn every exception into an `InputError` about the file at `path`, except those that say already what is wrong."""
    try:
        yield
    except MimoError:
        raise
    except PermissionError as error:
        raise InputError(path, "a path that may not be read", "permission to read it") from error
    except Exception as error:  # each library has faults of its own, some of them a page long
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(path, f"a file that cannot be read ({reason})", expected) from error
