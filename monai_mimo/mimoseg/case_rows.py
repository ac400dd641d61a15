"""From one slice to its rows in the built set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import __version__
from .cases import Case, patient_key
from .questions.perspectives import Sample, write_samples
from .read_case import ShownSlice
from .rle import encode_rle


def slice_rows(
    case: Case, shown: ShownSlice, entities: dict[str, set[str]], seed: int, questions_per_image: int
) -> Iterator[dict[str, Any]]:
    """The rows of one slice; its questions depend on the seed and the slice alone, not on other cases' order."""
    image_id = hashlib.sha256(f"{case.source}/{case.image.name}/{case.patient}/{shown.number}".encode()).hexdigest()[
        :16
    ]
    rng = np.random.default_rng([seed, int(image_id, 16)])
    elsewhere = sorted(set().union(*entities.values()) - entities[case.modality])
    samples = write_samples(shown.masks, shown.absent, elsewhere, questions_per_image, rng)
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
        "absent": sample.absent,
        "points": sample.points,
        "boxes": sample.boxes,
        "template": sample.template,
        "file": case.image.name,
        "builder": __version__,
    }
