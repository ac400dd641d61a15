"""`mimo merge`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import WEIGHTS, add_bases, check_output, given_bases


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
    parser = commands.add_parser(
        "merge", help="write weights with LoRA as weights without, that need no language model beside"
    )
    parser.add_argument("weights", metavar="DIR", help=WEIGHTS)
    parser.add_argument("out", metavar="OUT", type=Path)
    add_bases(parser)
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.set_defaults(run=merge)


def merge(options: argparse.Namespace) -> None:
    """Put the adapter into the language model and write all of it."""
    check_output(options.out, options.force)

    from ..calibration.carry import carry_calibration
    from ..models import Mimo
    from ..models.default_weights import find_weights
    from ..models.weights import merge_adapter, save_weights

    weights = find_weights(options.weights)
    model = merge_adapter(Mimo.from_pretrained(weights, **given_bases(options)))
    save_weights(model, options.out)
    carry_calibration(weights, options.out)
    print(options.out)
