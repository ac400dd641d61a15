"""`mimo ask` about a whole volume: no slice was chosen."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .common import check_output, parse_numbers

if TYPE_CHECKING:
    import numpy as np

    from ..inference.volume_answer import VolumeAnswer
    from ..transforms import MedicalImage


def ask_volume(options: argparse.Namespace, image: MedicalImage) -> None:
    """Answer one question about all slices."""
    import numpy as np
    from tqdm import tqdm

    from ..inference import MimoPredictor
    from ..inference.safeguards import Thresholds, guard
    from ..inference.volume_answer import VolumeAnswer
    from ..transforms.reading import read_grid
    from ..visualize import ansi_answer, phrase_colors

    if options.mask_input is not None or options.logits is not None:
        raise InputError("--mask-input and --logits", "a volume without a slice", "--slice with them")
    points = [parse_numbers("--point", text, (3, 4)) for text in options.point]
    boxes = [parse_numbers("--box", text, (6,)) for text in options.box]
    thresholds = Thresholds(options.uncertain, options.withhold)
    scribbles = None if options.scribble is None else np.asarray(read_grid(options.scribble).values)
    predictor = MimoPredictor.from_pretrained(options.weights)
    predictor.set_volume(image)
    with tqdm(total=image.n_slices, unit="slice", disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.update(done - bar.n)

        given = predictor.ask_volume(options.question, points, boxes, scribbles, progress=progress)
    guarded = guard(given, options.question, thresholds)
    answer = guarded.answer
    assert isinstance(answer, VolumeAnswer)
    if options.mask is not None:
        for path, labels in _label_maps(answer, image, options.mask):
            if path != options.mask:
                check_output(path, options.force)
            image.save_mask(labels, path)
    colors = phrase_colors(len(answer.entities))
    if options.overlay is not None:
        from ..files import output_errors
        from ..visualize import save_picture

        with output_errors(options.overlay):
            save_picture(contact_sheet(answer, image), options.overlay)
    for note in answer.notes:
        print(f"note: {image.path.name}: {note}", file=sys.stderr)
    if options.json:
        print(json.dumps(guarded.to_json()))
        return
    print(ansi_answer(answer.text, [e.span for e in answer.entities], colors, enabled=sys.stdout.isatty()))
    for entity in answer.entities:
        print(f"  {entity.phrase}: {entity.mask.sum()} voxels, score {entity.score:.2f}")
    for line in [*answer.warnings, *guarded.notices]:
        print(line, file=sys.stderr)


def _label_maps(answer: VolumeAnswer, image: MedicalImage, out: Path) -> list[tuple[Path, np.ndarray]]:
    """One label map, 1 for the first phrase, or a file for each phrase where masks overlap: OUT-1.nii.gz, OUT-2.nii.gz ..."""
    import numpy as np

    masks = [e.mask for e in answer.entities]
    labels = np.zeros(image.shape, dtype=np.uint8)
    for number, mask in enumerate(masks, start=1):
        if (labels[mask] > 0).any():
            name, dot, suffix = out.name.partition(".")
            files = [out.with_name(f"{name}-{n}{dot}{suffix}") for n in range(1, len(masks) + 1)]
            return [(path, m.astype(np.uint8)) for path, m in zip(files, masks)]
        labels[mask] = number
    return [(out, labels)]


def contact_sheet(answer: VolumeAnswer, image: MedicalImage, columns: int = 4, shown: int = 12) -> np.ndarray:
    """Slices evenly spread over what was found, then the three planes through its largest sections: uint8 [H, W, 3]."""
    import numpy as np
    from PIL import Image

    from ..transforms import MedicalImage
    from ..visualize import overlay, phrase_colors

    masks = [e.mask for e in answer.entities]
    colors = phrase_colors(len(masks))
    union = np.any(masks, axis=0) if masks else np.ones(image.shape, dtype=bool)
    tiles: list[np.ndarray] = []
    for plane in (image.plane, "axial", "coronal", "sagittal"):
        view = image if plane == image.plane else MedicalImage(image.grid, image.path, plane, image.modality)
        areas = view.to_display(union).sum((1, 2))
        first = not tiles
        held = np.flatnonzero(areas)
        numbers = held[np.unique(np.linspace(0, len(held) - 1, min(shown, len(held))).astype(int))]
        frames = [view.to_display(m) for m in masks]
        for number in numbers if first else [areas.argmax()]:
            drawn = overlay(view.slice(int(number)), [f[number] for f in frames], colors)
            tile = Image.new("RGB", (256, 256))
            picture = Image.fromarray(drawn)
            picture.thumbnail((256, 256))
            tile.paste(picture)
            tiles.append(np.asarray(tile))
    while len(tiles) % columns:
        tiles.append(np.zeros((256, 256, 3), dtype=np.uint8))
    rows = [np.concatenate(tiles[n : n + columns], axis=1) for n in range(0, len(tiles), columns)]
    return np.concatenate(rows)
