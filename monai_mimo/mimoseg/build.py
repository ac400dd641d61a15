"""`mimo build`: source sets -> rows of questions and answers, split by patient."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, disable_progress_bars, enable_progress_bars
from datasets.arrow_writer import ArrowWriter
from tqdm import tqdm

from .. import __version__
from ..errors import DataError, OutputError
from .perspectives import Sample, write_samples
from .read_case import ShownSlice, read_case
from .rle import encode_rle
from .schema import FEATURES
from .sources import Case, Source, SourceSpec, open_source, patient_key
from .splits import LARGE_SET, PUBLISHED, SMALL, SPLITS, parse_ratio, split_patients

REPORT = "dataset.json"


def build(
    specs: Sequence[SourceSpec],
    out: str | Path,
    *,
    ratio: str = "auto",
    seed: int = 0,
    slices_per_volume: int = 6,
    questions_per_image: int = 8,
    progress: bool = True,
) -> dict[str, Any]:
    """Build a data set and return its report, which is also written to OUT/dataset.json.

    Args:
        specs: the source sets.
        out: a folder that does not exist yet.
        ratio: train:validation:test, or "auto" for the published one for large sets and 80:10:10 for small ones.
        seed: decides split, questions and prompts.
        slices_per_volume: the most slices of a volume that are asked about.
        questions_per_image: about how many rows an image gives, half of each perspective.

    Raises:
        DataError, InputError: a source cannot be used; nothing is written.
        OutputError: `out` exists or cannot be written.
    """
    out = Path(out)
    if out.exists():
        raise OutputError(out, "an existing path", "a new folder for the data set")
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise DataError("sources", f"two of the name {max(names, key=names.count)!r}", "a name for each")
    sources = [open_source(spec) for spec in specs]
    cases = [case for source in sources for case in source.cases]
    if ratio == "auto":
        volumes = sum(not case.image.is_file() or case.image.name.endswith((".nii", ".nii.gz")) for case in cases)
        rows = (len(cases) + volumes * (slices_per_volume - 1)) * questions_per_image
        ratio = PUBLISHED if rows > LARGE_SET else SMALL
    split_of = split_cases(cases, ratio, seed)
    entities = entities_by_modality(cases)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
            new = Path(folder) / out.name
            counts: dict[str, Counter] = {}
            with tqdm(total=len(cases), desc="building", unit="case", disable=not progress) as bar:
                for split in SPLITS:
                    chosen = [case for case in cases if split_of[patient_key(case)] == split]
                    counts[split] = write_split(
                        chosen, new / split, Path(folder), entities, seed, slices_per_volume, questions_per_image, bar
                    )
            report = make_report(sources, split_of, counts, ratio, seed)
            (new / REPORT).write_text(json.dumps(report, indent=2))
            os.rename(new, out)
    except OSError as error:
        raise OutputError(out, f"{error.strerror or error}", "a place that can be written") from error
    return report


def split_cases(cases: Sequence[Case], ratio: str, seed: int) -> dict[str, str]:
    """Split of each patient key, decided within each source and modality so that every split sees all of them."""
    groups: dict[tuple[str, str], list[str]] = {}
    for case in cases:
        groups.setdefault((case.source, case.modality), []).append(patient_key(case))
    fractions = parse_ratio(ratio)
    return {
        patient: split for group in groups.values() for patient, split in split_patients(group, fractions, seed).items()
    }


def entities_by_modality(cases: Sequence[Case]) -> dict[str, set[str]]:
    """Every entity that some source labels, by modality."""
    entities: dict[str, set[str]] = {}
    for case in cases:
        entities.setdefault(case.modality, set()).update(case.labels)
    return entities


def write_split(
    cases: Sequence[Case],
    folder: Path,
    cache: Path,
    entities: dict[str, set[str]],
    seed: int,
    slices_per_volume: int,
    questions_per_image: int,
    bar: tqdm,
) -> Counter:
    """Write one split, one case at a time, and count its rows by (modality, perspective)."""
    counts: Counter = Counter()
    with ArrowWriter(features=FEATURES, path=str(cache / "rows.arrow")) as writer:
        for case in cases:
            for shown in read_case(case, slices_per_volume):
                for row in slice_rows(case, shown, entities, seed, questions_per_image):
                    counts[row["modality"], row["perspective"]] += 1
                    writer.write(FEATURES.encode_example(row))
            bar.update()
        writer.finalize()
    disable_progress_bars()
    try:
        Dataset.from_file(str(cache / "rows.arrow")).save_to_disk(folder)
    finally:
        enable_progress_bars()
    return counts


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
        "spacing_mm": shown.spacing_mm or [],
        "perspective": sample.perspective,
        "question": sample.question,
        "answer": sample.answer,
        "entities": [{"phrase": p, "mask": encode_rle(shown.masks[p])} for p in sample.phrases],
        "points": sample.points,
        "boxes": sample.boxes,
        "template": sample.template,
        "file": case.image.name,
    }


def make_report(
    sources: Sequence[Source], split_of: dict[str, str], counts: dict[str, Counter], ratio: str, seed: int
) -> dict[str, Any]:
    """What was built from what."""
    return {
        "version": __version__,
        "seed": seed,
        "split": ratio,
        "patients": dict(Counter(split_of.values())),
        "sources": [{"name": s.name, "layout": s.layout, "images": len(s.cases)} for s in sources],
        "rows": {
            split: {
                f"{modality}, perspective {'I' * perspective}": n for (modality, perspective), n in sorted(c.items())
            }
            for split, c in counts.items()
        },
    }
