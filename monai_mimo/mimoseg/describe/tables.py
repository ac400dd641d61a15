"""The statistics of a built set as tables: for people in Markdown, for programs in CSV, with pictures in one folder."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import OutputError
from ...files import atomic_folder, output_errors
from ..categories import NUMERALS, SPLITS
from .charts import draw_entities, draw_examples, draw_modalities, draw_samples
from .statistics import Statistics, count, open_splits, published_splits

Cell = str | int | None


@dataclass(frozen=True)
class Table:
    """A table with a title; `name` is that of its CSV file. An empty cell is none."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def markdown(self) -> str:
        """Columns of numbers are right-aligned."""
        numbers = [all(not isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns))]
        texts = [list(self.columns), *[[_text(cell) for cell in row] for row in self.rows]]
        widths = [max(3, *(len(row[i]) for row in texts)) for i in range(len(self.columns))]

        def line(cells: Sequence[str]) -> str:
            padded = [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(cells, widths, numbers)]
            return f"| {' | '.join(padded)} |"

        rule = "|".join("-" * (w + 1) + (":" if n else "-") for w, n in zip(widths, numbers))
        return "\n".join([line(texts[0]), f"|{rule}|", *map(line, texts[1:])])

    def write_csv(self, folder: Path) -> None:
        """Write FOLDER/NAME.csv."""
        with open(folder / f"{self.name}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows(self.rows)


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:,}" if isinstance(cell, int) else cell.replace("|", "\\|")


def tables(statistics: Statistics) -> list[Table]:
    """Samples by perspective and split, modalities, sources, entities."""
    return [_samples(statistics), _modalities(statistics), _sources(statistics), _entities(statistics)]


def _samples(statistics: Statistics) -> Table:
    published = published_splits()
    rows: list[list[Cell]] = []
    for perspective, cells in statistics.samples.items():
        ours = [cells[split] for split in SPLITS]
        theirs = [published[perspective][split] for split in SPLITS] if perspective in published else None
        rows.append([NUMERALS[perspective], *ours, sum(ours), *([*theirs, sum(theirs)] if theirs else [None] * 4)])
    rows.append(["all", *(sum(row[i] or 0 for row in rows) for i in range(1, 9))])  # type: ignore[misc]
    columns = [*SPLITS, "total"]
    return Table(
        "samples",
        "Samples by perspective and split",
        ["perspective", *columns, *(f"published {c}" for c in columns)],
        rows,
    )


def _modalities(statistics: Statistics) -> Table:
    total = max(1, statistics.total.samples)
    rows: list[list[Cell]] = [
        [name or "not stated", c.images, c.masks, c.samples, f"{100 * c.samples / total:.1f} %"]
        for name, c in [*statistics.modalities.items(), ("all", statistics.total)]
    ]
    return Table("modalities", "Modalities", ["modality", "images", "masks", "samples", "share of samples"], rows)


def _sources(statistics: Statistics) -> Table:
    def difference(ours: int, published: int | None) -> int | None:
        return None if published is None else ours - published

    rows: list[list[Cell]] = [
        [
            s.source,
            s.modality + (f" ({', '.join(s.sequences)})" if s.sequences else ""),
            ", ".join(s.entities),
            ", ".join(NUMERALS[p] for p in s.perspectives),
            s.counts.samples,
            s.counts.images,
            s.published_images,
            difference(s.counts.images, s.published_images),
            s.counts.masks,
            s.published_masks,
            difference(s.counts.masks, s.published_masks),
        ]
        for s in statistics.sources
    ]
    columns = ["source", "modality", "entities", "perspectives", "samples"]
    for kind in ("images", "masks"):
        columns += [kind, f"published {kind}", f"difference of {kind}"]
    return Table("sources", "Sources", columns, rows)


def _entities(statistics: Statistics) -> Table:
    rows: list[list[Cell]] = [[e.entity, ", ".join(e.modalities), e.masks, e.samples] for e in statistics.entities]
    return Table("entities", "Entities", ["entity", "modalities", "masks", "samples"], rows)


def report(statistics: Statistics, name: str, pictures: Sequence[str] = ()) -> str:
    """One Markdown page with all tables, and with the pictures that are there."""
    parts = [
        f"# Statistics of {name}",
        "A sample is one question with its answer; an image counts once however many questions are about it, and a mask "
        "once for each image and phrase. Published numbers are those of MIMOSeg (CVPR 2025).",
    ]
    for table in tables(statistics):
        parts += [f"## {table.title}", table.markdown()]
        parts += [f"![{table.title}]({p})" for p in pictures if p == f"{table.name}.png"]
    parts += [
        f"## Examples of perspective {p.removeprefix('perspective-').removesuffix('.png')}\n\n![examples]({p})"
        for p in pictures
        if p.startswith("perspective-")
    ]
    return "\n\n".join(parts) + "\n"


def write_statistics(folder: str | Path, out: str | Path, *, force: bool = False) -> Statistics:
    """Count a built set and write OUT/statistics.md with its tables (CSV) and pictures (PNG) beside it.

    Raises:
        DataError: there is no built set.
        OutputError: `out` exists and is not to be replaced (`force`), or cannot be written.
    """
    out = Path(out)
    if out.exists() and not force:
        raise OutputError(out, "an existing path", "a new folder for the statistics, or --force")
    if out.exists() and not (out / "statistics.md").is_file():
        raise OutputError(out, "a path without statistics.md", "a folder that `mimo stats` wrote, to replace it")
    splits = open_splits(folder)
    statistics = count(splits)
    with output_errors(out), atomic_folder(out, replace=force) as new:
        for table in tables(statistics):
            table.write_csv(new)
        draw_samples(statistics, new / "samples.png")
        draw_modalities(statistics, new / "modalities.png")
        draw_entities(statistics, new / "entities.png")
        for perspective in statistics.samples:
            draw_examples(splits, perspective, new / f"perspective-{NUMERALS[perspective]}.png")
        pictures = sorted((p.name for p in new.glob("*.png")), key=lambda p: (len(p), p))
        (new / "statistics.md").write_text(report(statistics, Path(folder).name, pictures), encoding="utf-8")
    return statistics
