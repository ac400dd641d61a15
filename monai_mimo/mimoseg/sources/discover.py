"""Finding the layout of a source set and listing its cases; no image is read yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ...errors import DataError, InputError
from ...licences import allows
from ..catalogue.licences import licence_of
from ..catalogue.record import Record, find_record, load_record
from ..categories import NAMES_EXPECTED, modality_name
from .by_record import record_cases, scan
from .cases import Case, Source, SourceSpec
from .folders import decathlon_cases, folder_cases, phantom_cases, stated_licence
from .labelled import FILE as LABELLED
from .labelled import labelled_cases
from .sa_med2d import MAPPING, PAIRS, sa_med2d_cases
from .vqa_sets import open_vqa

OWN_RECORD = "mimoseg.yaml"
DRAWN = "Apache 2.0"  # of the phantom, which this package draws

# Layouts that say themselves what their labels mean: name -> what must be there, and how cases are listed.
LAYOUTS: dict[str, tuple[tuple[str, ...], Callable[[SourceSpec], list[Case]]]] = {
    "phantom": (("phantom.json",), phantom_cases),
    "labelled pairs": ((LABELLED,), labelled_cases),
    "Decathlon": (("dataset.json", "imagesTr", "labelsTr"), decathlon_cases),
    "images and masks": (("images", "masks"), folder_cases),
}


def parse_source(text: str) -> SourceSpec:
    """NAME=PATH[,label=ENTITY][,modality=MODALITY][,record=FILE] -> `SourceSpec`.

    Raises:
        InputError: the text has another form.
    """
    expected = "NAME=PATH[,label=ENTITY][,modality=MODALITY][,record=FILE.yaml]"
    head, *options = text.split(",")
    name, _, path = head.partition("=")
    if not name or not path:
        raise InputError("--source", repr(text), expected)
    given = dict(option.partition("=")[::2] for option in options)
    if set(given) - {"label", "modality", "record"} or not all(given.values()):
        raise InputError("--source", repr(text), expected)
    try:
        modality = modality_name(given["modality"]) if "modality" in given else None
    except ValueError as error:
        raise InputError("--source", f"modality {given['modality']!r}", NAMES_EXPECTED) from error
    record = Path(given["record"]) if "record" in given else None
    return SourceSpec(name, Path(path), given.get("label"), modality, record)


def open_source(spec: SourceSpec) -> Source:
    """Find the layout of a source set and list its cases, with the licence.

    What tells the layout is, in this order: a record or a label that the user names, mimoseg.yaml in the folder, the
    record of the catalogue with the name of the set, and the folder itself; or the file with the questions of a set
    without masks. A fault of one case (a missing or
    damaged file) is raised when that case is read, by `read_case`.

    Raises:
        DataError: the folder has no known layout, or holds no case.
    """
    source = _opened(spec)
    stated = source.record.licence if source.record else stated_licence(spec.path) if spec.path.is_dir() else ""
    source.licence = DRAWN if source.layout == "phantom" else stated or licence_of(spec.name)
    return source


def _opened(spec: SourceSpec) -> Source:
    record = _record_of(spec)
    if record is None and spec.label is None:
        questions = open_vqa(spec.name, spec.path)
        if questions is not None:
            return questions
    if not spec.path.is_dir():
        raise DataError(spec.path, "no such folder", "a source set")
    why_not: DataError | None = None
    if record is not None:
        try:
            cases, notes = record_cases(spec.name, scan(spec.path), record)
            return _checked(Source(spec.name, spec.path, record.name, cases, notes, record))
        except DataError as error:
            why_not = error
    if spec.record is None:
        for layout, (marker, reader) in LAYOUTS.items():
            if _has(spec.path, marker) and not _has(spec.path, (PAIRS,)):
                if why_not is not None and layout == "images and masks" and not _has(spec.path, ("labels.json",)):
                    break
                return _checked(Source(spec.name, spec.path, layout, reader(spec), record=record))
        if _has(spec.path, (PAIRS, MAPPING)):
            cases, notes = sa_med2d_cases(spec.path)
            return _checked(Source(spec.name, spec.path, "SA-Med2D-20M", cases, notes))
    if why_not is not None:
        raise why_not
    layouts = "; ".join(f"{name}: {' + '.join(marker)}" for name, (marker, _) in LAYOUTS.items())
    raise DataError(spec.path, "no known layout", f"a name of `mimo catalogue`, {OWN_RECORD}, or {layouts}")


def discover(folder: Path) -> tuple[list[SourceSpec], list[tuple[str, str]]]:
    """The labelled source sets directly under `folder`, and the other folders with the reason why they are left out.

    Raises:
        DataError: `folder` is none, or holds no labelled set.
    """
    if not folder.is_dir():
        raise DataError(folder, "no such folder", "a folder of source sets")
    found, skipped = [], []
    for path in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        spec = SourceSpec(path.name, path)
        try:
            open_source(spec)
            found.append(spec)
        except DataError as error:
            skipped.append((path.name, error.found))
    if not found:
        raise DataError(folder, "no labelled source set", "folders in a known layout")
    return found, skipped


def by_licence(specs: Iterable[SourceSpec], wanted: str) -> tuple[list[SourceSpec], list[tuple[str, str]]]:
    """The sets whose licence is known to allow a use, and the others, each with its licence. A release of many sets is taken by
    the licence of the release.

    Raises:
        DataError: a set cannot be opened.
        InputError: `wanted` is no use (`licences.USES`), or no set has such a licence.
    """
    licences = [(spec, open_source(spec).licence) for spec in specs]
    kept = [spec for spec, licence in licences if allows(licence, wanted)]
    if not kept:
        raise InputError("licence", f"no set that is {wanted}", "some, or no such limit")
    return kept, [(spec.name, licence) for spec, licence in licences if spec not in kept]


def _record_of(spec: SourceSpec) -> Record | None:
    if spec.record is not None:
        return load_record(spec.record)
    if spec.label is not None:
        return None
    if _has(spec.path, (OWN_RECORD,)):
        return load_record(spec.path / OWN_RECORD)
    return find_record(spec.name)


def _has(folder: Path, names: tuple[str, ...]) -> bool:
    try:
        return all((folder / name).exists() for name in names)
    except OSError as error:
        raise DataError(folder, error.strerror or str(error), "a folder that can be read") from error


def _checked(source: Source) -> Source:
    if not source.cases:
        raise DataError(source.path, "no image", f"a set in the {source.layout} layout")
    return source
