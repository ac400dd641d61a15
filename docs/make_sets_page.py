"""Writes docs/sets.md: a line for each set of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from monai_mimo.mimoseg.catalogue import Record, Series, catalogue

MANY, FIRST = 2, 1  # of more entities than `MANY`, the `FIRST` are listed and the number of the others is given
UNCHECKED = " (not checked)"

HEAD = """\
# Source sets

After this page you can pick public sets that `mimo build` reads as their makers hand them out.

    mimo catalogue                       # these sets, with sequences, perspectives and published counts
    mimo catalogue show NAME             # download, expected tree, all labels, page, citation, what is unsure

Name, entities (one, and how many more), licence. Citations, and licences with a star, are from memory: read the set's own
terms. Records are in `monai_mimo/mimoseg/catalogue/sets`; this page is made by `docs/make_sets_page.py`.
"""


def page() -> str:
    """The page in Markdown: sets by modality."""
    lists: dict[str, list[str]] = {}
    for record in catalogue().values():
        modality = joined((one.modality for one in record.series), " and ")
        lists.setdefault(modality, []).append(line(record))
    return HEAD + "".join(f"\n## {modality}\n\n{''.join(lines)}" for modality, lines in lists.items())


def line(record: Record) -> str:
    named = joined((entities(record, one) for one in record.series), "; ")
    return f"- {record.name}: {named}. {licence(record.licence)}\n"


def licence(text: str) -> str:
    """Without who says so, and a star where nobody checked."""
    star = "*" if text.endswith(UNCHECKED) else ""
    return text.removesuffix(UNCHECKED).split(", as given by")[0].removeprefix("the ") + star


def joined(texts: Iterable[str], between: str) -> str:
    """What differs, each once."""
    return between.join(dict.fromkeys(texts))


def entities(record: Record, series: Series) -> str:
    names = series.entities or [entity for file in record.layouts[0].labels for entity in file.entities]
    return ", ".join(names) if len(names) <= MANY else f"{', '.join(names[:FIRST])} +{len(names) - FIRST}"


if __name__ == "__main__":
    (Path(__file__).parent / "sets.md").write_text(page())
