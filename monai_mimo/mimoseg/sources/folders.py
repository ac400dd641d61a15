"""Folders that describe themselves, or are described on the command line: the phantom, the Decathlon, images with masks.

In the last, labels.json says what the masks mean, and which images are of one patient."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ...errors import DataError
from ...transforms.reading import PAIRS, PICTURES, VOLUMES, has_suffix
from ..categories import MODALITIES, NAMES_EXPECTED, Modality, modality_name
from .cases import Case, Label, Reader, SourceSpec

EVERYTHING = "nonzero"  # stands for every value but 0


class FolderLabels(BaseModel):
    """The file, which is a JSON object with these entries. An unknown one is an error.

    Attributes:
        modality: see `modality_name`.
        labels: value in the masks -> entity. A value is a whole number, a colour "#rrggbb", or "nonzero" for all but 0; 0 is
            the background, whatever it is called. The values of one name are united.
        patient: regular expression with one group that finds the patient in the name of an image without its suffix.
        blocks: where names do not tell the patients, as of frames of a few videos in order: the names are sorted, numbers in
            them by their size, and cut into so many blocks, each of which is taken for a patient.
        exif: of pictures that are stored turned, whether the masks lie on their pixels as stored, or upright; none: what the size
            of the masks tells.
        licence: of the set, e.g. "CC BY 4.0"; none: what the catalogue knows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    modality: Modality
    labels: dict[str, Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    patient: str = "(.+)"
    blocks: Annotated[int, Field(ge=1)] | None = None
    exif: Literal["stored", "upright"] | None = None
    licence: str | None = None

    @field_validator("labels")
    @classmethod
    def _values(cls, labels: dict[str, str]) -> dict[str, str]:
        labels = {value: name for value, name in labels.items() if not re.fullmatch("0+", value)}
        wrong = [v for v in labels if not re.fullmatch(f"[0-9]{{1,9}}|#[0-9a-fA-F]{{6}}|{EVERYTHING}", v)]
        if wrong or not labels:
            found = repr(wrong[0]) if wrong else "only the value 0"
            raise ValueError(f'{found}, where whole numbers, colours "#rrggbb" or "{EVERYTHING}" are expected')
        if len({value.startswith("#") for value in labels}) > 1:
            raise ValueError("colours and other values, where there may be only one kind")
        return labels

    @model_validator(mode="after")
    def _patients(self) -> FolderLabels:
        try:
            groups = re.compile(self.patient).groups
        except re.error as error:
            raise ValueError(f"patient: {error} in {self.patient!r}") from error
        if groups != 1:
            raise ValueError(f"patient: {groups} groups in {self.patient!r}, where one is expected")
        if self.blocks and "patient" in self.model_fields_set:
            raise ValueError("both patient and blocks, where one of them is expected")
        return self

    def patients(self, images: Mapping[str, Path]) -> dict[str, str]:
        """Name of an image without suffix -> patient.

        Raises:
            DataError: a name tells no patient, or there are fewer images than blocks.
        """
        if self.blocks:
            names = sorted(images, key=_in_order)
            if len(names) < self.blocks:
                folder = min(images.values()).parent if images else "images"
                raise DataError(folder, f"{len(names)} images", f"at least as many as the {self.blocks} blocks")
            return {name: f"block {n * self.blocks // len(names) + 1}" for n, name in enumerate(names)}
        out = {}
        for name in sorted(images):
            match = re.match(self.patient, name)
            if match is None or match[1] is None:
                raise DataError(images[name], "no patient in the name", f"a name that fits {self.patient}")
            out[name] = match[1]
        return out


def united(named: Iterable[tuple[int | str, str]]) -> dict[str, int | str | tuple[int | str, ...] | None]:
    """Pairs of value and entity -> the value, or all the values, of each entity; none: every value but 0."""
    values: dict[str, list[int | str]] = {}
    for value, entity in named:
        values.setdefault(entity, []).append(value)
    return {
        entity: None if EVERYTHING in several else several[0] if len(several) == 1 else tuple(several)
        for entity, several in values.items()
    }


def parse_labels(values: object, path: Path) -> FolderLabels:
    """The content of labels.json, checked.

    Raises:
        DataError: an entry is missing, unknown or of the wrong kind; the error names it.
    """
    try:
        return FolderLabels.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the file"
        found = f"{place}: {fault['msg'].removeprefix('Value error, ')}"
        expected = '{"modality": "CT", "labels": {"1": "liver"}} and, if need be, "patient" or "blocks"'
        raise DataError(path, found, expected) from error


def _in_order(name: str) -> list[tuple[int, str]]:
    """So that "9" comes before "10"."""
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


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


def stated_licence(folder: Path) -> str:
    """What labels.json, or the dataset.json of the Decathlon's layout, says of the licence; empty if nothing."""
    for name in ("labels.json", "dataset.json"):
        if (folder / name).is_file():
            about = read_json(folder / name)
            return str(about.get("licence") or about.get("license") or "") if isinstance(about, dict) else ""
    return ""


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
        raise DataError(path, f"invalid JSON ({error})", "a description of the set") from error


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
