"""The statistics of a built set as tables and charts: in Markdown for people, in CSV for programs, with pictures in a folder."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...errors import OutputError
from ...files import atomic_folder, output_errors
from ...licences import strictest, use_of
from ...visualize import PALETTE, PanelRow, panel, save_figure
from ..categories import NUMERALS, SPLITS
from ..encoding import decode_rle, plain_answer
from .licences import source_licences
from .statistics import Statistics, count_samples, open_splits, published_splits

SHADES = [tuple(v / 255 for v in color) for color in [PALETTE[6], *PALETTE[:6]]]  # blue for the largest
GREY = (0.55, 0.55, 0.55)
MOST_ENTITIES, EXAMPLES = 30, 4


def draw_samples(statistics: Statistics, path: Path) -> None:
    """Bars for each perspective, one panel for each split, with the published numbers at the foot of each."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    published = published_splits()
    for axis, split in zip(figure.subplots(1, len(SPLITS)), SPLITS):
        names = [NUMERALS[p] for p in statistics.samples]
        numbers = [cells[split] for cells in statistics.samples.values()]
        bars = axis.bar(names, numbers, color=SHADES[0], width=0.65)
        axis.bar_label(bars, [f"{n:,}" for n in numbers], fontsize=9, padding=2)
        theirs = [f"{published[p][split]:,}" if p in published else "-" for p in statistics.samples]
        axis.set_xticks(range(len(names)), [f"{n}\n{t}" for n, t in zip(names, theirs)], fontsize=9)
        axis.set_title(f"{split}: {sum(numbers):,}", fontsize=11)
        axis.margins(y=0.15)
        _bare(axis, "y")
    figure.supxlabel("perspective, and the published number of its samples", fontsize=9, color="0.35")
    save_figure(figure, path, dpi=110)


def draw_modalities(statistics: Statistics, path: Path) -> None:
    """A ring of samples by modality, and beside it what each modality has."""
    names = list(statistics.modalities)
    counts = list(statistics.modalities.values())
    colors = [SHADES[i] if i < len(SHADES) else GREY for i in range(len(names))]
    total = max(1, statistics.total.samples)
    figure = Figure(figsize=(8.5, 4), layout="constrained")
    ring, key = figure.subplots(1, 2, width_ratios=[1, 1.15])
    if counts:
        ring.pie(
            [c.samples for c in counts],
            colors=colors,
            startangle=90,
            counterclock=False,
            wedgeprops={"width": 0.42, "edgecolor": "white", "linewidth": 1.5},
        )
    ring.text(0, 0, f"{statistics.total.samples:,}\nsamples", ha="center", va="center", fontsize=13)
    key.axis("off")
    key.set_xlim(0, 1)
    key.set_ylim(max(9, len(names) + 1), -0.7)
    columns = (0.07, 0.55, 0.75, 0.95, 1.08)
    for place, heading in zip(columns, ("", "share", "images", "masks")):
        key.text(place, -0.1, heading, ha="right", va="center", fontsize=9, color="0.4")
    for line, (name, c, color) in enumerate(zip(names, counts, colors), start=1):
        key.scatter(0.02, line, s=90, color=color, marker="s")
        key.text(columns[0], line, name or "not stated", va="center", fontsize=11)
        texts = (f"{100 * c.samples / total:.1f} %", f"{c.images:,}", f"{c.masks:,}")
        for place, text in zip(columns[1:], texts):
            key.text(place, line, text, ha="right", va="center", fontsize=10)
    save_figure(figure, path, dpi=110)


def draw_entities(statistics: Statistics, path: Path) -> None:
    """The entities with the most masks, as bars."""
    shown = statistics.entities[:MOST_ENTITIES]
    figure = Figure(figsize=(7.5, 1.1 + 0.26 * max(1, len(shown))), layout="constrained")
    axis = figure.subplots()
    bars = axis.barh([e.entity for e in shown], [e.masks for e in shown], color=SHADES[0], height=0.7)
    axis.bar_label(bars, [f"{e.masks:,}" for e in shown], fontsize=8, padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.1, y=0.01)
    more = len(statistics.entities) - len(shown)
    axis.set_title("masks by entity" + (f", without {more} rarer ones" if more else ""), fontsize=11)
    axis.tick_params(labelsize=9)
    _bare(axis, "x")
    save_figure(figure, path, dpi=110)


def draw_examples(splits: Mapping[str, Dataset], perspective: int, path: Path) -> None:
    """Questions of one perspective with their answers and masks, each from another modality if there are enough.
    Nothing is written when the set has none."""
    rows = example_rows(splits, perspective)
    if rows:
        panel([panel_row(row) for row in rows], path)


def example_rows(splits: Mapping[str, Dataset], perspective: int) -> list[dict[str, Any]]:
    """Up to four rows of a perspective, of different modalities first, that ground something; the same each time."""
    chosen: dict[str, tuple[str, int]] = {}
    for split, rows in splits.items():
        table = rows.select_columns(["perspective", "modality", "entities"]).with_format("arrow")[:]
        right = pc.equal(table["perspective"], perspective)
        if perspective:  # VQA has no masks
            right = pc.and_(right, pc.greater(pc.list_value_length(table["entities"]), 0))
        places = np.flatnonzero(right.to_numpy())
        modalities = np.array(table["modality"].take(places).to_pylist(), dtype=object)
        for modality in dict.fromkeys(modalities):
            of_it = places[modalities == modality]
            chosen.setdefault(modality, (split, int(of_it[len(of_it) // 2])))
    return [splits[split][place] for split, place in list(chosen.values())[:EXAMPLES]]


def panel_row(row: dict[str, Any]) -> PanelRow:
    """A row of a built set as a row of a panel."""
    answer, spans = plain_answer(row["answer"])
    return PanelRow(
        image=np.asarray(row["image"].convert("RGB")),
        question=row["question"],
        answer=answer,
        spans=spans,
        predicted=[decode_rle(e["mask"]) for e in row["entities"]],
        points=row["points"],
        boxes=row["boxes"],
        title=f"{row['modality'] or 'modality not stated'}, {textwrap.shorten(row['source'], 24)}",
    )


def _bare(axis: Axes, numbers: str) -> None:
    """Take away the axis of numbers, which stand at the bars."""
    axis.spines[["top", "right", "left" if numbers == "y" else "bottom"]].set_visible(False)
    if numbers == "y":
        axis.tick_params(left=False, labelleft=False)
    else:
        axis.tick_params(bottom=False, labelbottom=False)


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


def licence_table(folder: str | Path, statistics: Statistics) -> Table:
    """The licence of each source of a built set, and what it allows; see `licences.use_of`."""
    licences = source_licences(folder, (s.source for s in statistics.sources))
    rows: list[list[Cell]] = [[name, licence, use_of(licence)] for name, licence in licences.items()]
    rows.append(["all", None, strictest(licences.values())])
    return Table("licences", "Licences", ["source", "licence", "use"], rows)


def statistics_page(statistics: Statistics, licences: Table, name: str, pictures: Sequence[str] = ()) -> str:
    """One Markdown page with all tables, and with the pictures that are there."""
    parts = [
        f"# Statistics of {name}",
        "A sample is one question with its answer; an image counts once however many questions are about it, and a mask "
        "once for each image and phrase. Published numbers are those of MIMOSeg (CVPR 2025).",
    ]
    for table in [*tables(statistics), licences]:
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
    statistics = count_samples(splits)
    licences = licence_table(folder, statistics)
    with output_errors(out), atomic_folder(out, replace=force) as new:
        for table in [*tables(statistics), licences]:
            table.write_csv(new)
        draw_samples(statistics, new / "samples.png")
        draw_modalities(statistics, new / "modalities.png")
        draw_entities(statistics, new / "entities.png")
        for perspective in statistics.samples:
            draw_examples(splits, perspective, new / f"perspective-{NUMERALS[perspective]}.png")
        pictures = sorted((p.name for p in new.glob("*.png")), key=lambda p: (len(p), p))
        (new / "statistics.md").write_text(
            statistics_page(statistics, licences, Path(folder).name, pictures), encoding="utf-8"
        )
    return statistics
