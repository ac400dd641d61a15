"""Finding the layout of a source set and listing its cases; nothing is read yet."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ..errors import DataError, InputError
from ..transforms.reading import NIFTI, PICTURES, has_suffix
from .cases import MODALITIES, Case, Label, Source, SourceSpec


@dataclass(frozen=True)
class Record:
    """What the catalogue knows of a set that does not say it in its own files.

    Attributes:
        modality: one of `MODALITIES`.
        labels: value in the masks -> entity; the key "nonzero" stands for every value but 0.
        patient: regular expression with one group that finds the patient in the name of an image without its suffix.
    """

    modality: str
    labels: dict[str, str]
    patient: str = "(.+)"


def parse_source(text: str) -> SourceSpec:
    """NAME=PATH[,label=ENTITY][,modality=MODALITY] -> `SourceSpec`.

    Raises:
        InputError: the text has another form.
    """
    expected = "NAME=PATH[,label=ENTITY][,modality=MODALITY]"
    head, *options = text.split(",")
    name, _, path = head.partition("=")
    if not name or not path:
        raise InputError("--source", repr(text), expected)
    given = dict(option.partition("=")[::2] for option in options)
    if set(given) - {"label", "modality"} or not all(given.values()):
        raise InputError("--source", repr(text), expected)
    if given.get("modality") not in (None, *MODALITIES):
        raise InputError("--source", f"modality {given['modality']!r}", f"one of {', '.join(MODALITIES)}")
    return SourceSpec(name, Path(path), given.get("label"), given.get("modality"))


def open_source(spec: SourceSpec) -> Source:
    """Find the layout of a source set and list its cases.

    Raises:
        DataError: the folder has no known layout, or images and masks do not match by name.
    """
    if not spec.path.is_dir():
        raise DataError(spec.path, "no such folder", "a source set")
    for layout, (marker, reader) in LAYOUTS.items():
        if all((spec.path / part).exists() for part in marker):
            source = Source(spec.name, spec.path, layout, reader(spec))
            if not source.cases:
                raise DataError(spec.path, "no image", f"a set in the {layout} layout")
            return source
    layouts = "; ".join(f"{name}: {' + '.join(marker)}" for name, (marker, _) in LAYOUTS.items())
    raise DataError(spec.path, "no known layout", layouts)


def discover(folder: Path) -> tuple[list[SourceSpec], list[tuple[str, str]]]:
    """The labelled source sets directly under `folder`, and the other folders with the reason why they are left out.

    Raises:
        DataError: `folder` is none, or holds no labelled set.
    """
    if not folder.is_dir():
        raise DataError(folder, "no such folder", "a folder of source sets")
    found, skipped = [], []
    for path in sorted(p for p in folder.iterdir() if p.is_dir()):
        spec = SourceSpec(path.name, path)
        try:
            open_source(spec)
            found.append(spec)
        except DataError as error:
            skipped.append((path.name, error.found))
    if not found:
        raise DataError(folder, "no labelled source set", "folders in a known layout")
    return found, skipped


@cache
def catalogue() -> dict[str, Record]:
    """The records of `catalogue/*.yaml`, by the name of the set."""
    files = (resources.files(__package__) / "catalogue" / "folder_sets").iterdir()
    return {f.name.removesuffix(".yaml"): Record(**yaml.safe_load(f.read_text())) for f in files}


def _phantom(spec: SourceSpec) -> list[Case]:
    about = _read_json(spec.path / "phantom.json")
    cases = []
    for case in about["cases"]:
        labels = case["label"]
        if isinstance(labels, str):
            values = about["modalities"][case["modality"]]["labels"]
            found = {entity: Label(spec.path / labels, int(value)) for value, entity in values.items()}
        else:
            found = {entity: Label(spec.path / p if p else None) for entity, p in labels.items()}
        cases.append(Case(spec.name, case["patient"], case["modality"], spec.path / case["image"], found))
    return cases


def _decathlon(spec: SourceSpec) -> list[Case]:
    """The Medical Segmentation Decathlon's layout: dataset.json, imagesTr, labelsTr; the volume is the patient."""
    about = _read_json(spec.path / "dataset.json")
    record = catalogue().get(spec.name)
    if record is not None:
        modality, names = record.modality, record.labels
    else:
        modalities = list(about["modality"].values())
        if len(modalities) > 1:
            raise DataError(spec.path / "dataset.json", f"channels {modalities}", "volumes of one channel")
        modality = spec.modality or {"MRI": "MR"}.get(modalities[0], modalities[0])
        names = {value: str(name).lower() for value, name in about["labels"].items() if value != "0"}
    cases = []
    for pair in about["training"]:
        image, label = spec.path / pair["image"], spec.path / pair["label"]
        for file in (image, label):
            if not file.is_file():
                raise DataError(file, "no such file", "an entry of dataset.json to exist")
        labels = {entity: Label(label, int(value)) for value, entity in names.items()}
        cases.append(Case(spec.name, image.name.split(".")[0], modality, image, labels))
    return cases


def _folder(spec: SourceSpec) -> list[Case]:
    """images/NAME.* with masks/NAME.*; what the masks mean is in labels.json ({"modality", "labels": {"1": "liver"},
    "patient": regular expression with one group}), on the command line, or in the catalogue."""
    if spec.label:
        if spec.modality is None:
            raise DataError(spec.path, "a label but no modality", "label=ENTITY,modality=MODALITY")
        record = Record(spec.modality, {"nonzero": spec.label})
    elif (spec.path / "labels.json").is_file():
        record = _read_record(spec.path / "labels.json")
    elif spec.name in catalogue():
        record = catalogue()[spec.name]
    else:
        raise DataError(spec.path, "no labels.json", "labels.json, or label=ENTITY,modality=MODALITY after the path")
    images, masks = (_by_stem(spec.path / part) for part in ("images", "masks"))
    for missing, folder in ((images.keys() - masks, "masks"), (masks.keys() - images, "images")):
        if missing:
            name = min(missing)
            found = f"nothing named {name} ({len(missing)} missing)"
            raise DataError(spec.path / folder, found, "a mask for every image and an image for every mask")
    cases = []
    for stem, image in sorted(images.items()):
        match = re.match(record.patient, stem)
        if match is None:
            raise DataError(image, "no patient in the name", f"a name that fits {record.patient}")
        labels = {
            entity: Label(masks[stem], None if value == "nonzero" else int(value))
            for value, entity in record.labels.items()
        }
        cases.append(Case(spec.name, match[1], record.modality, image, labels))
    return cases


LAYOUTS: dict[str, tuple[tuple[str, ...], Callable[[SourceSpec], list[Case]]]] = {
    "phantom": (("phantom.json",), _phantom),
    "Decathlon": (("dataset.json", "imagesTr", "labelsTr"), _decathlon),
    "images and masks": (("images", "masks"), _folder),
}


def _by_stem(folder: Path) -> dict[str, Path]:
    files = [f for f in folder.iterdir() if has_suffix(f, PICTURES + NIFTI) and not f.name.startswith(".")]
    return {f.name[: -len(".nii.gz")] if has_suffix(f, (".nii.gz",)) else f.stem: f for f in files}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise DataError(path, f"no valid JSON ({error})", "a description of the set") from error


def _read_record(path: Path) -> Record:
    values = _read_json(path)
    try:
        record = Record(**values)
        patient = re.compile(record.patient)
    except (TypeError, re.error) as error:
        raise DataError(path, str(error), '"modality", "labels" and, if need be, "patient"') from error
    if record.modality not in MODALITIES or patient.groups != 1 or not record.labels:
        raise DataError(path, json.dumps(values), f"a modality of {MODALITIES}, labels, and one group in patient")
    return record
