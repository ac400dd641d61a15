"""`mimo use`."""

from __future__ import annotations

import argparse

from .common import WEIGHTS, add_bases, given_bases


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
    parser = commands.add_parser("use", help="make a weights folder the default of `mimo ask`")
    parser.add_argument("weights", metavar="DIR", help=WEIGHTS)
    add_bases(parser)
    parser.set_defaults(run=use)


def use(options: argparse.Namespace) -> None:
    """Copy a weights folder to where `mimo ask` looks for it."""
    import shutil

    from ..files import atomic_folder
    from ..models import Mimo
    from ..models.default_weights import chosen_weights_dir, find_weights
    from ..models.weights import move_bases

    bases = given_bases(options)
    weights = find_weights(options.weights)
    Mimo.from_pretrained(weights, **bases)  # refuse a damaged one
    target = chosen_weights_dir()
    with atomic_folder(target, replace=True) as new:
        shutil.copytree(weights, new, dirs_exist_ok=True)
        move_bases(new, **bases)
    print(f"default weights: {target} (from {options.weights})")
