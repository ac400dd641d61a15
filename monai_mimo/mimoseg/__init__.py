"""MIMOSeg: building it from source sets, and opening a built set.

`sources/` lists the cases of a source set, `label_files/` reads their masks, `catalogue/` knows the public sets, `questions/`
asks about what a slice shows, `builder/` makes a data set of it, `describe/` counts what is in it, and in `review/` people
read it. `schema` documents the columns of a built set.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .builder.build import build
    from .load import load_mimoseg
    from .sources.cases import SourceSpec
    from .sources.discover import discover, parse_source

__all__ = ["SourceSpec", "build", "discover", "load_mimoseg", "parse_source"]
_PLACES = {
    "SourceSpec": ".sources.cases",
    "build": ".builder.build",
    "discover": ".sources.discover",
    "load_mimoseg": ".load",
    "parse_source": ".sources.discover",
}


def __getattr__(name: str) -> Any:
    """Import it when it is first used: whoever answers questions needs neither the builder nor `datasets`."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name], __name__), name)
