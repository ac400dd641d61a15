"""`mimo build`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import InputError


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
    parser = commands.add_parser("build", help="build a training set from source sets")
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="NAME=PATH[,label=ENTITY][,modality=M][,record=FILE]",
        help="repeatable",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="take every labelled set found in DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--split", default="auto", metavar="A:B:C", help="by patient; auto: 80:10:10, or 99:0.5:0.5 if large"
    )
    parser.add_argument("--slices-per-volume", type=int, default=6, metavar="N")
    parser.add_argument("--questions-per-image", type=int, default=8, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.set_defaults(run=build)


def build(options: argparse.Namespace) -> None:
    """Build a data set and say what was made."""
    from ..mimoseg import build as build_set
    from ..mimoseg import discover, parse_source

    specs = [parse_source(text) for text in options.source]
    if options.data is not None:
        found, skipped = discover(options.data)
        specs += found
        for name, reason in skipped:
            print(f"left out: {name} ({reason})", file=sys.stderr)
    if not specs:
        raise InputError("--source", "none", "--source NAME=PATH or --data DIR")
    report = build_set(
        specs,
        options.out,
        ratio=options.split,
        seed=options.seed,
        slices_per_volume=options.slices_per_volume,
        questions_per_image=options.questions_per_image,
    )
    print(
        f"{options.out}: split {report['split']} by patient ({', '.join(f'{n} {s}' for s, n in report['patients'].items())})"
    )
    for split, cells in report["rows"].items():
        print(f"  {split}: {sum(cells.values())} questions")
