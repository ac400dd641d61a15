"""The standard names of what the sets label: one name for one thing, with its synonyms and codes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from ...errors import DataError
from .record import Strict


class VocabularyEntry(Strict):
    """One thing that sets label.

    Attributes:
        synonyms: other names of it.
        plural: the name is plural by nature.
        family: the entity of which this is one, e.g. "vertebra" of "L1 vertebra"; empty: none.
        snomed, radlex: codes; empty where none was verified. A side is not part of a SNOMED CT code when DICOM writes it as a
            modifier ("left femur" has the code of "femur").
        regions: parts of the body where it lies, of `regions.yaml`; modalities: those that can show it, empty: any. A member of
            a family that says neither has those of its family.
    """

    synonyms: list[str] = Field(default_factory=list)
    plural: bool = False
    family: str = ""
    snomed: str = ""
    radlex: str = ""
    regions: list[str] = Field(default_factory=list)
    modalities: list[str] = Field(default_factory=list)


@cache
def family_of(name: str) -> tuple[str, ...]:
    """The standard name of a name or synonym, then that of its family; empty for what is not in the vocabulary."""
    standard = standard_name(name)
    if standard is None:
        return ()
    family = vocabulary()[standard].family
    return (standard, family) if family else (standard,)


def with_synonyms(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Each name with its other names, for `MimoConfig.names` and `data.names.KnownNames`.

    They are those of the vocabulary that no other of `names` has, the standard name among them; none for a name that is not in
    the vocabulary. The first of two names of one thing has them.
    """
    given, found = list(dict.fromkeys(names)), dict[str, tuple[str, ...]]()
    taken = {_normalise(name) for name in given}
    for name in given:
        standard = standard_name(name)
        others = [standard, *vocabulary()[standard].synonyms] if standard else []
        found[name] = tuple(text for text in others if _normalise(text) not in taken)
        taken.update(map(_normalise, found[name]))
    return found


def load_vocabulary(file: Path) -> dict[str, VocabularyEntry]:
    """Read a vocabulary, standard name -> `VocabularyEntry`.

    Raises:
        DataError: it is no YAML, an entry is unknown, a name or synonym belongs to two entities, or a family is missing.
    """
    try:
        entries = yaml.safe_load(file.read_text())
        names = {name: VocabularyEntry.model_validate(entry) for name, entry in entries.items()}
    except (OSError, AttributeError, yaml.YAMLError) as error:
        raise DataError(file, " ".join(str(error).split()), "a YAML vocabulary") from error
    except ValidationError as error:
        fault = error.errors()[0]
        raise DataError(file, f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}", "a vocabulary") from error
    _index(file, names)
    for name, entity in names.items():
        if entity.family and entity.family not in names:
            raise DataError(file, f"{name}: family {entity.family!r}", "an entity of the vocabulary")
    return names


@cache
def vocabulary() -> dict[str, VocabularyEntry]:
    """The vocabulary that comes with the package, standard name -> `VocabularyEntry`."""
    return load_vocabulary(_FILE)


def standard_name(text: str) -> str | None:
    """The standard name of what `text` names, or none: names and synonyms in any spelling ("kidney_left", "Left Kidneys")."""
    index = _package_index()
    return next((index[key] for key in _keys(text) if key in index), None)


SPELLINGS = {"tumour": "tumor", "haem": "hem", "oesoph": "esoph", "oedem": "edem", "foet": "fet", "gray": "grey"}
_FILE = Path(str(resources.files(__package__) / "vocabulary.yaml"))


@cache
def _package_index() -> dict[str, str]:
    return _index(_FILE, vocabulary())


def _index(file: Path, names: dict[str, VocabularyEntry]) -> dict[str, str]:
    """Normalised name or synonym -> standard name."""
    index: dict[str, str] = {}
    for name, entity in names.items():
        for text in (name, *entity.synonyms):
            owner = index.setdefault(_normalise(text), name)
            if owner != name:
                raise DataError(file, f"{text!r} of both {owner!r} and {name!r}", "names that belong to one entity")
    return index


def _normalise(text: str) -> str:
    """Lower case, words of letters and digits with one blank between, one spelling of the words that have two."""
    key = re.sub(r"['’]s(?![a-z0-9])", "", text.casefold())
    for british, american in SPELLINGS.items():
        key = key.replace(british, american)
    return re.sub(r"[^a-z0-9]+", " ", key).strip()


def _keys(text: str) -> list[str]:
    """The spellings under which `text` is looked up: as it is, with the side in front, and each of them in the singular."""
    key = _normalise(text)
    keys = [key]
    if key.endswith((" left", " right")):
        words, _, side = key.rpartition(" ")
        keys.append(f"{side} {words}")
    return keys + [key.removesuffix("s") for key in keys]
