"""Knowledge records, read from YAML: `{entity: {kind, plural, facts: {aspect: [...]}, sources, reviewed}}` in each file."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ....errors import DataError

ASPECTS = ("function", "anatomy", "appearance", "pathology", "diagnosis", "treatment")
Aspect = Literal["function", "anatomy", "appearance", "pathology", "diagnosis", "treatment"]


class Knowledge(BaseModel):
    """What is known of one entity.

    Attributes:
        kind: the word a question uses for it without naming it.
        plural: whether its name takes "are".
        facts: by aspect, predicates whose subject is the entity, in the third person (plural if `plural`), without a full
            stop: "filters the blood and makes urine". They name neither the entity nor a synonym nor a modality.
        sources: two or more works that say so.
        reviewed: whether a clinician has read the record.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["organ", "structure", "vessel", "bone", "muscle", "gland", "lesion", "device", "region"]
    plural: bool = False
    facts: dict[Aspect, list[str]]
    sources: list[str] = Field(min_length=2)
    reviewed: bool = False


@cache
def packaged_knowledge() -> dict[str, Knowledge]:
    """The records that come with the package, by entity."""
    folder = resources.files(__package__)
    return _read(Path(str(f)) for f in sorted(folder.iterdir(), key=str) if f.name.endswith(".yaml"))


def load_knowledge(own: Iterable[Path] = ()) -> dict[str, Knowledge]:
    """The packaged records, with those of the user's YAML files added or put in their place.

    Raises:
        DataError: a file is no record; it names file, entity and field.
    """
    return {**packaged_knowledge(), **_read(own)}


def _read(files: Iterable[Path]) -> dict[str, Knowledge]:
    records = {}
    for file in files:
        try:
            values = yaml.safe_load(file.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise DataError(file, str(error), "a YAML file of knowledge records") from error
        for entity, record in (values or {}).items():
            try:
                records[str(entity)] = Knowledge.model_validate(record)
            except ValidationError as error:
                fault = error.errors()[0]
                place = ".".join(map(str, (entity, *fault["loc"])))
                raise DataError(file, f"{place}: {fault['msg']}", "a knowledge record") from error
    return records
