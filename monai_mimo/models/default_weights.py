"""Where weights are found: the user's choice, those that come with the package, a folder, or the Hugging Face Hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import WeightsError

SHIPPED = Path(__file__).parent / "trained"
DEFAULT = "lite"  # of these the best, as measured (docs/model-card.md)


def home() -> Path:
    """Where the package keeps what outlives a run: `$MIMO_HOME`, or ~/.cache/monai-mimo."""
    return Path(os.environ.get("MIMO_HOME", Path.home() / ".cache" / "monai-mimo"))


def find_weights(name: str | Path | None = None) -> Path:
    """The weights folder that a name stands for, the same wherever weights are named.

    Args:
        name: a folder; "lite" or "lite-permissive", which come with the package; OWNER/NAME, on the Hugging Face Hub; or none:
            `default_weights_dir`. A folder comes before the others.

    Raises:
        WeightsError: there are no default weights, or the Hub has none of that name or cannot be asked.
    """
    if name is None:
        folder = default_weights_dir()
        if not folder.exists():
            raise WeightsError("weights", f"none in {folder}", "`make train` to have run, or --weights DIR")
        return folder
    if Path(name).exists():
        return Path(name)
    if (SHIPPED / name).is_dir():
        return SHIPPED / name
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        from .hub import download  # the client of the Hub is slow to import

        return download(str(name))
    return Path(name)


def chosen_weights_dir() -> Path:
    """Where `mimo use` (and so `make train`) puts the weights that the user chose."""
    return home() / "weights"


def default_weights_dir() -> Path:
    """The weights that are used when none are named: those that the user chose; else `DEFAULT`, which come with the package;
    where there are none, the folder in which chosen ones would be."""
    shipped = SHIPPED / DEFAULT
    return shipped if shipped.exists() and not chosen_weights_dir().exists() else chosen_weights_dir()
