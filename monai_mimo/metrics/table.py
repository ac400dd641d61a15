"""The figures of an evaluation as tables of text, for the terminal, Markdown and HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = {
    "F1": "f1",
    "Dice": "dice",
    "IoU": "iou",
    "phrases": "phrase_accuracy",
    "refusals": "refusal_accuracy",
}
MEASURED_COLUMNS = {"accuracy": "accuracy", "always the most frequent": "majority"}
VQA_COLUMNS = {"closed accuracy": "closed_accuracy", "open recall": "open_recall"}
WITH_INTERVAL = ("f1", "dice", "iou", "closed_accuracy", "open_recall", "accuracy")


@dataclass(frozen=True)
class TextTable:
    """A title, the names of columns, and groups of rows; the first cell of a row is its name."""

    title: str
    columns: list[str]
    groups: list[list[list[str]]]

    def plain(self) -> str:
        """For a terminal."""
        table = Table(box=None, pad_edge=False)
        for number, name in enumerate(self.columns):
            table.add_column(name, justify="right" if number else "left")
        for group in self.groups:
            for row in group:
                table.add_row(*row)
            table.add_section()
        console = Console(width=120, color_system=None)
        with console.capture() as text:
            console.print(table)
        return text.get().rstrip()

    def markdown(self) -> str:
        """With its title as a heading."""

        def line(cells: list[str]) -> str:
            return "| " + " | ".join(escaped(cell).replace("|", "\\|") for cell in cells) + " |"

        rule = "|" + "|".join("---" if not n else "---:" for n in range(len(self.columns))) + "|"
        rows = [line(row) for group in self.groups for row in group]
        return "\n".join([f"## {self.title}", "", line(self.columns), rule, *rows])


def escaped(text: str) -> str:
    """Text of the data set for Markdown, in which tags would be tags and line ends would be line ends."""
    return " ".join(escape(text, quote=False).split())


def grounding_text_table(result: Mapping[str, Any]) -> TextTable:
    """The grounding table: sums, perspectives, modalities, both, and sources; figures with their interval when there is one."""
    cells = [name for name, cell in result.items() if isinstance(cell, Mapping) and "f1" in cell]
    perspectives = [name for name in cells if name.startswith("perspective ")]
    sources = [name for name in cells if name.startswith("source ")]
    both = [name for name in cells if ", perspective " in name and name not in sources]
    modalities = [name for name in cells if name not in {*perspectives, *sources, *both, "overall"}]
    groups = [both, modalities, sources, [*perspectives, *(["overall"] if result["overall"]["samples"] else [])]]
    rows = [[table_row(name, result[name], COLUMNS) for name in group] for group in groups if group]
    return TextTable("Grounding", ["", "n", *COLUMNS], rows)


def measured_text_table(result: Mapping[str, Any]) -> TextTable:
    """Questions answered from masks, by kind, beside the best single answer of each kind."""
    rows = [
        [*table_row(kind, cell, MEASURED_COLUMNS), cell["majority_answer"] or "-", str(cell["unread"])]
        for kind, cell in result.items()
    ]
    title = "Questions answered from masks (perspective V)"
    return TextTable(title, ["", "n", *MEASURED_COLUMNS, "which is", "without a value"], [rows])


def vqa_text_table(result: Mapping[str, Any]) -> TextTable:
    """Questions without masks, by source."""
    names = [*(name for name in result if name != "overall"), "overall"]
    rows = [table_row(name, result[name], VQA_COLUMNS) for name in names if name in result]
    return TextTable("Questions without masks", ["", "n", *VQA_COLUMNS], [rows])


def table_row(name: str, cell: Mapping[str, Any], columns: Mapping[str, str]) -> list[str]:
    """The cells of one row."""
    intervals = cell.get("interval", {})
    return [name, str(cell["samples"]), *(shown(cell[field], _kept(field, intervals)) for field in columns.values())]


def _kept(field: str, intervals: Mapping[str, Any]) -> list[float] | None:
    return intervals.get(field) if field in WITH_INTERVAL else None


def shown(value: float | None, interval: Sequence[float | None] | None = None) -> str:
    """ "0.812 (0.77-0.85)", "0.812", or "-" for what is not defined."""
    if value is None or math.isnan(value):
        return "-"
    bounds = [bound for bound in interval or () if bound is not None and not math.isnan(bound)]
    return f"{value:.3f} ({bounds[0]:.2f}-{bounds[1]:.2f})" if len(bounds) == 2 else f"{value:.3f}"


def format_table(result: Mapping[str, Any]) -> str:
    """The result of `GroundingMetric.compute`, or of a whole evaluation, as a text table."""
    return grounding_text_table(result).plain()
