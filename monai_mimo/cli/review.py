"""`mimo review`."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path

from ..errors import InputError
from .common import NOTICE


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
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
        from ..mimoseg.review.gradio_page import serve
    except ImportError as error:
        raise InputError("mimo review", f"no {error.name}", "an installation with [demo]") from error
    done = len(queue.refs) - queue.progress()["open"]
    print(
        f"{len(queue.refs)} rows, {done} decided; http://{options.host}:{options.port}, Ctrl+C ends. {NOTICE}",
        flush=True,
    )
    try:
        serve(queue, options.host, options.port)
    except OSError as error:
        raise InputError("--port", str(options.port), "a free port") from error
