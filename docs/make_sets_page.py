"""Writes docs/sets.md: a table of all sets of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from monai_mimo.mimoseg.catalogue import Record, Series, catalogue

PERSPECTIVES = {1: "I", 2: "II", 3: "III", 4: "IV"}
MANY, FIRST = 4, 2  # of more entities than `MANY`, the `FIRST` are listed and the number of the others is given
UNCHECKED = " (not checked)"

HEAD = """\
# Source sets

After this page you can pick public sets that `mimo build` reads as their makers hand them out.

    mimo catalogue show NAME             # download, expected tree, labels, other names, page, citation
    mimo catalogue check NAME PATH       # is it laid out like this?
    mimo build --source NAME=PATH --out DIR

The records are in `monai_mimo/mimoseg/catalogue/sets`, each with a note of what in it was checked and what is unsure. Citations,
and licences with a star, are from memory: read the set's own pages and terms.

One row is one set. Images and masks are the published counts of 2-D images; where a set is used in several ways, they stand in
the same order in each column. Sets without counts are not in the published table. The page is made by `docs/make_sets_page.py`.

| set | modality | entities | perspectives | images | masks | licence |
|---|---|---|---|---|---|---|
"""


def page() -> str:
    """The page in Markdown."""
    return HEAD + "".join(f"{table_row(record)}\n" for record in catalogue().values())


def table_row(record: Record) -> str:
    series, published = record.series, [one.published for one in record.series if one.published]
    columns = [
        record.name,
        joined(modality(one) for one in series),
        joined(entities(record, one) for one in series),
        joined(", ".join(PERSPECTIVES[n] for n in one.perspectives) for one in series),
        *["; ".join(f"{counts[kind]:,}" for counts in published) for kind in ("images", "masks")],
        record.licence.replace(UNCHECKED, "*"),
    ]
    return f"| {' | '.join(columns)} |"


def joined(texts: Iterable[str]) -> str:
    """What differs, each once."""
    return "; ".join(dict.fromkeys(texts))


def modality(series: Series) -> str:
    return f"{series.modality} ({', '.join(series.sequences)})" if series.sequences else series.modality


def entities(record: Record, series: Series) -> str:
    names = series.entities or [entity for file in record.layouts[0].labels for entity in file.entities]
    return ", ".join(names) if len(names) <= MANY else f"{', '.join(names[:FIRST])} and {len(names) - FIRST} more"


if __name__ == "__main__":
    (Path(__file__).parent / "sets.md").write_text(page())
