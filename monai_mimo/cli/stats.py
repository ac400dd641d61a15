"""`mimo stats`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
    parser = commands.add_parser("stats", help="count what is in a built set, with tables and charts")
    parser.add_argument("dataset", metavar="DIR", type=Path, help="a set that `mimo build` wrote")
    parser.add_argument("--out", type=Path, metavar="OUT", help="a new folder (default DIR/statistics)")
    parser.add_argument("--force", action="store_true", help="replace the folder if `mimo stats` wrote it")
    parser.set_defaults(run=stats)


def stats(options: argparse.Namespace) -> None:
    """Print the tables and write them with the charts."""
    from ..mimoseg.describe.tables import tables, write_statistics

    out = options.out or options.dataset / "statistics"
    statistics = write_statistics(options.dataset, out, force=options.force)
    for table in tables(statistics):
        print(f"{table.title}\n\n{table.markdown()}\n")
    print(f"written: {out}")
