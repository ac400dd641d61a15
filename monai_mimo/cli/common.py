"""What several commands need."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import NOTICE
from ..errors import InputError, OutputError

WEIGHTS = "a weights folder; lite or lite-permissive, which come along; or OWNER/NAME on the Hugging Face Hub"

__all__ = ["NOTICE", "add_thresholds", "check_output", "collector_off", "parse_numbers"]


@contextmanager
def collector_off() -> Iterator[None]:
    """Importing makes a million objects that stay to the end, and a tenth of the start would be looking through them."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def parse_numbers(option: str, text: str, counts: tuple[int, ...]) -> tuple[float, ...]:
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


def add_weights(parser: argparse.ArgumentParser) -> None:
    """The option that names weights other than the default ones."""
    parser.add_argument("--weights", metavar="DIR", help=f"{WEIGHTS} (default: those chosen by `mimo use`, else lite)")


def add_bases(parser: argparse.ArgumentParser) -> None:
    """The options that say where the frozen models are now that weights were trained on."""
    for option, what in (
        ("llm", "language model"),
        ("image-encoder", "image encoder"),
        ("seg-encoder", "SAM checkpoint"),
    ):
        help_text = f"the {what} that DIR was trained on, if it is not where it was then"
        parser.add_argument(f"--{option}", metavar="PATH", type=Path, help=help_text)


def given_bases(options: argparse.Namespace) -> dict[str, Path | None]:
    """What was given for `add_bases`, as `Mimo.from_pretrained` takes it."""
    return {"llm": options.llm, "image_encoder": options.image_encoder, "seg_encoder": options.seg_encoder}


def add_thresholds(parser: argparse.ArgumentParser) -> None:
    """The options of `inference.safeguards.Thresholds`, with its defaults; it is not imported, since --help answers at once."""
    parser.add_argument(
        "--uncertain", type=float, default=0.5, metavar="S", help="mark phrases that score below, default 0.5"
    )
    parser.add_argument("--withhold", type=float, default=0.2, metavar="S", help="leave out those below, default 0.2")


def check_output(path: Path, force: bool) -> None:
    """Refuse before the work starts what could not be written after it.

    Raises:
        OutputError: the file exists (and is not to be replaced), or its folder does not.
    """
    if path.exists() and not force:
        raise OutputError(path, "an existing file", "a new name, or --force")
    if not path.parent.is_dir():
        raise OutputError(path, f"no folder {path.parent}", "an existing folder")
