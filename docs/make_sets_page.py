"""Writes docs/sets.md: a table of all sets of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from monai_mimo.mimoseg.catalogue import Record, Series, catalogue

MANY, FIRST = 3, 2  # of more entities than `MANY`, the `FIRST` are listed and the number of the others is given
UNCHECKED = " (not checked)"

HEAD = """\
# Source sets

After this page you can pick public sets that `mimo build` reads as their makers hand them out.

    mimo catalogue                       # these sets, with sequences, perspectives and published counts
    mimo catalogue show NAME             # download, expected tree, labels, other names, page, citation
    mimo catalogue check NAME PATH       # is it laid out like this?
    mimo build --source NAME=PATH --out DIR

The records are in `monai_mimo/mimoseg/catalogue/sets`, each with a note of what in it is unsure. Citations, and
licences with a star, are from memory: read the set's own terms. A set that is used in several ways has semicolons in its row.
This page is made by `docs/make_sets_page.py`.

| set | modality | entities | licence |
|---|---|---|---|
"""


def page() -> str:
    """The page in Markdown."""
    return HEAD + "".join(f"{table_row(record)}\n" for record in catalogue().values())


def table_row(record: Record) -> str:
    columns = [
        record.name,
        joined(one.modality for one in record.series),
        joined(entities(record, one) for one in record.series),
        licence(record.licence),
    ]
    return f"| {' | '.join(columns)} |"


def licence(text: str) -> str:
    """Without who says so, and a star where nobody checked."""
    star = "*" if text.endswith(UNCHECKED) else ""
    return text.removesuffix(UNCHECKED).split(", as given by")[0].removeprefix("the ") + star


def joined(texts: Iterable[str]) -> str:
    """What differs, each once."""
    return "; ".join(dict.fromkeys(texts))


def entities(record: Record, series: Series) -> str:
    names = series.entities or [entity for file in record.layouts[0].labels for entity in file.entities]
    return ", ".join(names) if len(names) <= MANY else f"{', '.join(names[:FIRST])} and {len(names) - FIRST} more"


if __name__ == "__main__":
    (Path(__file__).parent / "sets.md").write_text(page())
