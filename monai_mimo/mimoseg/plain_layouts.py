"""Folders that describe themselves, or are described on the command line: the phantom, the Decathlon, images with masks."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..transforms.reading import PICTURES, VOLUMES, has_suffix
from .cases import MODALITIES, Case, Label, SourceSpec


@dataclass(frozen=True)
class FolderLabels:
    """What labels.json says.

    Attributes:
        modality: one of `MODALITIES`.
        labels: value in the masks -> entity; the key "nonzero" stands for every value but 0.
        patient: regular expression with one group that finds the patient in the name of an image without its suffix.
    """

    modality: str
    labels: dict[str, str]
    patient: str = "(.+)"


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
        names = {int(value): str(name).lower() for value, name in about["labels"].items() if int(value)}
        pairs = [(spec.path / pair["image"], spec.path / pair["label"]) for pair in about["training"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            spec.path / "dataset.json", f"{type(error).__name__}: {error}", '"modality", "labels" and "training"'
        ) from error
    cases = []
    for image, label in pairs:
        labels = {entity: Label(label, value) for value, entity in names.items()}
        patient = image.name.split(".")[0]
        for number, channel in enumerate(channels):
            several = len(channels) > 1
            # A name that is no modality is a sequence, and sequences are those of MR.
            modality = channel if channel in MODALITIES else "MR" if channel == "MRI" or several else channel
            modality = spec.modality or modality
            if modality not in MODALITIES:
                raise DataError(spec.path / "dataset.json", f"modality {channel!r}", f"one of {', '.join(MODALITIES)}")
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


def folder_cases(spec: SourceSpec) -> list[Case]:
    """images/NAME.* with masks/NAME.*; what the masks mean is in labels.json ({"modality", "labels": {"1": "liver"},
    "patient": regular expression with one group}) or on the command line."""
    if spec.label:
        if spec.modality is None:
            raise DataError(spec.path, "a label but no modality", "label=ENTITY,modality=MODALITY")
        labels = FolderLabels(spec.modality, {"nonzero": spec.label})
    elif (spec.path / "labels.json").is_file():
        labels = _read_labels(spec.path / "labels.json")
    else:
        expected = "labels.json or mimoseg.yaml, or label=ENTITY,modality=MODALITY or record=FILE after the path"
        raise DataError(spec.path, "no labels.json", expected)
    images, masks = (_by_stem(spec.path / part) for part in ("images", "masks"))
    for missing, folder in ((images.keys() - masks, "masks"), (masks.keys() - images, "images")):
        if missing:
            name = min(missing)
            found = f"nothing named {name} ({len(missing)} missing)"
            raise DataError(spec.path / folder, found, "a mask for every image and an image for every mask")
    cases = []
    for stem, image in sorted(images.items()):
        match = re.match(labels.patient, stem)
        if match is None:
            raise DataError(image, "no patient in the name", f"a name that fits {labels.patient}")
        places = {
            entity: Label(masks[stem], None if value == "nonzero" else int(value))
            for value, entity in labels.labels.items()
        }
        cases.append(Case(spec.name, match[1], labels.modality, image, places))
    return cases


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
    return {f.name[: -len(".nii.gz")] if has_suffix(f, (".nii.gz",)) else f.stem: f for f in files}


def _read_labels(path: Path) -> FolderLabels:
    values = read_json(path)
    try:
        labels = FolderLabels(**values)
        patient = re.compile(labels.patient)
    except (TypeError, re.error) as error:
        raise DataError(path, str(error), '"modality", "labels" and, if need be, "patient"') from error
    if labels.modality not in MODALITIES or patient.groups != 1 or not labels.labels:
        raise DataError(path, json.dumps(values), f"a modality of {MODALITIES}, labels, and one group in patient")
    return labels
