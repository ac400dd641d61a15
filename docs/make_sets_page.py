"""Writes docs/sets.md: a table of all sets of the catalogue, and how to get each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from monai_mimo.mimoseg.catalogue import Record, Series, catalogue

PERSPECTIVES = {1: "I", 2: "II", 3: "III", 4: "IV"}
MANY = 8  # entities that are listed; of more, the number is given

HEAD = """\
# Source sets

What the catalogue knows, one row for each row of the published table. A set is built from the tree in which its makers hand it
out; `mimo catalogue show NAME` tells how that looks, and the records are in `monai_mimo/mimoseg/catalogue/sets`, each with a note
of what in it was checked and what is unsure. Citations, and licences marked "not checked", are from memory: read the set's
own pages and terms.

This page is made by `docs/make_sets_page.py`.
"""


def page() -> str:
    """The page in Markdown."""
    records = list(catalogue().values())
    published = [record for record in records if any(series.published for series in record.series)]
    rows = [row for record in published for row in table_rows(record)]
    own = [record for record in records if record not in published]
    return (
        "\n".join(
            [
                HEAD,
                "| set | modality | entities | perspectives | images | masks |",
                "|---|---|---|---|---|---|",
                *rows,
                "",
                "Images and masks are the published counts of 2-D images.",
                "",
                "## How to get them",
                "",
                *[text for record in published for text in details(record)],
                "## Other sets in the catalogue",
                "",
                *[text for record in own for text in details(record)],
            ]
        ).rstrip()
        + "\n"
    )


def table_rows(record: Record) -> Iterator[str]:
    for series in record.series:
        about = series.published
        if about:
            perspectives = ", ".join(PERSPECTIVES[n] for n in series.perspectives)
            counts = [f"{about[kind]:,}" for kind in ("images", "masks")]
            yield f"| {' | '.join([record.name, modality(series), entities(record, series), perspectives, *counts])} |"


def modality(series: Series) -> str:
    return f"{series.modality} ({', '.join(series.sequences)})" if series.sequences else series.modality


def entities(record: Record, series: Series) -> str:
    names = series.entities or [entity for file in record.layouts[0].labels for entity in file.entities]
    return ", ".join(names) if len(names) <= MANY else f"{', '.join(names[:3])} and {len(names) - 3} more"


def details(record: Record) -> list[str]:
    also = f" (also {', '.join(record.aliases)})" if record.aliases else ""
    lines = [
        f"**{record.name}**{also}: {record.title}",
        f"    {record.obtain}",
        f"    Page: {record.homepage}. Licence: {record.licence}.",
        f"    Cite: {record.citation}.",
    ]
    return [f"- {lines[0]}  ", *[f"{line}  " for line in lines[1:-1]], lines[-1], ""]


if __name__ == "__main__":
    (Path(__file__).parent / "sets.md").write_text(page())
