"""What the builder works on: source sets as lists of cases. A case is one image with the place of each of its labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ...files import digest
from ...licences import UNKNOWN
from ..catalogue.record import OPTIONS, Record


@dataclass(frozen=True)
class Reader:
    """How a file with labels is read.

    Attributes:
        kind: as in the catalogue's records.
        known: the values other than 0 that a label map may hold; none: those that the labels of the case have.
        options: of the kind, as pairs of name and value.
        key: what the image is called in a table of many images.
    """

    kind: str = "map"
    known: tuple[int | str, ...] | None = None
    options: tuple[tuple[str, Any], ...] = ()
    key: str = ""

    def option(self, name: str) -> Any:
        """As given, or the default of the kind."""
        return dict(self.options).get(name, OPTIONS[self.kind][name])


@dataclass(frozen=True)
class Label:
    """Where one entity's mask is: the pixels of `path` that hold `value` (or one of several), or that are not zero when
    `value` is none. A `path` of none says that the entity was looked for and is not there. The mask is united with those of
    the labels in `also`."""

    path: Path | None
    value: int | str | tuple[int | str, ...] | None = None
    reader: Reader = Reader()
    also: tuple[Label, ...] = ()

    @property
    def values(self) -> tuple[int | str, ...]:
        """All that stand for the entity; empty: everything but 0."""
        if self.value is None:
            return ()
        return self.value if isinstance(self.value, tuple) else (self.value,)

    @property
    def parts(self) -> tuple[Label, ...]:
        """This one and those that it is united with."""
        return (self, *self.also)

    def __str__(self) -> str:
        """ "FILE:VALUE", for the provenance of a row; several values are "1+2", and several files have "; " between."""
        parts = []
        for part in self.parts:
            values = "+".join(map(str, part.values)) or "nonzero"
            parts.append(f"{part.path.name if part.path else ''}:{values}")
        return "; ".join(parts)


@dataclass(frozen=True)
class VqaPair:
    """A question that was published with its answer; `number` is its place in the set, `template` "LAYOUT/closed" or
    "LAYOUT/open"."""

    number: int
    question: str
    answer: str
    template: str


@dataclass(frozen=True)
class Case:
    """One image with all entities that its source labels, or with the questions that were published about it.

    Attributes:
        image: a file, or the folder of a DICOM series; `channel` is the one to read of a 4-D file.
        labels: entity -> where its mask is.
        sequence: of MR or perfusion images, e.g. "FLAIR".
        plane: whose slices are shown.
        window: (level, width) of the grey values; none: the rule of the modality.
        perspectives: which questions may be made of it.
        root: the folder of the source set; the builder fills it in.
        cohort: sets that hold the same patients under the same ids name one cohort.
        split: in which it was published; none: splits are drawn by patient.
        pairs: what was published about it, in a set without masks. It has no labels, and its modality may be "".
    """

    source: str
    patient: str
    modality: str
    image: Path
    labels: dict[str, Label]
    sequence: str | None = None
    channel: int | None = None
    plane: str = "axial"
    window: tuple[float, float] | None = None
    perspectives: tuple[int, ...] = (1, 2, 3, 4)
    root: Path | None = None
    cohort: str | None = None
    split: str | None = None
    pairs: tuple[VqaPair, ...] = ()

    @property
    def group(self) -> str:
        """Within which a patient's id is one patient: the cohort, or else the source."""
        return self.cohort or self.source

    @cached_property
    def file(self) -> str:
        """The image's path below the folder of its source set, with "/" between folders."""
        return below(self.root, self.image)

    @cached_property
    def key(self) -> str:
        """What tells it from every other case of its source, wherever the source lies: the file, what is read of it and how
        it is shown, and its labels or questions."""
        if self.pairs:
            return f"{self.file} {self.split} {self.pairs}"
        shown = (self.sequence, self.channel, self.plane, self.window, self.perspectives)
        labels = {e: (label.path and below(self.root, label.path), label.value) for e, label in self.labels.items()}
        return f"{self.file} {shown} {labels}"


@dataclass(frozen=True)
class SourceSpec:
    """A source set as the user names it. `label` and `modality`, or the file of a `record`, describe a folder that does not
    tell them itself."""

    name: str
    path: Path
    label: str | None = None
    modality: str | None = None
    record: Path | None = None


@dataclass
class Source:
    """A set that was found, with its cases.

    Attributes:
        layout: in a word.
        notes: what was left out and why, a line for each.
        record: of the catalogue or the user, when there is one.
        licence: as its record or its own files state it, else as `licence_of` does; of several sets in one, see `licence_of`.
    """

    name: str
    path: Path
    layout: str
    cases: list[Case] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    record: Record | None = None
    licence: str = UNKNOWN


def below(root: Path | None, path: Path) -> str:
    """`path` as seen from `root`, or its name where it does not lie below."""
    if root is not None and path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return path.name


def patient_key(case: Case) -> str:
    """A name for the patient that does not tell who it is: 16 hex digits of sha256."""
    return digest(f"{case.group}/{case.patient}")[:16]
