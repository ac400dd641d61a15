"""What is to be built, decided before anything is read: cases in order, how many of them, splits, settings. The same plan
gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import DataError, InputError
from ...files import digest, file_digest
from ...transforms.reading import NIFTI, has_suffix
from ..categories import PERSPECTIVES, SPLITS
from ..questions.pool import RowSettings, knowledge_of, read_drafts
from ..sources.cases import Case, Source, SourceSpec, patient_key
from ..sources.discover import open_source

PUBLISHED, SMALL = "99:0.5:0.5", "80:10:10"
LARGE_SET = 100_000  # rows from which "auto" takes the published ratio


def parse_ratio(text: str) -> tuple[float, float, float]:
    """ "80:10:10" -> fractions that sum to 1.

    Raises:
        InputError: these are not three numbers, or the first is zero, or one is negative.
    """
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if len(parts) != 3 or parts[0] <= 0 or min(parts) < 0:
        raise InputError("--split", repr(text), f"three numbers such as {SMALL} or {PUBLISHED}, or auto")
    total = sum(parts)
    return parts[0] / total, parts[1] / total, parts[2] / total


def split_patients(patients: Iterable[str], ratio: tuple[float, float, float], seed: int = 0) -> dict[str, str]:
    """Which split each patient of one set goes to.

    Patients are ordered by a hash, so other sets and the order of files change nothing. A split with a share above zero
    gets at least one patient once there are three.
    """
    names = sorted(set(patients), key=lambda name: digest(f"{seed}/{name}"))
    counts = [round(len(names) * share) for share in ratio[1:]]
    if len(names) >= 3:
        counts = [max(count, int(share > 0)) for count, share in zip(counts, ratio[1:])]
    validation, test = counts
    held_out = ["validation"] * validation + ["test"] * test
    return dict(zip(names, held_out + ["train"] * len(names)))


@dataclass(frozen=True)
class SourceUse:
    """How one source is used; none: all of it, as the rest of the build.

    Attributes:
        fraction: of its cases, above 0 and up to 1.
        cases, images, rows: the most that are taken.
        perspectives: which are made of it, of those that its record allows.
        questions_per_image: about how many rows an image gives.
    """

    fraction: float | None = None
    cases: int | None = None
    images: int | None = None
    rows: int | None = None
    perspectives: tuple[int, ...] | None = None
    questions_per_image: int | None = None


def sample_cases(cases: Sequence[Case], use: SourceUse, seed: int) -> list[Case]:
    """The cases of a source that may be used: those that come first when ordered by a hash, so that more of them are a
    superset. They stay in that order where images or rows are limited, which takes the first ones of it, and come back in
    the order of the source otherwise.

    Raises:
        InputError: a limit below 1, or a fraction that is none.
    """
    for name, value in (("cases", use.cases), ("images", use.images), ("rows", use.rows)):
        if value is not None and value < 1:
            raise InputError(f"limit of {name}", str(value), "1 or more")
    if use.fraction is not None and not 0 < use.fraction <= 1:
        raise InputError("fraction", str(use.fraction), "above 0 and up to 1")

    def place(number: int) -> str:
        return digest(f"{seed}/sample/{cases[number].source}/{cases[number].key}")

    count = len(cases)
    if use.fraction is not None:
        count = max(1, round(count * use.fraction))
    if use.cases is not None:
        count = min(count, use.cases)
    if use.images is None and use.rows is None and count == len(cases):
        return list(cases)
    chosen = sorted(range(len(cases)), key=place)[:count]
    return [cases[n] for n in (chosen if use.images or use.rows else sorted(chosen))]


class SourceBudget:
    """What is left of the limits of images and rows of one source. Its cases are charged in their order."""

    def __init__(self, use: SourceUse) -> None:
        self.images, self.rows = use.images, use.rows

    @property
    def spent(self) -> bool:
        """Whether nothing more is taken."""
        return self.images == 0 or self.rows == 0

    def take(self, rows: Iterable[int]) -> tuple[int, ...]:
        """From the rows of each image of a case to those that are taken of each."""
        taken = []
        for count in rows:
            if self.spent:
                break
            if self.rows is not None:
                count = min(count, self.rows)
                self.rows -= count
            if self.images is not None:
                self.images -= 1
            taken.append(count)
        return tuple(taken)


@dataclass(frozen=True)
class BuildPlan:
    """One build.

    Attributes:
        cases: in the order of their rows.
        origins: of each case, the name of the source as the user gave it; a release of many sets has cases of many sources.
        uses: origin -> how much of it is used.
        settings: origin -> how its questions are made.
        split_of: patient key -> split, of those whose split is drawn; see `split`.
        arguments: what the user asked for, as JSON.
    """

    sources: list[Source]
    uses: dict[str, SourceUse]
    cases: list[Case]
    origins: list[str]
    ratio: str
    split_of: dict[str, str]
    settings: dict[str, RowSettings]
    slices_per_volume: int
    arguments: dict[str, Any]

    def split(self, case: Case) -> str:
        """Of one of the cases: as published, or else that of its patient."""
        return case.split or self.split_of[patient_key(case)]

    def identity(self) -> dict[str, Any]:
        """What makes two builds the same: version, arguments, and hashes of the list of cases and of the user's texts."""
        cases = digest(*(f"{c.source}/{c.key}/{patient_key(c)}/{c.modality}\n" for c in self.cases))
        texts = [path for settings in self.settings.values() for path in (settings.drafts, *settings.knowledge) if path]
        return {
            "version": __version__,
            **self.arguments,
            "source files": cases,
            "texts": {str(path): hash_texts(path) for path in texts},
        }


def plan_build(
    specs: Sequence[SourceSpec],
    *,
    ratio: str = "auto",
    seed: int = 0,
    slices_per_volume: int = 6,
    questions_per_image: int = 8,
    perspectives: Sequence[int] = PERSPECTIVES,
    drafts: Path | None = None,
    knowledge: Sequence[Path] = (),
    uses: Mapping[str, SourceUse] | None = None,
    allow_empty_splits: bool = False,
) -> BuildPlan:
    """Open the sources and decide all that does not need pixels; see `build` for the arguments.

    Raises:
        DataError, InputError: a source or an argument cannot be used, or nobody is in validation or test.
    """
    if slices_per_volume < 1:
        raise InputError("slices per volume", str(slices_per_volume), "1 or more")
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise DataError("sources", f"two sets named {max(names, key=names.count)!r}", "different names")
    used = {name: (uses or {}).get(name, SourceUse()) for name in names}
    if drafts is not None:
        read_drafts(drafts)  # now, rather than once for each case
    knowledge_of(tuple(knowledge))
    sources = [open_source(spec) for spec in specs]
    chosen = [(source.name, case) for source in sources for case in prepare_cases(source, used[source.name], seed)]
    origins, cases = [name for name, _ in chosen], [case for _, case in chosen]
    entities = entities_by_modality(cases)
    settings = {}
    for name, use in used.items():
        count = use.questions_per_image or questions_per_image
        if count < 1:
            raise InputError("questions per image", str(count), "1 or more")
        wanted = check_perspectives(use.perspectives or perspectives)
        settings[name] = RowSettings(entities, seed, count, wanted, drafts, tuple(knowledge))
    if ratio == "auto":
        rows = sum(expected_rows(case, slices_per_volume, settings[name].questions_per_image) for name, case in chosen)
        ratio = PUBLISHED if rows > LARGE_SET else SMALL
    arguments = {
        "sources": [as_settings(spec, used[spec.name]) for spec in specs],
        "split": ratio,
        "seed": seed,
        "slices_per_volume": slices_per_volume,
        "questions_per_image": questions_per_image,
        "perspectives": sorted(set(perspectives)),
        "drafts": str(drafts) if drafts else None,
        "knowledge": [str(path) for path in knowledge],
    }
    split_of = split_cases(cases, ratio, seed)
    if not allow_empty_splits:
        check_splits(cases, split_of, ratio)
    return BuildPlan(sources, used, cases, origins, ratio, split_of, settings, slices_per_volume, json_ready(arguments))


def prepare_cases(source: Source, use: SourceUse, seed: int) -> list[Case]:
    """The cases that may be used, each told where its source lies."""
    return sample_cases([replace(case, root=source.path) for case in source.cases], use, seed)


def split_cases(cases: Sequence[Case], ratio: str, seed: int) -> dict[str, str]:
    """Split of each patient key, decided within each cohort or source and modality so that every split sees all of them.
    Cases that were published in splits are left out."""
    groups: dict[tuple[str, str], list[str]] = {}
    for case in cases:
        if case.split is None:
            groups.setdefault((case.group, case.modality), []).append(patient_key(case))
    fractions = parse_ratio(ratio)
    return {
        patient: split for group in groups.values() for patient, split in split_patients(group, fractions, seed).items()
    }


def check_splits(cases: Sequence[Case], split_of: Mapping[str, str], ratio: str) -> None:
    """Every split that has a share must have somebody, where splits are drawn.

    Raises:
        DataError: one has nobody.
    """
    there = {case.split or split_of[patient_key(case)] for case in cases}
    shares = dict(zip(SPLITS, parse_ratio(ratio)))
    empty = [split for split in SPLITS if shares[split] and split not in there]
    if split_of and empty:
        count = len(split_of)
        found = f"{count} {'patient' if count == 1 else 'patients'}, and nobody for {' and '.join(empty)}"
        expected = "three patients of a set and modality, --split 100:0:0, or --allow-empty-splits"
        raise DataError(f"split {ratio}", found, expected)


def entities_by_modality(cases: Sequence[Case]) -> dict[str, tuple[str, ...]]:
    """Every entity that some source labels, by modality."""
    entities: dict[str, set[str]] = {}
    for case in cases:
        entities.setdefault(case.modality, set()).update(case.labels)
    return {modality: tuple(sorted(names)) for modality, names in entities.items()}


def check_perspectives(perspectives: Sequence[int]) -> tuple[int, ...]:
    """In order, each once.

    Raises:
        InputError: there is none, or one that is not of `PERSPECTIVES`.
    """
    if not perspectives or not set(perspectives) <= set(PERSPECTIVES):
        raise InputError("perspectives", str(list(perspectives)), f"some of {', '.join(map(str, PERSPECTIVES))}")
    return tuple(sorted(set(perspectives)))


def expected_rows(case: Case, slices_per_volume: int, questions_per_image: int) -> int:
    """About how many rows a case gives, without those of perspective V."""
    if case.pairs:
        return len(case.pairs)
    return questions_per_image * (slices_per_volume if is_volume(case) else 1)


def is_volume(case: Case) -> bool:
    """Whether the image has slices to choose from, by its name: a NIfTI file or the folder of a series."""
    return has_suffix(case.image, NIFTI) or not case.image.suffix


def as_settings(spec: SourceSpec, use: SourceUse) -> dict[str, Any]:
    """A source and how it is used, without what was not said."""
    return {key: value for key, value in {**asdict(spec), **asdict(use)}.items() if value not in (None, ())}


def hash_texts(path: Path) -> str:
    """Of a file, or of the files in a folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return digest(*(bytes.fromhex(file_digest(file)) for file in files))


def json_ready(values: Any) -> Any:
    """The same values after a round through JSON, so that they compare with those of a file."""
    return json.loads(json.dumps(values, default=str))
