"""Whether a download is laid out as its record says: a checklist."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from ..errors import DataError
from .catalogue.record import Record
from .record_cases import Found, find, record_cases, scan


class Check(NamedTuple):
    """One line of the list: "missing" stops the use of something that the record needs, "note" does not."""

    state: Literal["found", "missing", "note"]
    text: str


def check_source(record: Record, folder: Path) -> list[Check]:
    """Look for the files of a set without reading them.

    Raises:
        DataError: the folder cannot be read.
    """
    tree = scan(folder)
    found = [find(tree, record, layout) for layout in record.layouts]
    number = max(range(len(found)), key=lambda n: (_complete(found[n]), len(found[n].images), -n))
    layout, best = record.layouts[number], found[number]
    checks = [Check("note", f"{path}: {reason}") for path, reason in tree.unread]
    count = len(best.images)
    checks.append(
        Check("found", f"{layout.images}: {_number(count, 'image')}") if count else Check("missing", layout.images)
    )
    for file, labels in zip(layout.labels, best.labels):
        files = [path for paths in labels.index.values() for path in paths]
        if not files:
            checks.append(Check("note" if file.optional else "missing", f"{file.file}{' (optional)' * file.optional}"))
            continue
        checks.append(Check("found", f"{file.file}: {_number(len(files), 'file')}"))
        if "entity" in labels.pattern.fields:
            seen = {fields["entity"] for _, fields in files}
            for entity, values in file.entities.items():
                if not seen & set(map(str, values)):
                    checks.append(Check("note" if file.optional else "missing", f"any file of {entity}"))
    if not _complete(best):
        return checks
    try:
        cases, notes = record_cases(record.name, tree, record)
    except DataError as error:
        return [*checks, Check("missing", f"{error.expected} ({error.found})")]
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
            checks.append(Check("found" if used else "missing", f"{text}: {_number(len(used), 'labelled image')}"))
    paths = {part.path for case in cases for label in case.labels.values() for part in label.parts if part.path}
    checks += [Check("missing", str(path.relative_to(folder))) for path in sorted(paths) if not path.exists()]
    return checks + [Check("note", note) for note in notes if "without labels" in note]


def _complete(found: Found) -> bool:
    return bool(found.images) and any(labels.index for labels in found.labels)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
