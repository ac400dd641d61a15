"""Where the package keeps what outlives a run, and how a folder there is replaced whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def home() -> Path:
    """Where the package keeps what outlives a run: `$MIMO_HOME`, or ~/.cache/monai-mimo."""
    return Path(os.environ.get("MIMO_HOME", Path.home() / ".cache" / "monai-mimo"))


def replace_folder(new: Path, folder: Path) -> None:
    """Put the finished folder `new`, on the same file system, in the place of `folder`."""
    if folder.exists():
        old = new.with_name("old")
        folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old)
    else:
        new.rename(folder)
