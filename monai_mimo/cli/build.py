"""`mimo build`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from ..errors import InputError


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options. Those without a default here have it in `build`, after the config file."""
    parser = commands.add_parser("build", help="build a training set from source sets")
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="NAME=PATH[,label=ENTITY][,modality=M][,record=FILE]",
        help="repeatable",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="take every labelled set found in DIR")
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML with sources, their limits, and settings")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--split", metavar="A:B:C", help="by patient; auto (default): 80:10:10, or 99:0.5:0.5 if large")
    parser.add_argument(
        "--allow-empty-splits",
        action="store_true",
        default=None,
        help="continue even if no patient is left for validation or test",
    )
    parser.add_argument("--slices-per-volume", type=int, metavar="N", help="default 6")
    parser.add_argument("--questions-per-image", type=int, metavar="N", help="default 8")
    parser.add_argument("--perspectives", metavar="1,2,3,4,5", help="which are made (default: all)")
    parser.add_argument("--drafts", type=Path, metavar="FILE", help="prepared questions of perspectives III and IV")
    parser.add_argument(
        "--knowledge", type=Path, action="append", metavar="FILE", help="your own knowledge entries; repeatable"
    )
    parser.add_argument("--seed", type=int, metavar="S", help="default 0")
    parser.add_argument(
        "--workers", type=int, metavar="N", default=os.cpu_count() or 1, help="processes (default: one for each core)"
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="work on this Ray cluster: HOST:PORT, ray://HOST:PORT, auto")
    parser.add_argument("--strict", action="store_true", help="stop at the first case that fails")
    parser.set_defaults(run=build)


def build(options: argparse.Namespace) -> None:
    """Build a data set and print what was made."""
    from ..mimoseg import build as build_set
    from ..mimoseg import discover, parse_source
    from ..mimoseg.builder.config_file import BuildConfig, load_config, spec_and_use

    begin = time.monotonic()
    config = load_config(options.config) if options.config is not None else BuildConfig()
    listed = [spec_and_use(entry) for entry in config.sources]
    specs = [spec for spec, _ in listed] + [parse_source(text) for text in options.source]
    if options.data is not None:
        found, skipped = discover(options.data)
        specs += found
        for name, reason in skipped:
            print(f"left out: {name} ({reason})", file=sys.stderr)
    if not specs:
        raise InputError("--source", "none", "--source NAME=PATH, --data DIR or --config FILE")
    given: dict[str, Any] = {
        "ratio": options.split or config.split,
        "allow_empty_splits": options.allow_empty_splits or config.allow_empty_splits,
        "seed": options.seed if options.seed is not None else config.seed,
        "slices_per_volume": options.slices_per_volume or config.slices_per_volume,
        "questions_per_image": options.questions_per_image or config.questions_per_image,
        "perspectives": parse_perspectives(options.perspectives) if options.perspectives else config.perspectives,
        "drafts": options.drafts or config.drafts,
        "knowledge": options.knowledge or config.knowledge,
    }
    report = build_set(
        specs,
        options.out,
        uses={spec.name: use for spec, use in listed},
        workers=options.workers,
        ray=options.ray,
        strict=options.strict,
        **{name: value for name, value in given.items() if value is not None},
    )
    patients = ", ".join(f"{n} {split}" for split, n in report["patients"].items())
    print(f"{options.out}: split {report['split']} by patient ({patients}), {time.monotonic() - begin:.0f} s")
    for split, cells in report["rows"].items():
        print(f"  {split}: {sum(cells.values())} questions")
    if report["failed"]:
        print(f"  {len(report['failed'])} cases left out; dataset.json says why")


def parse_perspectives(text: str) -> list[int]:
    """ "1,2" -> [1, 2].

    Raises:
        InputError: it is something else.
    """
    parts = text.split(",")
    if not all(part in ("1", "2", "3", "4", "5") for part in parts):
        raise InputError("--perspectives", repr(text), "some of 1,2,3,4,5")
    return [int(part) for part in parts]
