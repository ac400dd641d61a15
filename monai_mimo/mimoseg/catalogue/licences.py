"""The licence of a source set by its name."""

from __future__ import annotations

from functools import cache
from importlib import resources

import yaml

from ...licences import UNKNOWN
from .record import find_record


def licence_of(name: str) -> str:
    """As the catalogue has it, in its record or in licences.yaml; "unknown" where it has none."""
    record = find_record(name)
    return (record.licence if record else "") or _without_record().get(name) or UNKNOWN


@cache
def _without_record() -> dict[str, str]:
    return yaml.safe_load((resources.files(__package__) / "licences.yaml").read_text())
