"""`mimo use`."""

from __future__ import annotations

import argparse

from .common import add_bases, given_bases, weights_dir


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
    parser = commands.add_parser("use", help="make a weights folder the default of `mimo ask`")
    parser.add_argument("weights", metavar="DIR", type=weights_dir, help="or lite, small: those that come along")
    add_bases(parser)
    parser.set_defaults(run=use)


def use(options: argparse.Namespace) -> None:
    """Copy a weights folder to where `mimo ask` looks for it."""
    import shutil

    from ..files import atomic_folder
    from ..models.default_weights import chosen_weights_dir
    from ..models.weights import load_weights, move_bases

    bases = given_bases(options)
    load_weights(options.weights, **bases)  # refuse a damaged one
    target = chosen_weights_dir()
    with atomic_folder(target, replace=True) as new:
        shutil.copytree(options.weights, new, dirs_exist_ok=True)
        move_bases(new, **bases)
    print(f"default weights: {target} (from {options.weights})")
