"""A small set whose numbers can be counted by hand, with all perspectives.

| image | source, modality | split | rows | masks |
|---|---|---|---|---|
| a | KiTS, CT | train | III kidney; IV kidney and kidney tumor | kidney, kidney tumor |
| b | KiTS, CT | train | III kidney tumor | kidney tumor |
| c | mine, X-ray | validation | I lung; I nothing; II lung; V lung | lung |
| d | mine, X-ray | test | I nothing | - |
| e | questions, not stated | test | VQA | - |
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image

from monai_mimo.mimoseg.encoding import encode_rle
from monai_mimo.mimoseg.load import FEATURES

SIZE = (40, 56)
MASKS = {}
for number, name in enumerate(("kidney", "kidney tumor", "lung")):
    MASKS[name] = np.zeros(SIZE, dtype=bool)
    MASKS[name][4 + 3 * number : 24, 6 + 12 * number : 30 + 10 * number] = True  # they overlap


def picture(name: str) -> bytes:
    pixels = np.random.default_rng(ord(name)).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def row(number: int, image: str, source: str, modality: str, perspective: int, **given: Any) -> dict[str, Any]:
    names = given.pop("names", ())
    told = " and ".join(f"the <p> {name} </p> <SEG>" for name in names)
    return {
        "id": f"{image}-{number}",
        "image": {"bytes": picture(image), "path": None},
        "image_id": image,
        "size": list(SIZE),
        "modality": modality,
        "source": source,
        "patient": f"patient of {image}",
        "slice": -1,
        "sequence": "",
        "spacing_mm": [],
        "perspective": perspective,
        "question": "Where is it?",
        "answer": f"It is {told}. This is why." if names else "It is not there.",
        "entities": [{"phrase": name, "mask": encode_rle(MASKS[name]), "label": "masks.png:1"} for name in names],
        "absent": [],
        "points": [],
        "boxes": [],
        "template": "by hand",
        "value": {"kind": "", "answer": ""},
        "file": f"{image}.png",
        "builder": "0",
    } | given


def measured_row(number: int, image: str, source: str, modality: str) -> dict[str, Any]:
    """A question of perspective V, about the lung."""
    answer = "The <p> lung </p> <SEG> lies in the right half of the image."
    value = {"kind": "left_right", "answer": "right"}
    return row(number, image, source, modality, 5, names=("lung",), answer=answer, value=value)


def splits() -> dict[str, list[dict[str, Any]]]:
    both = ("kidney", "kidney tumor")
    boxes = [[5, 3, 31, 25], [17, 6, 41, 25]]
    asked = "Which of <box> and <box> filters the blood?"
    return {
        "train": [
            row(0, "a", "KiTS", "CT", 3, names=both[:1], question="Which organ filters the blood?"),
            row(1, "a", "KiTS", "CT", 4, names=both, question=asked, boxes=boxes),
            row(0, "b", "KiTS", "CT", 3, names=both[1:]),
        ],
        "validation": [
            row(0, "c", "mine", "X-ray", 1, names=("lung",)),
            row(1, "c", "mine", "X-ray", 1),
            row(2, "c", "mine", "X-ray", 2, names=("lung",), question="What is at <point>?", points=[[40, 15, 1]]),
            measured_row(3, "c", "mine", "X-ray"),
        ],
        "test": [
            row(0, "d", "mine", "X-ray", 1),
            row(0, "e", "questions", "", 0, question="Is it normal?", answer="yes", template="vqa-rad/closed"),
        ],
    }


def datasets() -> dict[str, Dataset]:
    return {split: Dataset.from_list(rows, features=FEATURES) for split, rows in splits().items()}


def write_set(folder: Path) -> Path:
    """The set on disk, as `mimo build` would leave it."""
    for split, rows in datasets().items():
        rows.save_to_disk(folder / split)
    return folder
