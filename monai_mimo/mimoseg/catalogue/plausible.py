"""Which names an image can show: what may be there without a label must never be taught as absent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from ...errors import DataError
from .record import Strict
from .vocabulary import family_of, vocabulary

ANYWHERE = "anywhere"  # of names that lie in no part of the body alone


class SetView(Strict):
    """What the images of one set show, where their labels do not tell it.

    Attributes:
        parts: all parts of the body that they can show; empty: what the labels tell.
        visible: names that they show without a label, or that are labelled in some of them only.
    """

    parts: list[str] = Field(default_factory=list)
    visible: list[str] = Field(default_factory=list)


class Regions(Strict):
    """`regions.yaml`: part -> parts beside it, modality -> parts that it can show, set -> what its images show."""

    parts: dict[str, list[str]]
    modalities: dict[str, list[str]]
    sets: dict[str, SetView] = Field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """What an image can show: parts of the body, and names that may be there without a label."""

    parts: frozenset[str]
    visible: frozenset[str]


def load_regions(file: Path) -> Regions:
    """Read a file like `regions.yaml`.

    Raises:
        DataError: it is no YAML, an entry is unknown, or a part of the body is none of `parts`.
    """
    try:
        regions = Regions.model_validate(yaml.safe_load(file.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(file, " ".join(str(error).split()), "a YAML file of regions") from error
    except ValidationError as error:
        fault = error.errors()[0]
        raise DataError(file, f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}", "regions") from error
    lists: list[tuple[Any, list[str]]] = [*regions.parts.items(), *regions.modalities.items()]
    for name, parts in [*lists, *((name, view.parts) for name, view in regions.sets.items())]:
        if unknown := set(parts) - set(regions.parts):
            raise DataError(file, f"{name}: {min(unknown)!r}", "parts of the body that `parts` names")
    return regions


@cache
def regions() -> Regions:
    """The regions that come with the package."""
    return load_regions(Path(str(resources.files(__package__) / "regions.yaml")))


@cache
def body_parts_of(name: str) -> frozenset[str]:
    """The parts of the body where what a name means lies: its own or those of its family; `ANYWHERE` for other names."""
    listed = [vocabulary()[entity].regions for entity in family_of(name)]
    return frozenset(next(filter(None, listed), [ANYWHERE]))


@cache
def shows(modality: str, name: str) -> bool:
    """Whether a modality can show at all what a name means."""
    listed = [vocabulary()[entity].modalities for entity in family_of(name)]
    allowed = next(filter(None, listed), [modality])
    return modality in allowed


def view(source: str, labels: Iterable[str], modality: str) -> View:
    """What an image of a set can show.

    Args:
        source: the name of the set; what is known of one is in `regions.yaml`.
        labels: all names that the set labels; where they say nothing, the image may show all that the modality can.
        modality: of the image; a modality that `regions.yaml` does not name can show everything.
    """
    labels = list(labels)
    about = regions().sets.get(source, SetView())
    able = frozenset(regions().modalities.get(modality, regions().parts))
    parts = frozenset(about.parts)
    if not parts:
        labelled = [body_parts_of(name) - {ANYWHERE} for name in labels]
        clear = [found for found in labelled if len(found) == 1] or labelled  # the liver tells more than the esophagus
        found = frozenset[str]().union(*clear)
        parts = (found.union(*(regions().parts[part] for part in found)) & able) or able
    return View(parts, frozenset(entity for name in (*labels, *about.visible) for entity in (name, *family_of(name))))


def safely_absent(source: str, labels: Iterable[str], modality: str, names: Iterable[str] | None = None) -> list[str]:
    """The names, in alphabetical order, that no image of a set can show, so that a question may call them absent.

    What the set labels itself is never among them: there the mask of the image says whether it is absent, unless
    `uncertain` names it.

    Args:
        source, labels, modality: see `view`.
        names: from which to choose; none: the whole vocabulary.
    """
    return list(
        _safely_absent(source, frozenset(labels), modality, frozenset(vocabulary() if names is None else names))
    )


@lru_cache(maxsize=64)  # the same for all slices of a case
def _safely_absent(source: str, labels: frozenset[str], modality: str, names: frozenset[str]) -> tuple[str, ...]:
    seen = view(source, labels, modality)
    return tuple(
        sorted(
            name
            for name in names
            if seen.visible.isdisjoint((name, *family_of(name)))
            and ANYWHERE not in body_parts_of(name)
            and (seen.parts.isdisjoint(body_parts_of(name)) or not shows(modality, name))
        )
    )


def uncertain(source: str) -> frozenset[str]:
    """Names of which an empty mask says nothing in this set."""
    return frozenset(regions().sets.get(source, SetView()).visible)
