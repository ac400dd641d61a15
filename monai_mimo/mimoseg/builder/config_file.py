"""`mimo build --config FILE`: what is to be built, as YAML.

    sources:
      - {name: KiTS, path: /data/kits, perspectives: [3, 4], limit: {images: 30000}}
      - {name: AMOS, path: /data/amos22, fraction: 0.5, questions_per_image: 4}
      - {name: ours, path: scans, record: ours.yaml}
    seed: 0

Paths are relative to the file. All other entries are named as the options of `mimo build`, which win over them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError

from ...errors import InputError
from ..catalogue.record import Strict
from ..categories import Modality
from ..sources.cases import SourceSpec
from .plan import SourceUse

Count = Annotated[int, Field(ge=1)]
Perspectives = Annotated[list[Annotated[int, Field(ge=1, le=5)]], Field(min_length=1)]


class Limit(Strict):
    """The most that is taken of a source."""

    cases: Count | None = None
    images: Count | None = None
    rows: Count | None = None


class SourceEntry(Strict):
    """One source; see `SourceSpec` and `SourceUse`."""

    name: str = Field(min_length=1)
    path: Path
    record: Path | None = None
    label: str | None = None
    modality: Modality | None = None
    limit: Limit = Limit()
    fraction: float | None = Field(default=None, gt=0, le=1)
    perspectives: Perspectives | None = None
    questions_per_image: Count | None = None


class BuildConfig(Strict):
    """The file. What is none is left to the command line."""

    sources: tuple[SourceEntry, ...] = ()
    split: str | None = None
    allow_empty_splits: bool | None = None
    seed: int | None = None
    slices_per_volume: Count | None = None
    questions_per_image: Count | None = None
    perspectives: Perspectives | None = None
    drafts: Path | None = None
    knowledge: list[Path] | None = None


def load_config(file: Path) -> BuildConfig:
    """Read a file; its paths come back as seen from here.

    Raises:
        InputError: it is no YAML, or an entry is missing, unknown or of the wrong kind; the error names it.
    """
    try:
        config = BuildConfig.model_validate(yaml.safe_load(file.read_text()) or {})
    except (OSError, yaml.YAMLError) as error:
        raise InputError(file, str(error), "a YAML file of what to build") from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the file"
        raise InputError(file, f"{place}: {fault['msg']}", "what `mimo build --config` takes") from error
    here = file.parent
    return config.model_copy(
        update={
            "sources": [
                entry.model_copy(update={"path": here / entry.path, "record": entry.record and here / entry.record})
                for entry in config.sources
            ],
            "drafts": config.drafts and here / config.drafts,
            "knowledge": config.knowledge and [here / path for path in config.knowledge],
        }
    )


def spec_and_use(entry: SourceEntry) -> tuple[SourceSpec, SourceUse]:
    """A source of the file as `build` takes it."""
    use = SourceUse(
        fraction=entry.fraction,
        cases=entry.limit.cases,
        images=entry.limit.images,
        rows=entry.limit.rows,
        perspectives=tuple(entry.perspectives) if entry.perspectives else None,
        questions_per_image=entry.questions_per_image,
    )
    return SourceSpec(entry.name, entry.path, entry.label, entry.modality, entry.record), use
