"""From one slice to its rows in the built set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from .cases import Case, patient_key
from .questions.perspectives import Sample, write_samples
from .read_case import ShownSlice
from .rle import encode_rle


@dataclass(frozen=True)
class RowSettings:
    """What decides the questions, apart from the slice itself; it can be sent to other processes."""

    entities: dict[str, tuple[str, ...]]
    seed: int = 0
    questions_per_image: int = 8
    perspectives: tuple[int, ...] = (1, 2, 3, 4)
    drafts: Path | None = None
    knowledge: tuple[Path, ...] = ()


def slice_rows(case: Case, shown: ShownSlice, settings: RowSettings) -> Iterator[dict[str, Any]]:
    """The rows of one slice; its questions depend on the settings and the slice alone, not on other cases' order."""
    image_id = hashlib.sha256(f"{case.source}/{case.key}/{shown.number}".encode()).hexdigest()[:16]
    rng = np.random.default_rng([settings.seed, int(image_id, 16)])
    every = {name for names in settings.entities.values() for name in names}
    elsewhere = sorted(every - set(settings.entities[case.modality]))
    samples = write_samples(shown.masks, shown.absent, elsewhere, settings.questions_per_image, rng)
    for number, sample in enumerate(samples):
        yield row_of(case, shown, sample, image_id, number)


def row_of(case: Case, shown: ShownSlice, sample: Sample, image_id: str, number: int) -> dict[str, Any]:
    """One row, in the columns of `schema`."""
    return {
        "id": f"{image_id}-{number}",
        "image": {"bytes": shown.encoded, "path": None},
        "image_id": image_id,
        "size": shown.size,
        "modality": case.modality,
        "source": case.source,
        "patient": patient_key(case),
        "slice": shown.number,
        "sequence": case.sequence or "",
        "spacing_mm": shown.spacing_mm or [],
        "perspective": sample.perspective,
        "question": sample.question,
        "answer": sample.answer,
        "entities": [
            {"phrase": p, "mask": encode_rle(shown.masks[p]), "label": str(case.labels[p])} for p in sample.phrases
        ],
        "points": sample.points,
        "boxes": sample.boxes,
        "template": sample.template,
        "file": case.file,
        "builder": __version__,
    }
