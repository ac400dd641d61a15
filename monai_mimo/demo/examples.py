"""Images to begin with: phantoms drawn on the spot, or what lies in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..phantom.writer import write_pictures, write_volume
from ..transforms.reading import PICTURES, VOLUMES, has_suffix

MOST = 50


@dataclass(frozen=True)
class Example:
    """`files` of one image, with a question to begin with and, when the image does not tell it, its modality."""

    name: str
    files: Sequence[Path]
    question: str
    modality: str | None = None


QUESTIONS = {
    "CT": "Segment the liver and the spleen.",
    "MR": "Where is the tumor?",
    "X-ray": "Segment the left lung and the right lung.",
}


def phantom_examples(folder: Path) -> list[Example]:
    """One phantom of each of three modalities, written into `folder`."""
    examples = []
    for number, (modality, question) in enumerate(QUESTIONS.items()):
        write = write_pictures if modality == "X-ray" else write_volume
        [case, *_] = write(folder, modality, 0, np.random.default_rng([7, number]), 7)
        examples.append(Example(f"{modality} (phantom)", [folder / case["image"]], question, modality))
    return examples


def folder_examples(folder: Path) -> list[Example]:
    """The images directly in `folder`, and each folder in it as a DICOM series; the first fifty by name.

    Raises:
        InputError: there is none.
    """
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "a folder of images")
    examples = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
            if not files:
                continue
        elif has_suffix(path, (*PICTURES, *VOLUMES, ".dcm")):
            files = [path]
        else:
            continue
        examples.append(Example(path.name, files, ""))
    if not examples:
        raise InputError(folder, "no image", "PNG, JPEG, NIfTI or DICOM files, or folders with a DICOM series each")
    return examples[:MOST]
