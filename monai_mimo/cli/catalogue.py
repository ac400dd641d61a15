"""`mimo catalogue`: what is known of the source sets, how to lay them out, and whether a download is complete."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError, InputError

if TYPE_CHECKING:
    from ..mimoseg.catalogue import Record


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
    parser = commands.add_parser("catalogue", help="list the known source sets; show, check or draw one")
    parser.add_argument("--modality", metavar="M", help="only sets with images of this modality")
    parser.add_argument("--perspective", type=int, choices=(1, 2, 3, 4), help="only sets that are used in it")
    parser.set_defaults(run=list_sets)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")

    show_parser = actions.add_parser("show", help="how to lay out a download, and what its labels mean")
    show_parser.add_argument("name", metavar="NAME", help="of a set, or the YAML file of a record")
    show_parser.set_defaults(run=show)

    check_parser = actions.add_parser("check", help="what was found of a set and what is missing")
    check_parser.add_argument("name", metavar="NAME")
    check_parser.add_argument("path", type=Path, metavar="PATH")
    check_parser.set_defaults(run=check)

    draw_parser = actions.add_parser("miniature", help="draw a small example in exactly the tree of a set")
    draw_parser.add_argument("name", metavar="NAME")
    draw_parser.add_argument("out", type=Path, metavar="OUT")
    draw_parser.add_argument("--layout", type=int, default=1, metavar="N", help="of several, the N-th (default 1)")
    draw_parser.set_defaults(run=miniature)


def list_sets(options: argparse.Namespace) -> None:
    """One line for each row of the published table."""
    from rich.console import Console
    from rich.table import Table

    from ..mimoseg.catalogue import catalogue
    from ..mimoseg.categories import MODALITIES

    if options.modality not in (None, *MODALITIES):
        raise InputError("--modality", repr(options.modality), f"one of {', '.join(MODALITIES)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("set", no_wrap=True)
    table.add_column("modality", no_wrap=True)
    for column in ("sequences", "entities"):
        table.add_column(column, overflow="fold")
    table.add_column("perspectives", no_wrap=True)
    for column in ("images", "masks"):
        table.add_column(column, justify="right", no_wrap=True)
    sets, rows = set(), 0
    for record in catalogue().values():
        for series in record.series:
            if options.modality not in (None, series.modality):
                continue
            if options.perspective not in (None, *series.perspectives):
                continue
            entities = series.entities or _entities(record)
            some = ", ".join(entities[:3]) + (f" and {len(entities) - 3} more" if len(entities) > 3 else "")
            published = series.published or {}
            numbers = [f"{published[key]:,}" if key in published else "-" for key in ("images", "masks")]
            perspectives = " ".join(("I", "II", "III", "IV")[p - 1] for p in series.perspectives)
            table.add_row(record.name, series.modality, ", ".join(series.sequences or {}), some, perspectives, *numbers)
            sets.add(record.name)
            rows += 1
    if not rows:
        raise InputError("catalogue", "no set with these filters", "other filters")
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(table)
    console.print(f"\n{rows} rows of {len(sets)} sets; images and masks as published", highlight=False)


def show(options: argparse.Namespace) -> None:
    """What a person needs to get a set and to lay it out."""
    from ..mimoseg.catalogue.miniature import example_paths

    record = _record(options.name)
    aliases = f" (also {', '.join(record.aliases)})" if record.aliases else ""
    print(f"{record.name}{aliases}: {record.title}")
    for name in ("licence", "homepage", "citation", "obtain", "cohort"):
        if text := getattr(record, name):
            print(f"  {name}: {text.strip()}")
    for number, layout in enumerate(record.layouts, 1):
        print(f"\nlayout {number} of {len(record.layouts)}" if len(record.layouts) > 1 else "\nlayout")
        print(f"  images  {layout.images}")
        if examples := example_paths(record, number - 1):
            print("".join(f"            e.g. {path}\n" for path in examples), end="")
        for file in layout.labels:
            kind = "" if file.kind == "map" else f"  ({file.kind})"
            print(f"  labels  {file.file}{kind}{'  (optional)' * file.optional}")
            for entity, values in file.entities.items():
                print(f"            {entity}: {', '.join(map(str, values)) or 'all but 0'}")
            if file.ignored:
                print(f"            not used: {', '.join(map(str, file.ignored))}")
        print(f"  patient {layout.patient}")
    print()
    for series in record.series:
        published = series.published or {}
        numbers = ", ".join(f"{published[key]:,} {key}" for key in ("images", "masks") if key in published)
        sequences = f" ({', '.join(series.sequences)})" if series.sequences else ""
        entities = f"; of the labels {', '.join(series.entities)}" if series.entities else ""
        where = "".join(f"; {field} fits {expression}" for field, expression in series.where.items())
        perspectives = ", ".join(map(str, series.perspectives))
        print(
            f"{series.modality}{sequences}: perspectives {perspectives}{entities}{where}"
            f"{'; published: ' + numbers if numbers else ''}"
        )
    print(f"\nmimo catalogue check {record.name} PATH checks whether PATH is laid out like this.")


def check(options: argparse.Namespace) -> None:
    """Print the checklist.

    Raises:
        DataError: something needed is missing.
    """
    from ..mimoseg.sources.by_record import check_source

    record = _record(options.name)
    if not options.path.is_dir():
        raise DataError(options.path, "no such folder", f"the folder of {record.name}")
    checks = check_source(record, options.path)
    for state, text in checks:
        print(
            f"{ {'found': '[x]', 'missing': '[ ]', 'note': ' ! '}[state] } {'missing: ' * (state == 'missing')}{text}"
        )
    missing = sum(state == "missing" for state, _ in checks)
    if missing:
        expected = f"the tree of `mimo catalogue show {record.name}`"
        raise DataError(options.path, f"{missing} of {len(checks)} missing", expected)


def miniature(options: argparse.Namespace) -> None:
    """Draw a small example."""
    from ..mimoseg.catalogue.miniature import draw_miniature

    record = _record(options.name)
    if not 1 <= options.layout <= len(record.layouts):
        raise InputError("--layout", str(options.layout), f"a number from 1 to {len(record.layouts)}")
    drawn = draw_miniature(record, options.out, options.layout - 1)
    print(f"{options.out}: {len(drawn)} images in the tree of {record.name}")


def _record(name: str) -> Record:
    """By name or alias, or from a file.

    Raises:
        InputError: there is none of this name; those with alike names are told.
    """
    from difflib import get_close_matches

    from ..mimoseg.catalogue import catalogue, find_record, load_record

    if name.endswith((".yaml", ".yml")):
        return load_record(Path(name))
    record = find_record(name)
    if record is None:
        alike = get_close_matches(name, catalogue(), n=3, cutoff=0.4)
        raise InputError("catalogue", f"no set {name!r}", " or ".join(alike) or "a name that `mimo catalogue` lists")
    return record


def _entities(record: Record) -> list[str]:
    return list(dict.fromkeys(e for layout in record.layouts for file in layout.labels for e in file.entities))
