"""What several commands need."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, OutputError

NOTICE = "Research use only; not for diagnosis."


def numbers(option: str, text: str, counts: tuple[int, ...]) -> tuple[float, ...]:
    """ "1,2,3" -> (1.0, 2.0, 3.0).

    Raises:
        InputError: these are not as many finite numbers as one of `counts`.
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in counts or not all(abs(v) < 1e9 for v in values):
        expected = " or ".join(str(count) for count in counts)
        raise InputError(option, repr(text), f"{expected} numbers with commas between")
    return values


def check_output(path: Path, force: bool) -> None:
    """Refuse before the work starts what could not be written after it.

    Raises:
        OutputError: the file exists (and is not to be replaced), or its folder does not.
    """
    if path.exists() and not force:
        raise OutputError(path, "an existing file", "a new name, or --force")
    if not path.parent.is_dir():
        raise OutputError(path, f"no folder {path.parent}", "an existing folder")
