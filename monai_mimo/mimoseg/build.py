"""`mimo build`: source sets -> rows of questions and answers, split by patient."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, disable_progress_bars, enable_progress_bars
from datasets.arrow_writer import ArrowWriter
from tqdm import tqdm

from .. import __version__
from ..errors import DataError, OutputError
from .case_rows import RowSettings, slice_rows
from .cases import Case, Source, SourceSpec, patient_key
from .read_case import read_case
from .schema import FEATURES
from .sources import open_source
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
    by_modality = {modality: tuple(sorted(names)) for modality, names in entities.items()}
    settings = RowSettings(by_modality, seed, questions_per_image, perspectives=(1, 2))
    with ArrowWriter(features=FEATURES, path=str(cache / "rows.arrow")) as writer:
        for case in cases:
            for shown in read_case(case, slices_per_volume):
                for row in slice_rows(case, shown, settings):
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
