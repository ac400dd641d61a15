"""`mimo calibrate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
    parser = commands.add_parser(
        "calibrate", help="fit the warning of unknown images and the scores of weights to a built set"
    )
    parser.add_argument("dataset", metavar="DATASET", type=Path, help="the set that the weights were trained on")
    parser.add_argument("weights", metavar="WEIGHTS", type=Path, help="a weights folder; both files are put into it")
    parser.add_argument(
        "--images", type=int, default=300, metavar="N", help="of each kind and split, at most (default 300)"
    )
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default), cuda, cuda:1, ...")
    parser.set_defaults(run=calibrate)


def calibrate(options: argparse.Namespace) -> None:
    """Fit on the training images and the validation questions."""
    if options.images < 2:
        raise InputError("--images", str(options.images), "2 or more")

    from ..calibration.fit import calibrate as fit
    from ..engines.setup import rows_that_fit, some_images
    from ..mimoseg import load_mimoseg
    from ..models import Mimo
    from .evaluate import usable_device

    model = Mimo.from_pretrained(options.weights).to(usable_device(options.device))
    train = load_mimoseg(options.dataset, "train")
    held_out = rows_that_fit(load_mimoseg(options.dataset, "validation"), model, with_answers=False)
    fitted = fit(model, train, some_images(held_out, options.images), options.images)
    fitted.save(options.weights, f"validation questions of {options.dataset.resolve().name}")
    print(f"image domain: {len(fitted.domain.means)} kinds of images, limit {fitted.domain.limit:.2f}")
    if fitted.temperature is None:
        print(f"temperature: not fitted, for only {fitted.phrases} phrases were answered, or all were right or wrong")
    else:
        print(f"temperature: {fitted.temperature:.3f}, fitted on {fitted.phrases} answered phrases")
