"""A built set that is written in a moment: squares on dark images, with two questions each, some without masks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from datasets.arrow_writer import ArrowWriter
from PIL import Image

from monai_mimo.mimoseg.encoding import encode_rle
from monai_mimo.mimoseg.load import FEATURES

NAMES = ("liver", "spleen", "left kidney")
SPLITS = {"train": 14, "validation": 5, "test": 2}  # images


def write_set(folder: Path, vqa: bool = True, seed: int = 0) -> Path:
    """A set of `SPLITS`; every fourth image is asked about without masks (`vqa`)."""
    rng = np.random.default_rng(seed)
    for split, images in SPLITS.items():
        (folder / split).mkdir(parents=True)
        writer = ArrowWriter(path=str(folder / split / "data-00000-of-00001.arrow"), features=FEATURES)
        for number in range(images):
            for row in _rows(f"{split}-{number}", rng, without_masks=vqa and number % 4 == 3):
                writer.write(row)
        writer.finalize()
    return folder


def _rows(image_id: str, rng: np.random.Generator, without_masks: bool) -> list[dict[str, Any]]:
    h, w = (48, 64) if rng.random() < 0.5 else (64, 40)
    y, x = rng.integers(4, 20, size=2)
    mask = np.zeros((h, w), dtype=bool)
    mask[y : y + 16, x : x + 14] = True
    pixels = np.where(mask[..., None], 220, rng.integers(0, 60, size=(h, w, 3))).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    name = NAMES[rng.integers(len(NAMES))]
    entities = [{"phrase": name, "mask": encode_rle(mask), "label": "a:1"}]
    base = {
        "image": {"bytes": file.getvalue(), "path": None},
        "image_id": image_id,
        "size": [h, w],
        "modality": "CT" if rng.random() < 0.7 else "MR",
        "source": "squares",
        "patient": image_id,
        "slice": 0,
        "sequence": "",
        "spacing_mm": [],
        "absent": [],
        "points": [],
        "boxes": [],
        "template": "",
        "value": {"kind": "", "answer": ""},
        "file": "",
        "builder": "",
    }
    if without_masks:
        texts = [
            ("Is it bright?", "Yes, it is."),
            ("What modality is this, and what else can be said of it?", base["modality"]),
        ]
        return [
            {**base, "id": f"{image_id}/{n}", "perspective": 0, "question": q, "answer": a, "entities": []}
            for n, (q, a) in enumerate(texts)
        ]
    point = [[int(x) + 5, int(y) + 5, 1]]
    return [
        {
            **base,
            "id": f"{image_id}/{n}",
            "perspective": perspective,
            "question": question,
            "answer": f"It is the <p> {name} </p> <SEG>.",
            "entities": entities,
            "points": point if perspective == 2 else [],
        }
        for n, (perspective, question) in enumerate([(1, f"Where is the {name}?"), (2, "What is at <point>?")])
    ]
