"""Folders that describe themselves, or are described on the command line: the phantom, the Decathlon, images with masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..transforms.reading import PAIRS, PICTURES, VOLUMES, has_suffix
from .cases import Case, Label, Reader, SourceSpec
from .folder_labels import EVERYTHING, FolderLabels, parse_labels, united
from .modality import MODALITIES, NAMES_EXPECTED, modality_name


def phantom_cases(spec: SourceSpec) -> list[Case]:
    """What `mimo phantom` writes: all is in phantom.json."""
    about = read_json(spec.path / "phantom.json")
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


def decathlon_cases(spec: SourceSpec) -> list[Case]:
    """The Medical Segmentation Decathlon's layout: dataset.json, imagesTr, labelsTr; the volume is the patient, and each
    channel of a 4-D volume is a case whose sequence has the name of the channel."""
    about = read_json(spec.path / "dataset.json")
    try:
        channels = [str(name) for name in about["modality"].values()]
        values = united((int(value), str(name).lower()) for value, name in about["labels"].items() if int(value))
        pairs = [(spec.path / pair["image"], spec.path / pair["label"]) for pair in about["training"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            spec.path / "dataset.json", f"{type(error).__name__}: {error}", '"modality", "labels" and "training"'
        ) from error
    cases = []
    for image, label in pairs:
        labels = {entity: Label(label, value) for entity, value in values.items()}
        patient = stem(image)
        for number, channel in enumerate(channels):
            several = len(channels) > 1
            modality = spec.modality or _modality(spec, channel, several)
            cases.append(
                Case(
                    spec.name,
                    patient,
                    modality,
                    image,
                    labels,
                    sequence=channel if several else None,
                    channel=number if several else None,
                )
            )
    return cases


def _modality(spec: SourceSpec, channel: str, several: bool) -> str:
    try:
        name = modality_name(channel)
    except ValueError as error:
        if not several:
            raise DataError(spec.path / "dataset.json", f"modality {channel!r}", NAMES_EXPECTED) from error
        name = ""
    # Of several channels, a name that is no modality of the catalogue is a sequence, and sequences are those of MR.
    return "MR" if several and name not in MODALITIES else name


def folder_cases(spec: SourceSpec) -> list[Case]:
    """images/NAME.* with masks/NAME.*; what the masks mean is in labels.json ({"modality", "labels": {"1": "liver"},
    "patient": regular expression with one group, or "blocks": number}) or on the command line."""
    if spec.label:
        if spec.modality is None:
            raise DataError(spec.path, "a label but no modality", "label=ENTITY,modality=MODALITY")
        labels = FolderLabels(modality=spec.modality, labels={EVERYTHING: spec.label})
    elif (spec.path / "labels.json").is_file():
        labels = parse_labels(read_json(spec.path / "labels.json"), spec.path / "labels.json")
    else:
        expected = "labels.json or mimoseg.yaml, or label=ENTITY,modality=MODALITY or record=FILE after the path"
        raise DataError(spec.path, "no labels.json", expected)
    images, masks = (_by_stem(spec.path / part) for part in ("images", "masks"))
    for missing, folder in ((images.keys() - masks, "masks"), (masks.keys() - images, "images")):
        if missing:
            name = min(missing)
            found = f"nothing named {name} ({len(missing)} missing)"
            raise DataError(spec.path / folder, found, "a mask for every image and an image for every mask")
    values = united((int(v) if v.isdecimal() else v, entity) for v, entity in labels.labels.items())
    patients = labels.patients(images)
    reader = Reader(options=(("exif", labels.exif),))
    return [
        Case(
            spec.name,
            patients[name],
            labels.modality,
            image,
            {entity: Label(masks[name], value, reader) for entity, value in values.items()},
        )
        for name, image in sorted(images.items())
    ]


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: it cannot be read, or is none.
    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise DataError(path, error.strerror or str(error), "a file that can be read") from error
    except ValueError as error:
        raise DataError(path, f"no valid JSON ({error})", "a description of the set") from error


def _by_stem(folder: Path) -> dict[str, Path]:
    try:
        files = [f for f in folder.iterdir() if has_suffix(f, PICTURES + VOLUMES) and not f.name.startswith(".")]
    except OSError as error:
        raise DataError(folder, error.strerror or str(error), "a folder that can be read") from error
    found: dict[str, Path] = {}
    for file in sorted(files):
        name = stem(file)
        if name in found and not _is_pair(found[name], file):
            raise DataError(folder, f"two files of one name, {found[name].name} and {file.name}", "one for each name")
        found.setdefault(name, file)
    return found


def stem(file: Path) -> str:
    """The name of an image without its suffix; a name may have other dots, as UIDs do."""
    return file.name[: -len(".nii.gz")] if has_suffix(file, (".nii.gz",)) else file.stem


def _is_pair(one: Path, other: Path) -> bool:
    """Whether two files are the parts of one image, NAME.hdr and NAME.img."""
    return {one.suffix.lower(), other.suffix.lower()} == set(PAIRS)
