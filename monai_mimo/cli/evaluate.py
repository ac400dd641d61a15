"""`mimo evaluate`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from ..errors import InputError, MimoError, OutputError
from .common import NOTICE, add_weights


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
    parser = commands.add_parser("evaluate", help="measure a model on a built set, or on sets it has not seen")
    parser.add_argument("dataset", nargs="?", type=Path, metavar="DIR", help="a set that `mimo build` wrote")
    parser.add_argument("--split", default="test", metavar="NAME", help="train, validation or test (default)")
    parser.add_argument(
        "--zero-shot",
        action="append",
        default=[],
        metavar="NAME=PATH[,...]",
        help="a held-out set as it was published, or any source of `mimo build`; repeatable",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="a folder for the report")
    add_weights(parser)
    parser.add_argument("--images", type=int, metavar="N", help="only that many images, evenly spread")
    parser.add_argument("--images-per-batch", type=int, default=8, metavar="N", help="default 8")
    parser.add_argument("--max-tokens", type=int, default=64, metavar="N", help="of an answer; default 64")
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the bootstrap; 0: no intervals")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the bootstrap and of held-out questions")
    parser.add_argument(
        "--temperature",
        metavar="T|DIR",
        help="for the scores: a number, or the report of another split that fitted it (default: that of the weights, if any)",
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="on the CPU; or start it by torchrun")
    parser.add_argument("--force", action="store_true", help="replace a report that exists")
    parser.set_defaults(run=run_evaluate)


def run_evaluate(options: argparse.Namespace) -> None:
    """Check what can be checked at once, then work in one or several processes."""
    if options.dataset is None and not options.zero_shot:
        raise InputError("DIR", "no set", "a built set, or --zero-shot NAME=PATH")
    for name, least in (("images", 1), ("images_per_batch", 1), ("max_tokens", 1), ("resamples", 0), ("processes", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise InputError(f"--{name.replace('_', '-')}", str(value), f"{least} or more")
    options.temperature = parse_temperature(options.temperature)
    if not options.out.parent.is_dir():
        raise OutputError(options.out, f"no folder {options.out.parent}", "an existing folder")

    from ..mimoseg import parse_source

    options.zero_shot = [parse_source(text) for text in options.zero_shot]
    if not options.force and all((folder / "metrics.json").exists() for folder in folders(options)):
        raise OutputError(options.out, "a finished report", "a new name, or --force")
    try:
        if options.processes == 1:
            work(0, options)
        else:
            import ignite.distributed as idist
            from torch.multiprocessing.spawn import ProcessExitedException

            try:
                idist.spawn("gloo", one_of_several, (options,), nproc_per_node=options.processes)
            except ProcessExitedException as error:
                raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt:
        print("stopped; the same command resumes from here", file=sys.stderr)
        raise


def usable_device(name: str) -> Any:
    """A `torch.device` on which something can be put.

    Raises:
        InputError: there is none of that name.
    """
    import torch

    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        found = str(error).partition("\n")[0]
        raise InputError("--device", f"{name!r} ({found})", "cpu, or a GPU of this machine such as cuda:0") from error


def folders(options: argparse.Namespace) -> list[Path]:
    """Where reports go: OUT for the built set, OUT/NAME for each held-out one."""
    return [options.out] * (options.dataset is not None) + [options.out / spec.name for spec in options.zero_shot]


def parse_temperature(text: str | None) -> float | None:
    """ "1.5", or the folder of a report, from whose metrics.json the fitted temperature is taken.

    Raises:
        InputError: it is neither.
    """
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        try:
            value = float(json.loads((Path(text) / "metrics.json").read_text())["calibration"]["fitted_temperature"])
        except (OSError, ValueError, KeyError, TypeError):
            value = math.nan
    if not 0 < value < math.inf:
        raise InputError("--temperature", repr(text), "a number above 0, or the folder of a report on another split")
    return value


def one_of_several(local_rank: int, options: argparse.Namespace) -> None:
    """`work`, whose errors are one line, and for the parent an exit code."""
    try:
        work(local_rank, options)
    except MimoError as error:
        print(f"mimo evaluate: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def work(local_rank: int, options: argparse.Namespace) -> None:
    """What each process does."""
    import logging
    import os

    import ignite.distributed as idist
    import torch

    from ..calibration.temperature import load_temperature
    from ..engines import some_images
    from ..evaluation import about_run, evaluate, join_processes, leave_processes
    from ..mimoseg import load_mimoseg
    from ..mimoseg.builder.zero_shot import build_zero_shot, load_zero_shot, published_as
    from ..models import Mimo
    from ..models.default_weights import find_weights

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("ignite").setLevel(logging.WARNING)
    join_processes()
    if options.processes > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.processes))
    device = usable_device(options.device) if options.device else idist.device()
    weights = find_weights(options.weights)
    network = Mimo.from_pretrained(weights).to(device)
    temperature = load_temperature(weights) if options.temperature is None else options.temperature
    if idist.get_rank() == 0:
        for spec in options.zero_shot:
            (options.out / spec.name).mkdir(parents=True, exist_ok=True)
            build_zero_shot(spec, options.out / spec.name / "dataset", seed=options.seed)
    idist.barrier()

    def run(rows: Any, out: Path, dataset: str, split: str) -> dict[str, Any]:
        about = about_run(network, weights, dataset, split)
        if not options.force and (out / "metrics.json").exists():  # before this run of several sets was ended
            return finished_summary(out, about)
        if options.images is not None:
            rows = some_images(rows, options.images)
        return evaluate(
            network,
            weights,
            rows,
            out,
            device=device,
            images_per_batch=options.images_per_batch,
            max_tokens=options.max_tokens,
            resamples=options.resamples,
            seed=options.seed,
            temperature=temperature,
            about=about,
        )

    if options.dataset is not None:
        run(load_mimoseg(options.dataset, options.split), options.out, options.dataset.resolve().name, options.split)
    held_out = []
    for spec in options.zero_shot:
        rows = load_zero_shot(options.out / spec.name / "dataset")
        summary = run(rows, options.out / spec.name, spec.name, "held out")
        held_out.append((spec.name, published_as(rows), summary))
    if idist.get_rank() == 0:
        if held_out:
            write_overview(held_out, options.out)
        print(f"written: {', '.join(str(folder / 'report.html') for folder in folders(options))}")
        print(NOTICE, file=sys.stderr)
    if options.processes == 1:  # `idist.spawn` ends what it began
        leave_processes()


def finished_summary(out: Path, about: dict[str, str]) -> dict[str, Any]:
    """The figures of a report that is there.

    Raises:
        OutputError: it is about something else.
    """
    summary = json.loads((out / "metrics.json").read_text())
    if summary["about"] != about:
        raise OutputError(out, f"a finished report about {summary['about']}", "a new name, or --force")
    return summary


GROUNDING = {"F1": "f1", "Dice": "dice", "IoU": "iou"}
VQA = {"closed accuracy": "closed_accuracy", "open recall": "open_recall"}


def write_overview(held_out: list[tuple[str, Any, dict[str, Any]]], out: Path) -> None:
    """OUT/zero_shot.md and .json: all held-out sets in one table, beside the published number of samples."""
    from ..evaluation.report import without_nan
    from ..files import write_json, write_text
    from ..metrics.table import TextTable, shown

    lines, values = [], {}
    for name, published, summary in held_out:
        is_vqa = bool(summary["vqa"])
        cell, figures = (summary["vqa"]["overall"], VQA) if is_vqa else (summary["overall"], GROUNDING)
        samples = cell["closed"] if is_vqa else cell["samples"]
        shares = [
            shown(cell[field], cell["interval"].get(field)) if field in figures.values() else "-"
            for field in (*GROUNDING.values(), *VQA.values())
        ]
        lines.append([name, f"{published.name}, {published.samples}" if published else "-", str(samples), *shares])
        values[name] = {
            "published": {"set": published.name, "samples": published.samples} if published else None,
            "samples": samples,
            **{field: cell[field] for field in figures.values()},
            "interval": cell["interval"],
        }
    columns = ["", "published", "samples (closed, of VQA)", *GROUNDING, *VQA]
    table = TextTable("Held-out sets", columns, [lines])
    print(table.plain())
    write_text(out / "zero_shot.md", table.markdown() + "\n")
    write_json(out / "zero_shot.json", without_nan(values), indent=2)
