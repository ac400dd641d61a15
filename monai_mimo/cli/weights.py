"""`mimo calibrate`, `mimo merge` and `mimo use`: what is done with a weights folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError
from .common import WEIGHTS, add_bases, check_output, given_bases


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options of all three."""
    parser = commands.add_parser(
        "calibrate", help="fit the warning of unknown images and the scores of weights to a built set"
    )
    parser.add_argument("dataset", metavar="DATASET", type=Path, help="the set that the weights were trained on")
    parser.add_argument("weights", metavar="WEIGHTS", type=Path, help="a weights folder; both files are put into it")
    parser.add_argument(
        "--images", type=int, default=300, metavar="N", help="of each kind and split, at most (default 300)"
    )
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default), cuda, cuda:1, ...")
    parser.set_defaults(run=run_calibrate)

    parser = commands.add_parser(
        "merge", help="write weights with LoRA as weights without, that need no language model beside"
    )
    parser.add_argument("weights", metavar="DIR", help=WEIGHTS)
    parser.add_argument("out", metavar="OUT", type=Path)
    add_bases(parser)
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.set_defaults(run=merge)

    parser = commands.add_parser("use", help="make a weights folder the default of `mimo ask`")
    parser.add_argument("weights", metavar="DIR", help=WEIGHTS)
    add_bases(parser)
    parser.set_defaults(run=use)


def run_calibrate(options: argparse.Namespace) -> None:
    """Fit on the training images and the validation questions."""
    if options.images < 2:
        raise InputError("--images", str(options.images), "2 or more")

    from ..calibration.fit import calibrate
    from ..engines.setup import rows_that_fit, some_images
    from ..mimoseg import load_mimoseg
    from ..models import Mimo
    from .evaluate import usable_device

    model = Mimo.from_pretrained(options.weights).to(usable_device(options.device))
    train = load_mimoseg(options.dataset, "train")
    held_out = rows_that_fit(load_mimoseg(options.dataset, "validation"), model, with_answers=False)
    fitted = calibrate(model, train, some_images(held_out, options.images), options.images)
    fitted.save(options.weights, f"validation questions of {options.dataset.resolve().name}")
    print(f"image domain: {len(fitted.domain.means)} kinds of images, limit {fitted.domain.limit:.2f}")
    if fitted.temperature is None:
        print(f"temperature: not fitted, for only {fitted.phrases} phrases were answered, or all were right or wrong")
    else:
        print(f"temperature: {fitted.temperature:.3f}, fitted on {fitted.phrases} answered phrases")


def merge(options: argparse.Namespace) -> None:
    """Put the adapter into the language model and write all of it."""
    check_output(options.out, options.force)

    from ..calibration.fit import carry_calibration
    from ..models import Mimo
    from ..models.default_weights import find_weights
    from ..models.weights import merge_adapter, save_weights

    weights = find_weights(options.weights)
    model = merge_adapter(Mimo.from_pretrained(weights, **given_bases(options)))
    save_weights(model, options.out)
    carry_calibration(weights, options.out)
    print(options.out)


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
