"""MIMOSeg: building it from source sets, and opening a built set.

`sources/` lists the cases of a source set, `label_files/` reads their masks, `catalogue/` knows the public sets, `questions/`
asks about what a slice shows, `builder/` makes a data set of it, `describe/` counts what is in it, and in `review/` people
read it. `schema` documents the columns of a built set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy

if TYPE_CHECKING:
    from .builder.build import build
    from .load import load_mimoseg
    from .sources.cases import SourceSpec
    from .sources.discover import by_licence, discover, parse_source

__all__ = ["SourceSpec", "build", "by_licence", "discover", "load_mimoseg", "parse_source"]

lazy(
    __name__,
    {
        "build": "builder.build",
        "SourceSpec": "sources.cases",
        "load_mimoseg": "load",
        "by_licence": "sources.discover",
        "discover": "sources.discover",
        "parse_source": "sources.discover",
    },
)
