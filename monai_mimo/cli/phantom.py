"""`mimo phantom`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
    parser = commands.add_parser("phantom", help="draw a labelled phantom data set")
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--patients", type=int, default=24, metavar="N", help="for each modality (default 24)")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.set_defaults(run=phantom)


def phantom(options: argparse.Namespace) -> None:
    """Draw the phantom."""
    from ..phantom import write_phantom

    out = write_phantom(options.out, options.patients, options.seed)
    print(f"phantom of {options.patients} patients for each of eight modalities: {out}")
