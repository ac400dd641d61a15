"""`mimo example`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
    parser = commands.add_parser("example", help="print a `mimo ask` line for a built set")
    parser.add_argument("dataset", metavar="DIR", type=Path)
    parser.set_defaults(run=example)


def example(options: argparse.Namespace) -> None:
    """Save one test image beside the data set and print a question about it."""
    from ..mimoseg import load_mimoseg

    rows = load_mimoseg(options.dataset, "test", perspective=2)
    row = next((r for r in rows if r["boxes"]), rows[0])
    image = options.dataset.parent / "example.png"
    row["image"].convert("RGB").save(image)
    prompts = "".join(f" --box {','.join(map(str, box))}" for box in row["boxes"])
    prompts += "".join(f" --point {','.join(map(str, point[:2]))}" for point in row["points"])
    question = row["question"].replace("<box>", "the box").replace("<point>", "the point")
    print(f'try: {Path(sys.argv[0])} ask {image} --question "{question}"{prompts} --overlay answer.png')
