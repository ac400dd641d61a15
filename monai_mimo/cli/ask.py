"""`mimo ask`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..errors import InputError
from .common import add_thresholds, add_weights, check_output, collector_off, parse_numbers


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
    parser = commands.add_parser("ask", help="ask about an image")
    parser.add_argument("image", metavar="IMAGE", help="PNG, JPEG, NIfTI, a DICOM file or the folder of a series")
    parser.add_argument("--question", default="", metavar="TEXT", help="may be left out where a prompt is given")
    parser.add_argument(
        "--point",
        action="append",
        default=[],
        metavar="x,y[,0|1]",
        help="1 inside (default), 0 outside; x,y,z[,0|1] in a volume",
    )
    parser.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="x0,y0,x1,y1",
        help="x1 and y1 are just outside; x0,y0,z0,x1,y1,z1 in a volume",
    )
    parser.add_argument(
        "--scribble",
        type=Path,
        metavar="FILE",
        help="of the image's size: green or white inside, red outside; of a volume labels 1 and 2",
    )
    parser.add_argument("--mask-input", type=Path, metavar="FILE.npy", help="refine this, as --logits wrote it")
    parser.add_argument("--logits", type=Path, metavar="OUT.npy", help="write the first mask for --mask-input")
    parser.add_argument(
        "--slice",
        type=int,
        metavar="K",
        help="of a volume, from 0, inferior to superior; without it all slices are asked",
    )
    parser.add_argument("--plane", choices=["axial", "coronal", "sagittal"], default="axial", help="of a volume")
    parser.add_argument("--channel", type=int, metavar="C", help="of a file with a fourth dimension, from 0")
    parser.add_argument(
        "--series", metavar="N|UID", help="of a DICOM folder that holds several, as the error lists them"
    )
    parser.add_argument("--modality", metavar="M", help="CT, MR, PET ... when the file does not tell")
    add_weights(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--overlay", type=Path, metavar="OUT.png", help="write the image with masks and prompts")
    parser.add_argument(
        "--mask", type=Path, metavar="OUT", help="write a label map: PNG, NIfTI for a volume, TIFF for pages"
    )
    add_thresholds(parser)
    parser.add_argument("--force", action="store_true", help="replace --overlay and --mask files that exist")
    parser.set_defaults(run=ask)


def ask(options: argparse.Namespace) -> None:
    """Answer one question."""
    prompted = options.point or options.box or options.scribble or options.mask_input
    if not options.question.strip() and not prompted:
        raise InputError("--question", "an empty text", "a question in words, or a prompt")
    for out in (options.overlay, options.mask, options.logits):
        if out is not None:
            check_output(out, options.force)

    with collector_off():
        from ..inference import MimoPredictor
        from ..inference.question import read_logits, read_scribbles, save_logits
        from ..inference.safeguards import Thresholds, guard
        from ..transforms import MedicalImage

        thresholds = Thresholds(options.uncertain, options.withhold)
        about = {name: getattr(options, name) for name in ("plane", "modality", "channel", "series")}
        image = MedicalImage.open(options.image, **about)
        whole = options.slice is None and image.affine is not None and image.n_slices > 1
        if not whole:
            image.check_slice(options.slice)
            points = [parse_numbers("--point", text, (2, 3)) for text in options.point]
            boxes = [parse_numbers("--box", text, (4,)) for text in options.box]
            predictor = MimoPredictor.from_pretrained(options.weights)  # imports the language model
    if whole:
        from .ask_volume import ask_volume

        ask_volume(options, image)
        return
    if options.weights is None:
        print("weights: {weights} (preset {preset})".format(**predictor.model_info), file=sys.stderr)
    predictor.set_image(image, options.slice)
    scribbles = read_scribbles(options.scribble) if options.scribble else (None, None)
    logits = read_logits(options.mask_input) if options.mask_input else None
    given = predictor.ask(options.question, points, boxes, scribbles, logits)
    guarded = guard(given, options.question, thresholds)
    answer = guarded.answer
    if options.logits is not None and answer.entities and answer.entities[0].logits is not None:
        save_logits(answer.entities[0].logits, options.logits)

    if options.mask is not None:
        import numpy as np

        labels = np.zeros(image.size, dtype=np.uint8)
        for number, entity in enumerate(answer.entities, start=1):
            labels[entity.mask] = number
        image.save_mask(image.to_file_grid({options.slice or 0: labels}), options.mask)
    if options.overlay is not None or not options.json:
        from ..files import output_errors
        from ..visualize import ansi_answer, overlay, phrase_colors, save_picture

        colors = phrase_colors(len(answer.entities))
    if options.overlay is not None:
        masks = [entity.mask for entity in answer.entities]
        with output_errors(options.overlay):
            save_picture(overlay(image.slice(options.slice), masks, colors, points, boxes), options.overlay)
    for note in answer.notes:
        print(f"note: {image.path.name}: {note}", file=sys.stderr)
    if options.json:
        print(json.dumps(guarded.to_json()))
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
    for notice in guarded.notices:
        print(notice, file=sys.stderr)
