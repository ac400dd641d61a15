"""Opening a built set."""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset, load_from_disk

from ..errors import DataError
from .review.decisions import apply_decisions
from .splits import SPLITS


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
    if not folder.is_dir():
        raise DataError(path, f"no {split}/", "a data set that `mimo build` wrote")
    rows = load_from_disk(folder)
    if reviewed:
        rows = apply_decisions(rows, path)
    if perspective is not None:
        rows = rows.select([i for i, p in enumerate(rows["perspective"]) if p == perspective])
    return rows
