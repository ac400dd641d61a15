"""Which entities questions are written about, alone or together."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...errors import InputError
from ..catalogue.record import find_record
from ..catalogue.vocabulary import standard_name
from .knowledge import Knowledge


@dataclass(frozen=True)
class Group:
    """Entities that a question is about, all of them; the fields are those of `Draft`."""

    entities: tuple[str, ...]
    perspective: int
    clue: str


def clues(perspective: int, entities: int) -> tuple[str, ...]:
    """What can stand in a question: nothing in III, a box or a point in IV, and a box for each of several."""
    if perspective == 3:
        return ("",)
    return ("box", "point") if entities == 1 else ("box",)


def named_entities(names: Iterable[str], knowledge: Mapping[str, Knowledge]) -> list[str]:
    """The entities that a user names, each by its standard name or a synonym.

    Raises:
        InputError: there is no record of one.
    """
    found = []
    for name in names:
        entity = name if name in knowledge else standard_name(name)
        if entity is None or entity not in knowledge:
            raise InputError("--entity", repr(name), "an entity with a knowledge entry, or --knowledge FILE with one")
        found.append(entity)
    return list(dict.fromkeys(found))


def source_entities(source: str, perspectives: Sequence[int]) -> list[str]:
    """The entities that a set of the catalogue labels, in the order of its record, as far as it serves the perspectives.

    Raises:
        InputError: there is no such set, or it serves none of the perspectives.
    """
    record = find_record(source)
    if record is None:
        raise InputError("--dataset-entities", repr(source), "the name of a set of the catalogue")
    found: dict[str, None] = {}
    for series in record.series:
        if set(series.perspectives) & set(perspectives):
            labelled = (name for layout in record.layouts for labels in layout.labels for name in labels.entities)
            found.update(dict.fromkeys(series.entities or labelled))
    if not found:
        wanted = " or ".join(map(str, perspectives))
        raise InputError(
            "--dataset-entities", f"{source!r}, not of perspective {wanted}", "a set that `mimo catalogue` lists for it"
        )
    return list(found)


def make_groups(
    sets: Iterable[Sequence[str]], perspectives: Sequence[int], several: int = 1, most: int | None = None, seed: int = 0
) -> list[Group]:
    """Every choice of `several` entities out of each set, for each perspective and clue; none twice.

    Args:
        sets: entities that can occur in one image.
        most: choose so many of the choices at random.

    Raises:
        InputError: no set has that many entities.
    """
    choices = list(dict.fromkeys(choice for names in sets for choice in itertools.combinations(names, several)))
    if not choices:
        raise InputError("--several", str(several), "no more than the entities that were named")
    if most is not None and most < len(choices):
        kept = set(random.Random(seed).sample(range(len(choices)), most))
        choices = [choice for number, choice in enumerate(choices) if number in kept]
    return [Group(c, p, clue) for c in choices for p in perspectives for clue in clues(p, several)]
