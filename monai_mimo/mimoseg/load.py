"""A built set: opening it, and its columns; one row is one question about one image.

| column | meaning |
|---|---|
| id | unique in the set |
| image | the picture as it is shown: the source's own PNG or JPEG bytes, or a PNG of the slice |
| image_id | the same for all questions about one image |
| size | [h, w] in pixels |
| modality, source | e.g. "CT"; the name of the source set |
| patient | a hash of source (or its cohort) and patient |
| slice | its number in the volume in display orientation; -1 for a picture |
| spacing_mm | [row, column] in millimetres, empty when unknown |
| sequence | of MR or perfusion images, e.g. "FLAIR"; empty when there is none |
| perspective | 1 instruction, 2 visual clue, 3 reasoning, 4 reasoning on a visual clue, 5 measured; 0 VQA without masks |
| question | `<point>` and `<box>` stand where a prompt is referred to |
| answer | `<p> phrase </p> <SEG>` for each entity |
| entities | phrase and mask (COCO RLE, size [h, w]) of each `<SEG>` in order; `label`: its place, "FILE:VALUE" |
| absent | entities that the question names and that are not there |
| points | [x, y, label], label 1 inside and 0 outside, in the order of the `<point>` markers |
| boxes | [x0, y0, x1, y1], inclusive-exclusive, in the order of the `<box>` markers |
| template | which template the texts come from, "section/question number/answer number", or for III and IV the writer |
| value | of perspective 5: `kind` of the question, and the right `answer` as text (`questions.templates.parse_value`) |
| file | path of the image below the folder of the source set |
| builder | the version of monai-mimo that wrote the row |
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, Features, Image, List, Value, concatenate_datasets

from ..errors import DataError
from .categories import SPLITS
from .review.decisions import apply_decisions


def load_mimoseg(
    path: str | Path, split: str = "train", perspective: int | None = None, *, reviewed: bool = True
) -> Dataset:
    """The rows of a set that `mimo build` wrote, memory-mapped. `schema` documents the columns.

    Args:
        split: train, validation or test.
        perspective: keep only this one.
        reviewed: use the decisions of `mimo review`, where there are any: without dropped rows, with edited texts.

    Raises:
        DataError: there is no built set, or it has no such split.
    """
    folder = Path(path) / split
    if split not in SPLITS:
        raise DataError(path, f"split {split!r}", f"one of {', '.join(SPLITS)}")
    files = sorted(folder.glob("data-*.arrow"))
    if not files:
        raise DataError(path, f"no {split}/data-*.arrow", "a data set that `mimo build` wrote")
    rows = concatenate_datasets([Dataset.from_file(str(file)) for file in files])
    if reviewed:
        rows = apply_decisions(rows, path)
    if perspective is not None:
        perspectives = rows.select_columns("perspective").with_format("arrow")[:]["perspective"]
        rows = rows.select(np.flatnonzero(pc.equal(perspectives, perspective)))
    return rows


FEATURES = Features(
    {
        "id": Value("string"),
        "image": Image(),
        "image_id": Value("string"),
        "size": List(Value("int32")),
        "modality": Value("string"),
        "source": Value("string"),
        "patient": Value("string"),
        "slice": Value("int32"),
        "sequence": Value("string"),
        "spacing_mm": List(Value("float32")),
        "perspective": Value("int8"),
        "question": Value("string"),
        "answer": Value("string"),
        "entities": List(
            {
                "phrase": Value("string"),
                "mask": {"size": List(Value("int32")), "counts": Value("string")},
                "label": Value("string"),
            }
        ),
        "absent": List(Value("string")),
        "points": List(List(Value("int32"))),
        "boxes": List(List(Value("int32"))),
        "template": Value("string"),
        "value": {"kind": Value("string"), "answer": Value("string")},
        "file": Value("string"),
        "builder": Value("string"),
    }
)
