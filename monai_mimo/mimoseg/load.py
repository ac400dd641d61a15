"""Opening a built set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, concatenate_datasets

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
