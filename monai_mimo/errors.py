"""The exceptions that bad input raises. Each message is one line: what was read, what was found, what was expected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class MimoError(Exception):
    """Base of all errors that a user can mend; the command line prints it as one line and exits with code 2."""

    def __init__(self, where: str | Path, found: str, expected: str) -> None:
        self.where, self.found, self.expected = str(where), found, expected
        super().__init__(" ".join(f"{where}: found {found}; expected {expected}".split()))

    def __reduce__(self) -> tuple:
        """So that it comes back whole from another process."""
        return type(self), (self.where, self.found, self.expected)


class InputError(MimoError):
    """An image, prompt, question or option that cannot be used."""


class SeveralError(InputError):
    """A file or folder that holds several images, of which none was chosen.

    Attributes:
        argument: what takes one, by its number: "series" or "channel".
        choices: what there is, in the order of their numbers.
    """

    def __init__(self, where: str | Path, found: str, expected: str, argument: str, choices: Sequence[str]) -> None:
        super().__init__(where, found, expected)
        self.argument, self.choices = argument, tuple(choices)

    def __reduce__(self) -> tuple:
        return type(self), (self.where, self.found, self.expected, self.argument, self.choices)


class DataError(MimoError):
    """A source set or built data set whose parts do not fit together."""


class WeightsError(MimoError):
    """A weights folder that is missing, damaged or belongs to another model."""


class OutputError(MimoError):
    """An output that exists already or cannot be written."""


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
