"""The command `mimo`. What a user can mend ends with one line on stderr and exit code 2."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from .errors import InputError, MimoError, OutputError

NOTICE = "Research use only; not for diagnosis."


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

    ask_parser = commands.add_parser("ask", help="ask about an image")
    ask_parser.add_argument("image", metavar="IMAGE", help="PNG, JPEG, NIfTI, a DICOM file or the folder of a series")
    ask_parser.add_argument("--question", required=True, metavar="TEXT")
    ask_parser.add_argument(
        "--point", action="append", default=[], metavar="x,y[,0|1]", help="1 inside (default), 0 outside"
    )
    ask_parser.add_argument(
        "--box", action="append", default=[], metavar="x0,y0,x1,y1", help="x1 and y1 are just outside"
    )
    ask_parser.add_argument("--slice", type=int, metavar="K", help="of a volume, from 0, inferior to superior")
    ask_parser.add_argument("--plane", choices=["axial", "coronal", "sagittal"], default="axial", help="of a volume")
    ask_parser.add_argument("--modality", metavar="M", help="CT, MR, PET ... when the file does not tell")
    ask_parser.add_argument("--weights", metavar="DIR", help="instead of the default ones")
    ask_parser.add_argument("--json", action="store_true", help="print one JSON object")
    ask_parser.add_argument("--overlay", type=Path, metavar="OUT.png", help="write the image with masks and prompts")
    ask_parser.add_argument("--mask", type=Path, metavar="OUT", help="write a label map: PNG, or NIfTI for a volume")
    ask_parser.add_argument("--force", action="store_true", help="replace --overlay and --mask files that exist")
    ask_parser.set_defaults(run=ask)

    phantom_parser = commands.add_parser("phantom", help="draw a labelled phantom data set")
    phantom_parser.add_argument("out", metavar="OUT", type=Path)
    phantom_parser.add_argument("--patients", type=int, default=24, metavar="N", help="for each modality (default 24)")
    phantom_parser.add_argument("--seed", type=int, default=0, metavar="S")
    phantom_parser.set_defaults(run=phantom)

    build_parser = commands.add_parser("build", help="build a training set from source sets")
    build_parser.add_argument(
        "--source", action="append", default=[], metavar="NAME=PATH[,label=ENTITY][,modality=M]", help="repeatable"
    )
    build_parser.add_argument("--data", type=Path, metavar="DIR", help="take every labelled set found in DIR")
    build_parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    build_parser.add_argument(
        "--split", default="auto", metavar="A:B:C", help="by patient; auto: 80:10:10, or 99:0.5:0.5 if large"
    )
    build_parser.add_argument("--slices-per-volume", type=int, default=6, metavar="N")
    build_parser.add_argument("--questions-per-image", type=int, default=8, metavar="N")
    build_parser.add_argument("--seed", type=int, default=0, metavar="S")
    build_parser.set_defaults(run=build)

    use_parser = commands.add_parser("use", help="make a weights folder the default of `mimo ask`")
    use_parser.add_argument("weights", metavar="DIR", type=Path)
    use_parser.set_defaults(run=use)

    example_parser = commands.add_parser("example", help="print a `mimo ask` line for a built set")
    example_parser.add_argument("dataset", metavar="DIR", type=Path)
    example_parser.set_defaults(run=example)
    return parser


def ask(options: argparse.Namespace) -> None:
    """Answer one question."""
    points = [numbers("--point", text, (2, 3)) for text in options.point]
    boxes = [numbers("--box", text, (4,)) for text in options.box]
    if not options.question.strip():
        raise InputError("--question", "an empty text", "a question in words")
    for out in (options.overlay, options.mask):
        if out is not None:
            check_output(out, options.force)

    from .inference import MimoPredictor
    from .transforms import MedicalImage

    image = MedicalImage.open(options.image, plane=options.plane, modality=options.modality)
    image.check_slice(options.slice)
    predictor = MimoPredictor.from_pretrained(options.weights)
    predictor.set_image(image, options.slice)
    answer = predictor.ask(options.question, points, boxes)

    if options.mask is not None:
        import numpy as np

        labels = np.zeros(image.size, dtype=np.uint8)
        for number, entity in enumerate(answer.entities, start=1):
            labels[entity.mask] = number
        image.save_mask(image.to_file_grid({options.slice or 0: labels}), options.mask)
    if options.overlay is not None or not options.json:
        from .visualize import ansi_answer, overlay, phrase_colors, save_picture

        colors = phrase_colors(len(answer.entities))
    if options.overlay is not None:
        masks = [entity.mask for entity in answer.entities]
        try:
            save_picture(overlay(image.slice(options.slice), masks, colors, points, boxes), options.overlay)
        except OSError as error:
            raise OutputError(options.overlay, f"{error.strerror or error}", "a place that can be written") from error
    if options.json:
        print(json.dumps(answer.to_json()))
        return
    print(ansi_answer(answer.text, [e.span for e in answer.entities], colors, enabled=sys.stdout.isatty()))
    for number, entity in enumerate(answer.entities, start=1):
        area = f"{entity.mask.sum()} px"
        if answer.spacing_mm is not None:
            area += f", {entity.mask.sum() * answer.spacing_mm[0] * answer.spacing_mm[1]:.0f} mm2"
        label = f"label {number} in {options.mask}, " if options.mask else ""
        print(f"  {entity.phrase}: {label}box {entity.box}, {area}, score {entity.score:.2f}")
    for warning in answer.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(NOTICE, file=sys.stderr)


def phantom(options: argparse.Namespace) -> None:
    """Draw the phantom."""
    from .phantom import write_phantom

    out = write_phantom(options.out, options.patients, options.seed)
    print(f"phantom of {options.patients} patients for each of eight modalities: {out}")


def build(options: argparse.Namespace) -> None:
    """Build a data set and say what was made."""
    from .mimoseg import build as build_set
    from .mimoseg import discover, parse_source

    specs = [parse_source(text) for text in options.source]
    if options.data is not None:
        found, skipped = discover(options.data)
        specs += found
        for name, reason in skipped:
            print(f"left out: {name} ({reason})", file=sys.stderr)
    if not specs:
        raise InputError("--source", "none", "--source NAME=PATH or --data DIR")
    report = build_set(
        specs,
        options.out,
        ratio=options.split,
        seed=options.seed,
        slices_per_volume=options.slices_per_volume,
        questions_per_image=options.questions_per_image,
    )
    print(
        f"{options.out}: split {report['split']} by patient ({', '.join(f'{n} {s}' for s, n in report['patients'].items())})"
    )
    for split, cells in report["rows"].items():
        print(f"  {split}: {sum(cells.values())} questions")


def use(options: argparse.Namespace) -> None:
    """Copy a weights folder to where `mimo ask` looks for it."""
    import shutil
    import tempfile

    from .models.weights import default_weights_dir, load_weights, replace_folder

    load_weights(options.weights)  # refuse a damaged one
    target = default_weights_dir()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        new = Path(folder) / target.name
        shutil.copytree(options.weights, new)
        replace_folder(new, target)
    print(f"default weights: {target} (from {options.weights})")


def example(options: argparse.Namespace) -> None:
    """Save one test image beside the data set and print a question about it."""
    from .mimoseg import load_mimoseg

    rows = load_mimoseg(options.dataset, "test", perspective=2)
    row = next((r for r in rows if r["boxes"]), rows[0])
    image = options.dataset.parent / "example.png"
    row["image"].convert("RGB").save(image)
    prompts = "".join(f" --box {','.join(map(str, box))}" for box in row["boxes"])
    prompts += "".join(f" --point {','.join(map(str, point[:2]))}" for point in row["points"])
    question = row["question"].replace("<box>", "the box").replace("<point>", "the point")
    print(f'try: {Path(sys.argv[0])} ask {image} --question "{question}"{prompts} --overlay answer.png')


def numbers(option: str, text: str, counts: tuple[int, ...]) -> tuple[float, ...]:
    """ "1,2,3" -> (1.0, 2.0, 3.0).

    Raises:
        InputError: these are not as many finite numbers as one of `counts`.
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in counts or not all(abs(v) < 1e9 for v in values):
        expected = " or ".join(str(count) for count in counts)
        raise InputError(option, repr(text), f"{expected} numbers with commas between")
    return values


def check_output(path: Path, force: bool) -> None:
    """Refuse before the work starts what could not be written after it.

    Raises:
        OutputError: the file exists (and is not to be replaced), or its folder does not.
    """
    if path.exists() and not force:
        raise OutputError(path, "an existing file", "a new name, or --force")
    if not path.parent.is_dir():
        raise OutputError(path, f"no folder {path.parent}", "an existing folder")


if __name__ == "__main__":
    sys.exit(main())
