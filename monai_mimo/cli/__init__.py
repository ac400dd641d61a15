"""The command `mimo`; its commands stand by theme in the files beside this one. What a user can mend ends with one line on
stderr and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from ..errors import MimoError
from . import ask, build, catalogue, evaluate, plan, questions, serve, weights
from .common import NOTICE

COMMANDS = (
    ask.add_parser,
    serve.add_demo,
    serve.add_app,
    build.add_phantom,
    catalogue.add_parser,
    questions.add_parser,
    build.add_build,
    build.add_stats,
    serve.add_review,
    build.add_export,
    plan.add_parser,
    evaluate.add_parser,
    weights.add_parser,
    build.add_example,
)


class Parser(argparse.ArgumentParser):
    """Errors on one line, without the usage before them."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], None] = options.run
    try:
        run(options)
    except MimoError as error:
        print(f"mimo {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options. Nothing heavy is imported here, so that --help answers at once."""
    parser = Parser(prog="mimo", description=f"Ask about medical images, and get answers tied to masks. {NOTICE}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    for add in COMMANDS:
        add(commands)
    return parser
