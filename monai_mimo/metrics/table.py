"""The grounding table for people."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

COLUMNS = {
    "n": "samples",
    "F1": "f1",
    "Dice": "dice",
    "IoU": "iou",
    "phrases": "phrase_accuracy",
    "refusals": "refusal_accuracy",
}


def format_table(result: dict[str, dict[str, float]]) -> str:
    """The result of `GroundingMetric.compute` as a text table: first each modality's perspectives, then the sums."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    cells = [name for name in result if ", " in name]
    sums = [name for name in result if name.startswith("perspective")] + ["overall"]
    for number, name in enumerate([*cells, *sums]):
        if number == len(cells):
            table.add_section()
        table.add_row(name, *(_shown(result[name][field]) for field in COLUMNS.values()))
    console = Console(width=100, color_system=None)
    with console.capture() as text:
        console.print(table)
    return text.get().rstrip()


def _shown(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.3f}"
