"""The charts of `mimo stats`: samples by perspective and split, modalities, entities, and examples of each perspective."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...visualize import PALETTE, PanelRow, panel, save_figure
from ..categories import NUMERALS, SPLITS
from ..encoding import decode_rle, plain_answer
from .statistics import Statistics, published_splits

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
