"""`mimo export`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
    parser = commands.add_parser("export", help="write a built set for other tools")
    parser.add_argument("dataset", metavar="DIR", type=Path, help="a set that `mimo build` wrote")
    parser.add_argument("--format", required=True, choices=["datalist", "llava", "coco"], help="MONAI, LLaVA or COCO")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="a new folder")
    parser.set_defaults(run=export)


def export(options: argparse.Namespace) -> None:
    """Write the set in another format."""
    from ..mimoseg.export import export as export_set

    export_set(options.dataset, options.format, options.out)
    print(f"written: {options.out}")
