"""labels.json: what the masks of a folder of images mean, and which images are of one patient."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import DataError
from .modality import Modality

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
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    modality: Modality
    labels: dict[str, Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    patient: str = "(.+)"
    blocks: Annotated[int, Field(ge=1)] | None = None
    exif: Literal["stored", "upright"] | None = None

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
