"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".tmp"


@contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """A new file beside `path`, which takes its name when the block ends well and is removed otherwise."""
    handle, name = tempfile.mkstemp(SUFFIX, f"{path.name}.", path.parent)
    os.close(handle)
    try:
        yield Path(name)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
