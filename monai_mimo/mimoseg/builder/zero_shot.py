"""Held-out sets, which no training has seen: all of a segmentation set, and the published test questions of a VQA set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml
from datasets import Dataset

from ...errors import DataError
from ..load import load_mimoseg
from ..sources.cases import SourceSpec
from .build import build

QUESTIONS_PER_IMAGE = 2  # one of perspective I, one of II


@dataclass(frozen=True)
class PublishedSet:
    """A row of the published table: task "segmentation" or "vqa", how many samples, and what its rows have in common."""

    task: str
    name: str
    samples: int
    modality: str = ""
    layout: str = ""


def published_sets() -> list[PublishedSet]:
    """The published table, in its order."""
    text = (Path(__file__).parent / "zero_shot.yaml").read_text()
    return [PublishedSet(**entry) for entry in yaml.safe_load(text)]


def published_as(rows: Dataset) -> PublishedSet | None:
    """The row of the published table that a held-out set stands for, if any: the VQA set in whose layout it came, or the
    segmentation set of its modality."""
    first = rows.select_columns(["perspective", "modality", "template"])[0]
    layout = first["template"].partition("/")[0] if first["perspective"] == 0 else None
    return next(
        (s for s in published_sets() if (s.layout == layout if layout else s.modality == first["modality"])), None
    )


def build_zero_shot(spec: SourceSpec, out: Path, *, seed: int = 0, progress: bool = True) -> Path:
    """Build a held-out set for evaluation in `out`, unless that was done before; see `load_zero_shot`.

    Args:
        spec: a set in any layout that `mimo build` reads.

    Raises:
        DataError, InputError, OutputError: see `build`.
    """
    if not (out / "dataset.json").exists():
        build(
            [spec],
            out,
            ratio="1:0:0",  # nobody is held back: what has no published test part is tested on as a whole
            seed=seed,
            questions_per_image=QUESTIONS_PER_IMAGE,
            perspectives=(1, 2),
            progress=progress,
        )
    return out


def load_zero_shot(path: Path) -> Dataset:
    """The test questions of a set that `build_zero_shot` wrote: its published test part, or all of it when it has none.

    Raises:
        DataError: there is no question.
    """
    for split in ("test", "train"):
        try:
            rows = load_mimoseg(path, split)
        except DataError:
            continue
        if len(rows):
            return rows
    raise DataError(path, "no question", "a held-out set with images")
