"""`mimo demo`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from ..errors import InputError
from .common import NOTICE, add_thresholds, add_weights

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
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
        from ..demo.page import serve
    except ImportError as error:
        raise InputError("mimo demo", f"no {error.name}", "an installation with [demo]") from error
    from ..demo.examples import folder_examples, phantom_examples

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
            serve(predictor, thresholds, examples, options.host, options.port)
        except OSError as error:
            raise InputError("--port", str(options.port), "a free port") from error
