"""The SA-Med2D-20M release: one folder with slices of many sets, whose names are the published ones.

A file is MODALITY_SUB--SET--CASE--AXIS_SLICE.png (2d_none for native pictures), and a mask has --CLASS_INSTANCE besides.
SAMed2D_v1.json leads from images to masks, SAMed2D_v1_class_mapping_id.json from a set and the name of a class to its number.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

from ..catalogue.record import Record, Series, find_record
from .cases import Case, Label
from .folders import read_json

PAIRS, MAPPING = "SAMed2D_v1.json", "SAMed2D_v1_class_mapping_id.json"
MODALITY_OF = {
    "ct": "CT",
    "mr": "MR",
    "pet": "PET",
    "x": "X-ray",
    "dermoscopy": "dermoscopy",
    "endoscopy": "endoscopy",
    "ultrasound": "ultrasound",
    "fundus": "fundus",
}
FRAME = re.compile(r"([-_](frame[0-9]+|ED|ES|SA|LA))+$")  # of a beating heart: phase and view of one patient
SAME_SEQUENCE = {"t1w": "t1", "t2w": "t2", "t1c": "t1ce", "t1gd": "t1ce"}  # one sequence under several names


def sa_med2d_cases(folder: Path) -> tuple[list[Case], list[str]]:
    """The cases of the sets that the catalogue has, and notes about what was left out.

    The patient is the case of the original set, without the frame: slices of one volume share it.

    Raises:
        DataError: one of the two JSON files is damaged.
    """
    pairs, mapping = read_json(folder / PAIRS), read_json(folder / MAPPING)
    cases: list[Case] = []
    left_out: Counter[str] = Counter()
    for image, masks in pairs.items():
        parts = Path(image).stem.split("--")
        if len(parts) != 4:
            left_out["images whose names have another form"] += 1
            continue
        kind, name, original, _ = parts
        record = find_record(name)
        if record is None:
            left_out[f"images of {name}, which is not in the catalogue"] += 1
            continue
        modality, sequence = _modality(kind)
        series = _series(record, modality, sequence)
        if series is None:
            left_out[f"images of {name}, {kind}, which no row of the published table uses"] += 1
            continue
        entities = {
            number: entity
            for class_name, number in mapping.get(name, {}).items()
            if (entity := _entity(record, class_name, series)) is not None
        }
        found: dict[str, list[Path]] = {entity: [] for entity in entities.values()}
        for mask in masks:
            number = Path(mask).stem.split("--")[-1].split("_")[0]
            if number in entities:
                found[entities[number]].append(folder / mask)
            else:
                left_out[f"masks of {name}, class {number}, which stands for no entity of its record"] += 1
        if not any(found.values()):
            continue
        cases.append(
            Case(
                source=record.name,
                patient=FRAME.sub("", original),
                modality=modality,
                image=folder / image,
                labels={entity: _label(paths) for entity, paths in found.items()},
                sequence=sequence,
                perspectives=tuple(series.perspectives),
                cohort=record.cohort,
            )
        )
    return cases, [f"{count} {what}" for what, count in left_out.most_common()]


def _label(paths: list[Path]) -> Label:
    """Instances are united; without any, the entity was looked for and is not there."""
    if not paths:
        return Label(None)
    first, *others = sorted(paths)
    return Label(first, also=tuple(Label(path) for path in others))


@cache
def _modality(kind: str) -> tuple[str, str | None]:
    """ "mr_t1ce" -> ("MR", "T1CE"); "00" is no sequence."""
    modality, _, sequence = kind.partition("_")
    return MODALITY_OF.get(modality, kind), None if sequence in ("", "00", "ray", "photography") else sequence.upper()


def _series(record: Record, modality: str, sequence: str | None) -> Series | None:
    """The row of the published table that an image belongs to."""
    for series in record.series:
        names = {_same(name) for name in series.sequences or {}}
        if series.modality == modality and (sequence is None or not names or _same(sequence) in names):
            return series
    return None


def _same(sequence: str) -> str:
    plain = sequence.lower().replace("-", "")
    return SAME_SEQUENCE.get(plain, plain)


def _entity(record: Record, class_name: str, series: Series) -> str | None:
    """The entity that a class stands for, by its own name or by what the record calls it in its files. Unions of other
    classes stand for none."""
    if class_name.startswith("union_"):
        return None
    names = _names(record)
    entity = names.get(class_name.lower()) or names.get(_plain(class_name))
    wanted = series.entities or list(dict.fromkeys(names.values()))
    if entity is None and len(wanted) == 1:
        return wanted[0]
    return entity if entity in wanted else None


def _names(record: Record) -> dict[str, str]:
    """Every name of every entity of a record -> the entity."""
    names = {}
    for layout in record.layouts:
        for file in layout.labels:
            for entity, values in file.entities.items():
                names[entity] = entity
                names.update({value.lower(): entity for value in values if isinstance(value, str)})
    return names


def _plain(class_name: str) -> str:
    """ "Kidney_left" -> "left kidney"."""
    words = class_name.lower().replace("_", " ").split()
    if words and words[-1] in ("left", "right"):
        words = [words[-1], *words[:-1]]
    return " ".join(words)
