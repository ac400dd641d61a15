"""From a record of the catalogue and a folder to cases: the tree is scanned once, and paths are matched with patterns. The
same tells whether a download is laid out as its record says."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from ...errors import DataError
from ..catalogue.patterns import Pattern
from ..catalogue.record import LabelFile, Layout, Record, Series
from .cases import Case, Label, Reader

NAMED = ("map", "rle_csv", "polygons_xml", "polygons_json")  # every value or name in them must stand for something


@dataclass
class Tree:
    """All paths below a folder, with "/" between parts, in alphabetical order; hidden ones are left out.

    Attributes:
        unread: folders that could not be read, with the reason.
    """

    root: Path
    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class FoundLabels:
    """The files of one pattern of labels: path and fields of each, by the values of the fields that images have too."""

    pattern: Pattern
    shared: list[str]
    index: dict[tuple[str, ...], list[tuple[str, dict[str, str]]]]


@dataclass
class Found:
    """What a layout found in a tree: path and fields of each image, and the files of each of its patterns of labels."""

    images: list[tuple[str, dict[str, str]]]
    labels: list[FoundLabels]


def scan(root: Path) -> Tree:
    """List a folder. Links are followed; a folder below that cannot be read is noted.

    Raises:
        DataError: `root` itself cannot be read.
    """
    tree = Tree(root)
    try:
        os.scandir(root).close()
    except OSError as error:
        raise DataError(root, error.strerror or str(error), "a folder that can be read") from error
    _scan(tree, "", frozenset())
    tree.files.sort()
    tree.folders.sort()
    return tree


def _scan(tree: Tree, below: str, above: frozenset[tuple[int, int]]) -> None:
    folder = tree.root / below
    try:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:  # a link to a folder that holds it
            return
        with os.scandir(folder) as entries:
            folders = []
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = f"{below}{entry.name}"
                if entry.is_dir():
                    folders.append(path)
                else:
                    tree.files.append(path)
    except OSError as error:
        tree.unread.append((below.rstrip("/"), error.strerror or str(error)))
        return
    for path in folders:
        tree.folders.append(path)
        _scan(tree, f"{path}/", above | {here})


def find(tree: Tree, record: Record, layout: Layout) -> Found:
    """Match the tree with the patterns of a layout."""
    fills = _sequence_fills(record)
    pattern = Pattern(layout.images, fills)
    images = _matches(pattern, tree.files) or _matches(pattern, tree.folders)
    labels = []
    for file in layout.labels:
        label_pattern = file.pattern(fills, pattern)
        shared = [name for name in label_pattern.fields if name in pattern.fields]
        index: dict[tuple[str, ...], list[tuple[str, dict[str, str]]]] = {}
        for path, fields in _matches(label_pattern, tree.files):
            index.setdefault(tuple(fields[name] for name in shared), []).append((path, fields))
        labels.append(FoundLabels(label_pattern, shared, index))
    return Found(images, labels)


def record_cases(name: str, tree: Tree, record: Record) -> tuple[list[Case], list[str]]:
    """The cases of a set, by the first layout of its record that fits the folder, and notes about what was left out.

    Faults of single files are found when the case is read, so that one does not hide the rest.

    Raises:
        DataError: no layout fits.
    """
    for layout in record.layouts:
        found = find(tree, record, layout)
        if found.images and any(labels.index for labels in found.labels):
            return _cases(name, tree, record, layout, found)
    images = " or ".join(dict.fromkeys(layout.images for layout in record.layouts))
    labels = " or ".join(dict.fromkeys(file.file for layout in record.layouts for file in layout.labels))
    has_images = any(find(tree, record, layout).images for layout in record.layouts)
    what = f"images, but no {labels}" if has_images else f"no {images}"
    raise DataError(tree.root, what, f"the tree of {record.name}: images {images}, labels {labels}")


def _cases(name: str, tree: Tree, record: Record, layout: Layout, found: Found) -> tuple[list[Case], list[str]]:
    cases, unlabelled = [], []
    used: set[int] = set()
    patient = Pattern(layout.patient)
    readers = [_reader(file) for file in layout.labels]
    base_names = Counter(path.rpartition("/")[2] for path, _ in found.images)
    for path, fields in found.images:
        key = path if base_names[path.rpartition("/")[2]] > 1 else ""
        labels = _labels_of(tree.root, fields, layout, found, readers, key)
        if labels is None:
            unlabelled.append(path)
            continue
        for number, series in enumerate(record.series):
            for sequence, channel in _sequences(series, fields):
                chosen = {e: label for e, label in labels.items() if series.entities is None or e in series.entities}
                cases.append(
                    Case(
                        source=name,
                        patient=patient.fill(fields),
                        modality=series.modality,
                        image=tree.root / path,
                        labels=chosen,
                        sequence=sequence,
                        channel=channel,
                        plane=series.axis,
                        window=(series.window.level, series.window.width) if series.window else None,
                        perspectives=tuple(series.perspectives),
                        cohort=record.cohort,
                    )
                )
                used.add(number)
    notes = [f"{path}: {reason}" for path, reason in tree.unread]
    if unlabelled:
        notes.append(f"{len(unlabelled)} images without labels, {unlabelled[0]} the first of them")
    for number, series in enumerate(record.series):
        if number not in used:
            sequences = f" ({', '.join(series.sequences)})" if series.sequences else ""
            notes.append(f"no image for {series.modality}{sequences} of perspectives {series.perspectives}")
    return cases, notes


def _labels_of(
    root: Path, fields: dict[str, str], layout: Layout, found: Found, readers: list[Reader], key: str
) -> dict[str, Label] | None:
    """The labels of an image; none when it has no file with labels and needs one. `key` is its path in the set when another image
    has its name in another folder."""
    parts: dict[str, list[Label]] = {}
    missing: dict[str, Label] = {}
    any_file = False
    for file, labels, reader in zip(layout.labels, found.labels, readers):
        files = labels.index.get(tuple(fields[name] for name in labels.shared), [])
        any_file |= bool(files)
        if file.kind == "rle_csv":
            reader = replace(reader, key=Pattern(file.option("key")).fill(fields))
        elif file.kind == "polygons_json":
            reader = replace(reader, key=key)
        each = "entity" in labels.pattern.fields
        for entity, values in file.entities.items():
            texts = [str(value) for value in values]
            mine = [path for path, has in files if not each or has["entity"] in texts]
            value = None if each or not values else values[0] if len(values) == 1 else tuple(values)
            parts.setdefault(entity, []).extend(Label(root / path, value, reader) for path in mine)
            if not mine and not file.optional:
                expected = labels.pattern.fill({"entity": texts[0], **fields} if each else fields)
                missing[entity] = Label(root / expected, value, reader)
    if not any_file and missing:
        return None
    out = {}
    for entity, found_parts in parts.items():
        if entity in missing:
            found_parts.append(missing[entity])
        first, *others = found_parts or [Label(None)]
        out[entity] = Label(first.path, first.value, first.reader, tuple(others))
    return out


def _reader(file: LabelFile) -> Reader:
    values = [list(values) for values in file.entities.values()]
    known = None
    if file.kind in NAMED and all(values) and "entity" not in file.pattern().fields:
        known = (*(value for several in values for value in several), *file.ignored)
    return Reader(file.kind, known, tuple(sorted(file.options.items())))


def _sequences(series: Series, fields: dict[str, str]) -> Iterator[tuple[str | None, int | None]]:
    """Sequence and channel of each case that a series makes of an image; nothing when it does not use it."""
    if not all(re.fullmatch(expression, fields.get(name, "")) for name, expression in series.where.items()):
        return
    if series.sequences is None:
        yield fields.get("sequence"), None
        return
    for sequence, fill in series.sequences.items():
        if isinstance(fill, int):
            yield sequence, fill
        elif fields.get("sequence", "") == fill:
            yield sequence, None


def _sequence_fills(record: Record) -> dict[str, list[str]]:
    fills = [f for series in record.series for f in (series.sequences or {}).values() if isinstance(f, str) and f]
    return {"sequence": fills} if fills else {}


def _matches(pattern: Pattern, paths: list[str]) -> list[tuple[str, dict[str, str]]]:
    return [(path, fields) for path in paths if (fields := pattern.match(path)) is not None]


class SourceCheck(NamedTuple):
    """One line of the list: "missing" stops the use of something that the record needs, "note" does not."""

    state: Literal["found", "missing", "note"]
    text: str


def check_source(record: Record, folder: Path) -> list[SourceCheck]:
    """Look for the files of a set without reading them.

    Raises:
        DataError: the folder cannot be read.
    """
    tree = scan(folder)
    found = [find(tree, record, layout) for layout in record.layouts]
    number = max(range(len(found)), key=lambda n: (_complete(found[n]), len(found[n].images), -n))
    layout, best = record.layouts[number], found[number]
    checks = [SourceCheck("note", f"{path}: {reason}") for path, reason in tree.unread]
    count = len(best.images)
    checks.append(
        SourceCheck("found", f"{layout.images}: {_number(count, 'image')}")
        if count
        else SourceCheck("missing", layout.images)
    )
    for file, labels in zip(layout.labels, best.labels):
        files = [path for paths in labels.index.values() for path in paths]
        if not files:
            checks.append(
                SourceCheck("note" if file.optional else "missing", f"{file.file}{' (optional)' * file.optional}")
            )
            continue
        checks.append(SourceCheck("found", f"{file.file}: {_number(len(files), 'file')}"))
        if "entity" in labels.pattern.fields:
            seen = {fields["entity"] for _, fields in files}
            for entity, values in file.entities.items():
                if not seen & set(map(str, values)):
                    checks.append(SourceCheck("note" if file.optional else "missing", f"any file of {entity}"))
    if not _complete(best):
        return checks
    try:
        cases, notes = record_cases(record.name, tree, record)
    except DataError as error:
        return [*checks, SourceCheck("missing", f"{error.expected} ({error.found})")]
    for series in record.series:
        for sequence in series.sequences or [None]:
            used = {
                (case.image, case.channel)
                for case in cases
                if (case.modality, case.perspectives) == (series.modality, tuple(series.perspectives))
                and sequence in (None, case.sequence)
            }
            perspectives = ", ".join(map(str, series.perspectives))
            text = f"{series.modality}{f' {sequence}' if sequence else ''} for perspectives {perspectives}"
            checks.append(
                SourceCheck("found" if used else "missing", f"{text}: {_number(len(used), 'labelled image')}")
            )
    paths = {part.path for case in cases for label in case.labels.values() for part in label.parts if part.path}
    checks += [SourceCheck("missing", str(path.relative_to(folder))) for path in sorted(paths) if not path.exists()]
    return checks + [SourceCheck("note", note) for note in notes if "without labels" in note]


def _complete(found: Found) -> bool:
    return bool(found.images) and any(labels.index for labels in found.labels)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
