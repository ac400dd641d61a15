"""The commands that people meet a model and a set through: `mimo demo`, `mimo app` and `mimo review`."""

from __future__ import annotations

import argparse
import getpass
import sys
import tempfile
from pathlib import Path

from ..errors import InputError, OutputError
from .common import NOTICE, add_thresholds, add_weights

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_demo(commands: argparse._SubParsersAction) -> None:
    """The options of `mimo demo`."""
    parser = commands.add_parser("demo", help="a local page: drop an image, click or draw a box, ask")
    add_weights(parser)
    parser.add_argument("--examples", type=Path, metavar="DIR", help="images to begin with, instead of phantoms")
    parser.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1: this machine only")
    parser.add_argument("--port", type=int, default=7861)
    add_thresholds(parser)
    parser.set_defaults(run=demo)


def demo(options: argparse.Namespace) -> None:
    """Serve the page."""
    from ..inference import MimoPredictor
    from ..inference.safeguards import Thresholds

    thresholds = Thresholds(options.uncertain, options.withhold)
    try:
        from ..demo.page import serve_demo
    except ImportError as error:
        raise InputError("mimo demo", f"no {error.name}", "an installation with [demo]") from error
    from ..demo.page import folder_examples, phantom_examples

    with tempfile.TemporaryDirectory(prefix="mimo-demo-") as drawn:
        examples = folder_examples(options.examples) if options.examples else phantom_examples(Path(drawn))
        predictor = MimoPredictor.from_pretrained(options.weights)
        weights = predictor.model_info["weights"]
        if options.host not in LOOPBACK:
            print(
                f"warning: whoever reaches {options.host} can use this page; it asks for no password", file=sys.stderr
            )
        print(f"{weights}; http://{options.host}:{options.port}, Ctrl+C ends. {NOTICE}", flush=True)
        try:
            serve_demo(predictor, thresholds, examples, options.host, options.port)
        except OSError as error:
            raise InputError("--port", str(options.port), "a free port") from error


def add_app(commands: argparse._SubParsersAction) -> None:
    """The options of `mimo app`."""
    parser = commands.add_parser("app", help="copy the MONAI Label app for 3D Slicer and OHIF")
    parser.add_argument("out", metavar="DIR", type=Path, help="a new folder")
    parser.add_argument(
        "--example-studies",
        metavar="DIR",
        type=Path,
        help="also make a folder of phantom studies, NIfTI, DICOM and pictures",
    )
    parser.set_defaults(run=app)


def app(options: argparse.Namespace) -> None:
    """Copy the app, and say how to start it."""
    import importlib.util
    import shutil
    from importlib import resources

    from ..files import atomic_folder, output_errors

    for out in (options.out, options.example_studies):
        if out is not None and out.exists():
            raise OutputError(out, "an existing path", "a new folder")
    source = Path(str(resources.files("monai_mimo.app")))
    if not (source / "main.py").is_file():
        raise InputError(source, "no app", "an installation of monai-mimo with its MONAI Label app")
    unwanted = shutil.ignore_patterns("__pycache__", "logs", "model", "bin", "studies")
    with output_errors(options.out), atomic_folder(options.out) as new:
        shutil.copytree(source, new, ignore=unwanted, dirs_exist_ok=True)
    if options.example_studies is not None:
        from ..phantom.writer import write_studies

        write_studies(options.example_studies)
    studies = options.example_studies or "STUDIES"
    print(f"app: {options.out}")
    if importlib.util.find_spec("monailabel") is None:
        print('first: pip install "monai-mimo[label]"')
    print(f"start: monailabel start_server --app {options.out} --studies {studies} --host 127.0.0.1")


def add_review(commands: argparse._SubParsersAction) -> None:
    """The options of `mimo review`."""
    parser = commands.add_parser("review", help="read questions and answers: keep, drop or edit them")
    parser.add_argument("dataset", metavar="DIR", type=Path, help="a set that `mimo build` wrote")
    parser.add_argument("--split", default="validation,test", metavar="S[,S]", help="default validation,test")
    parser.add_argument("--perspective", default="3,4", metavar="P[,P]", help="default 3,4")
    parser.add_argument("--reviewer", metavar="NAME", help="default: the name of the account")
    parser.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1: this machine only")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the decisions as .csv or .json instead")
    parser.set_defaults(run=review)


def review(options: argparse.Namespace) -> None:
    """Serve the page, or write what was decided."""
    from ..mimoseg.categories import SPLITS

    splits = options.split.split(",")
    if not set(splits) <= set(SPLITS):
        raise InputError("--split", repr(options.split), f"some of {','.join(SPLITS)}")
    if not set(perspectives := options.perspective.split(",")) <= set("012345"):
        raise InputError("--perspective", repr(options.perspective), "some of 0,1,2,3,4,5")

    if options.export is not None:
        from ..mimoseg.review.decisions import export_decisions, read_decisions

        decisions = read_decisions(options.dataset)
        if not decisions:
            raise InputError(options.dataset, "no decisions", "a set that was reviewed")
        export_decisions(decisions.values(), options.export)
        print(f"{len(decisions)} decisions: {options.export}")
        return

    from ..mimoseg.review.queue import ReviewQueue

    queue = ReviewQueue(options.dataset, splits, [int(p) for p in perspectives], options.reviewer or getpass.getuser())
    try:
        from ..mimoseg.review.gradio_page import serve_review
    except ImportError as error:
        raise InputError("mimo review", f"no {error.name}", "an installation with [demo]") from error
    done = len(queue.refs) - queue.progress()["open"]
    print(
        f"{len(queue.refs)} rows, {done} decided; http://{options.host}:{options.port}, Ctrl+C ends. {NOTICE}",
        flush=True,
    )
    try:
        serve_review(queue, options.host, options.port)
    except OSError as error:
        raise InputError("--port", str(options.port), "a free port") from error
