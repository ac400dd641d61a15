"""The licences of the source sets of a built set."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ...errors import DataError
from ..catalogue.licences import licence_of
from .card import REPORT


def source_licences(folder: str | Path, names: Iterable[str]) -> dict[str, str]:
    """Name of a source, as in the rows -> its licence: by dataset.json; by the catalogue where that does not tell it, as in sets
    of earlier versions; else "unknown".

    Raises:
        DataError: dataset.json is damaged.
    """
    file = Path(folder) / REPORT
    told: dict[str, str | None] = {}
    try:
        for source in json.loads(file.read_text())["sources"] if file.exists() else []:
            told |= {source["name"]: source.get("licence"), **source.get("licences", {})}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise DataError(file, found, "the report of a set that `mimo build` wrote") from error
    return {name: told.get(name) or licence_of(name) for name in sorted(set(names))}
