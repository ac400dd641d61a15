"""The commands that make a set and hand it on: `mimo phantom`, `build`, `stats`, `export` and `example`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..licences import USES


def add_phantom(commands: argparse._SubParsersAction) -> None:
    """The options of `mimo phantom`."""
    parser = commands.add_parser("phantom", help="draw a labelled phantom data set")
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--patients", type=int, default=24, metavar="N", help="for each modality (default 24)")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.set_defaults(run=phantom)


def phantom(options: argparse.Namespace) -> None:
    """Draw the phantom."""
    from ..phantom import write_phantom

    out = write_phantom(options.out, options.patients, options.seed)
    print(f"phantom of {options.patients} patients for each of eight modalities: {out}")


def add_build(commands: argparse._SubParsersAction) -> None:
    """The options of `mimo build`. Those without a default here have it in `build`, after the config file."""
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
    parser.add_argument(
        "--licence",
        choices=USES[:-1],
        metavar="USE",
        help="only sources whose licence is known to allow it: permissive, non-commercial, research (docs/licences.md)",
    )
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
    parser.set_defaults(run=run_build)


def run_build(options: argparse.Namespace) -> None:
    """Build a data set and print what was made."""
    from ..mimoseg import build, by_licence, discover, parse_source
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
    if options.licence is not None:
        specs, refused = by_licence(specs, options.licence)
        for name, licence in refused:
            print(f"left out: {name} (licence: {licence})", file=sys.stderr)
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
    report = build(
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


def add_stats(commands: argparse._SubParsersAction) -> None:
    """The options of `mimo stats`."""
    parser = commands.add_parser("stats", help="count what is in a built set, with tables and charts")
    parser.add_argument("dataset", metavar="DIR", type=Path, help="a set that `mimo build` wrote")
    parser.add_argument("--out", type=Path, metavar="OUT", help="a new folder (default DIR/statistics)")
    parser.add_argument("--force", action="store_true", help="replace the folder if `mimo stats` wrote it")
    parser.set_defaults(run=stats)


def stats(options: argparse.Namespace) -> None:
    """Print the tables and write them with the charts."""
    from ..mimoseg.describe.tables import licence_table, tables, write_statistics

    out = options.out or options.dataset / "statistics"
    statistics = write_statistics(options.dataset, out, force=options.force)
    for table in [*tables(statistics), licence_table(options.dataset, statistics)]:
        print(f"{table.title}\n\n{table.markdown()}\n")
    print(f"written: {out}")


def add_export(commands: argparse._SubParsersAction) -> None:
    """The options of `mimo export`."""
    parser = commands.add_parser("export", help="write a built set for other tools")
    parser.add_argument("dataset", metavar="DIR", type=Path, help="a set that `mimo build` wrote")
    parser.add_argument("--format", required=True, choices=["datalist", "llava", "coco"], help="MONAI, LLaVA or COCO")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="a new folder")
    parser.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> None:
    """Write the set in another format."""
    from ..mimoseg.export import export

    export(options.dataset, options.format, options.out)
    print(f"written: {options.out}")


def add_example(commands: argparse._SubParsersAction) -> None:
    """The options of `mimo example`."""
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
