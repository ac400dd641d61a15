"""What is known of the entities, a YAML file for each part of the body: `{entity: {kind, plural, facts: {aspect: [...]}, sources,
reviewed}}`.

A fact is a predicate in the third person whose subject is the entity (in the plural if `plural`), without a capital at the
start or a full stop at the end: "filters the blood and makes urine". A question is "Which {kind} in this image {fact}?",
and its answer "The {entity} {fact}." So a fact names neither its entity, nor a synonym, nor a word that gives it away, nor
how the image was made (`modality_words`).

Families are written once. An entry with `like: OTHER` starts from the entry of OTHER and adds to it:

    kidney:
      kind: organ
      facts: {function: [filters the blood and makes urine, ...], ...}
      sources: [...]
    left kidney:
      like: kidney
      side: left
      apart: [has the longer vein of the two, which passes in front of the aorta]

`apart` holds the facts that tell the members of a family apart. A question about a member has to use at least one of them,
as all other facts hold for its relatives too. `side: left` or `right` adds the ones of `shared/sides.yaml`. What is apart in
OTHER is a plain fact of anatomy here: it holds for every member of that branch.

Relations are facts about several entities at once: see `Relation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ....errors import DataError

ASPECTS: tuple[Aspect, ...] = ("function", "anatomy", "appearance", "pathology", "diagnosis", "treatment")
Aspect = Literal["function", "anatomy", "appearance", "pathology", "diagnosis", "treatment"]
Kind = Literal[
    "organ", "structure", "vessel", "chamber", "bone", "muscle", "gland", "lesion", "device", "part", "region"
]


def _predicate(text: str) -> str:
    if not text[:1].islower() or text.rstrip()[-1:] in ".?!":
        raise ValueError(f"{text!r} is not a predicate: it starts with a small letter and has no full stop")
    return text


AnyModel = TypeVar("AnyModel", bound=BaseModel)
Fact = Annotated[str, AfterValidator(_predicate)]


class Knowledge(BaseModel):
    """What is known of one entity.

    Attributes:
        kind: the word a question uses for it without naming it.
        plural: whether its name takes "are".
        facts: by aspect.
        apart: facts of anatomy that tell it from the other members of its family; none: every fact does.
        give_away: beginnings of words that give the entity away, besides its name and synonyms ("hepat" for the liver).
        sources: two or more works in which the facts can be checked.
        reviewed: whether a clinician has read the entry, and those that it is like.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    plural: bool = False
    facts: dict[Aspect, list[Fact]] = Field(min_length=1)
    apart: list[Fact] = []
    give_away: list[str] = []
    sources: list[str] = Field(min_length=2)
    reviewed: bool = False


class RawEntry(BaseModel):
    """An entry as it stands in a file, where an entry that is like another one leaves out what it takes from there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    like: str | None = None
    side: Literal["left", "right"] | None = None
    kind: Kind | None = None
    plural: bool | None = None
    facts: dict[Aspect, list[Fact]] = {}
    apart: list[Fact] = []
    give_away: list[str] = []
    sources: list[str] = []
    reviewed: bool = False


class Relation(BaseModel):
    """What holds for several entities together.

    Attributes:
        entities: in the order of which the facts speak. "{side} kidney" stands for the kidney, the left and the right one:
            a relation with sides is three.
        facts: predicates in the plural whose subject is all of them: "Which structures in this image {fact}?", "The liver
            and the gallbladder {fact}." One that is not true of another order says "in this order".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    entities: tuple[str, ...] = Field(min_length=2)
    facts: list[Fact] = Field(min_length=1)


def load_knowledge(own: Iterable[Path] = ()) -> dict[str, Knowledge]:
    """The packaged entries, with those of the user's YAML files added or put in their place, by entity. A user's entry may
    be like a packaged one, and a packaged one that is like a replaced one follows it.

    Raises:
        DataError: a file is no entry; it names file, entity and field.
    """
    written = {**_packaged(), **_read(own)}
    return {entity: _merged(entity, written) for entity in written}


@cache
def relations() -> tuple[Relation, ...]:
    """The packaged relations, one for each side where they have sides."""
    found = []
    for values in _shared("relations.yaml"):
        sides = ("", "left ", "right ") if "{side}" in "".join(values["entities"]) else ("",)
        for side in sides:
            names = [name.replace("{side} ", side) for name in values["entities"]]
            found.append(Relation(entities=tuple(names), facts=values["facts"]))
    return tuple(found)


@cache
def modality_words() -> tuple[str, ...]:
    """Words that tell how an image was made, as written in `shared/modality_words.yaml`."""
    return tuple(_shared("modality_words.yaml"))


@cache
def _packaged() -> dict[str, tuple[Path, RawEntry]]:
    folder = resources.files(__package__)
    return _read(Path(str(f)) for f in sorted(folder.iterdir(), key=str) if f.name.endswith(".yaml"))


def _read(files: Iterable[Path]) -> dict[str, tuple[Path, RawEntry]]:
    """entity -> the file that it stands in and what is written there."""
    written = {}
    for file in files:
        try:
            values = yaml.safe_load(file.read_text()) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise DataError(file, str(error), "a YAML file of knowledge entries") from error
        if not isinstance(values, dict):
            raise DataError(file, f"a {type(values).__name__}", "entities, each with its entry")
        for entity, entry in values.items():
            written[str(entity)] = file, _checked(RawEntry, entry, str(entity), file)
    return written


def _merged(entity: str, written: Mapping[str, tuple[Path, RawEntry]], members: tuple[str, ...] = ()) -> Knowledge:
    """The entry of an entity, with what it takes from the one that it is like; `members` are those that take from it."""
    file, own = written[entity]
    values = own.model_dump(exclude={"like", "side"}, exclude_unset=True)
    if own.side is not None:
        values["apart"] = [*own.apart, *_shared("sides.yaml")[own.side]]
    if own.like is not None:
        if own.like in (*members, entity):
            raise DataError(file, f"{entity}.like: {own.like}, which is like {entity}", "no circle")
        if own.like not in written:
            raise DataError(file, f"{entity}.like: no entry of {own.like!r}", "the name of another entry")
        base = _merged(own.like, written, (*members, entity))
        values = {
            **base.model_dump(exclude={"apart"}),
            **values,
            "facts": _joined(base.facts, {"anatomy": base.apart}, own.facts),
            "give_away": [*base.give_away, *own.give_away],
            "reviewed": own.reviewed and base.reviewed,
        }
    return _checked(Knowledge, values, entity, file)


def _joined(*facts: Mapping[Any, list[str]]) -> dict[str, list[str]]:
    joined = {aspect: [fact for part in facts for fact in part.get(aspect, [])] for aspect in ASPECTS}
    return {aspect: texts for aspect, texts in joined.items() if texts}


def _checked(model: type[AnyModel], values: Any, entity: str, file: Path) -> AnyModel:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, (entity, *fault["loc"])))
        raise DataError(file, f"{place}: {fault['msg']}", "a knowledge entry") from error


@cache
def _shared(name: str) -> Any:
    return yaml.safe_load((resources.files(__package__) / "shared" / name).read_text())
