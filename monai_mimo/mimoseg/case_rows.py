"""From one slice to its rows in the built set."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from .. import __version__
from ..files import digest
from .cases import Case, patient_key
from .catalogue.plausible import safely_absent, uncertain
from .catalogue.vocabulary import vocabulary
from .numerals import MEASURED
from .questions.measured import Scene, measured
from .questions.perspectives import Sample, instructions, visual_clues
from .questions.pool import draft_pool, is_known
from .questions.reasoning import reasoning
from .questions.settings import RowSettings
from .read_case import ShownSlice
from .rle import encode_rle


def slice_rows(case: Case, shown: ShownSlice, settings: RowSettings) -> Iterator[dict[str, Any]]:
    """The rows of one slice; its questions depend on the settings and the slice alone, not on other cases' order."""
    image_id = digest(f"{case.source}/{case.key}/{shown.number}")[:16]
    rng = np.random.default_rng([settings.seed, int(image_id, 16)])
    codes: dict[str, dict[str, Any]] = {}
    for number, sample in enumerate(slice_samples(case, shown, settings, rng)):
        for phrase in sample.phrases:
            if phrase not in codes:  # many rows ask for the same mask
                codes[phrase] = encode_rle(shown.masks[phrase])
        yield row_of(case, shown, sample, codes, image_id, number)


def slice_samples(case: Case, shown: ShownSlice, settings: RowSettings, rng: np.random.Generator) -> Iterator[Sample]:
    """The questions about one slice, perspective by perspective; those of V are drawn apart, and change no other."""
    [measuring] = rng.spawn(1)
    wanted = set(case.perspectives) & set(settings.perspectives)
    share = max(1, settings.questions_per_image // max(1, len(wanted)))
    masks = shown.masks
    here = [name for name in shown.absent if name not in uncertain(case.source)]
    if 1 in wanted:
        yield from instructions(masks, here, names_elsewhere(case, settings, rng), share, rng)
    if 2 in wanted:
        yield from visual_clues(masks, share, rng)
    pool = partial(draft_pool, settings=settings)
    known = [name for name in masks if is_known(name, settings)]
    for perspective in sorted(wanted & {3, 4}):
        yield from reasoning(masks, known, perspective, share, pool, rng)
    if MEASURED in settings.perspectives:
        elsewhere = safely_absent(case.source, case.labels, case.modality, labelled_names(settings))
        scene = Scene(masks, case.modality, here, elsewhere, shown.spacing_mm)
        yield from measured(scene, max(1, settings.questions_per_image // (2 if wanted else 1)), measuring)


def labelled_names(settings: RowSettings) -> set[str]:
    """What the sources of a build label."""
    return {name for names in settings.entities.values() for name in names}


def names_elsewhere(case: Case, settings: RowSettings, rng: np.random.Generator) -> list[str]:
    """Names of what the image cannot show: those that some source labels, and as many others of the vocabulary."""
    labelled = labelled_names(settings)
    known = safely_absent(case.source, case.labels, case.modality, labelled)
    others = safely_absent(case.source, case.labels, case.modality, vocabulary().keys() - labelled)
    count = min(len(others), max(len(known), 1))
    return known + [others[i] for i in sorted(rng.choice(len(others), size=count, replace=False))]


def row_of(
    case: Case, shown: ShownSlice, sample: Sample, codes: dict[str, dict[str, Any]], image_id: str, number: int
) -> dict[str, Any]:
    """One row, in the columns of `schema`. `codes` has the mask of each phrase."""
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
        "entities": [{"phrase": p, "mask": codes[p], "label": str(case.labels[p])} for p in sample.phrases],
        "absent": sample.absent,
        "points": sample.points,
        "boxes": sample.boxes,
        "template": sample.template,
        "value": dict(zip(("kind", "answer"), sample.value)),
        "file": case.file,
        "builder": __version__,
    }
