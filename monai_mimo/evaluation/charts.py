"""The charts of the report, as SVG in data addresses: figures with their intervals, and the reliability diagram."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ..visualize import PALETTE

SHADES = [tuple(value / 255 for value in color) for color in (PALETTE[6], PALETTE[0])]
GREY = "0.55"


def figures_chart(summary: Mapping[str, Any], field: str = "f1", label: str = "grounding F1") -> str:
    """One figure of each perspective, modality and source as a point with its interval."""
    names = [
        name
        for name, cell in summary.items()
        if isinstance(cell, Mapping)
        and "f1" in cell
        and cell["samples"]
        and ", perspective " not in name
        and not math.isnan(cell[field])
    ]
    figure = Figure(figsize=(6.4, 0.9 + 0.28 * len(names)), layout="constrained")
    axis = figure.subplots()
    for place, name in enumerate(reversed(names)):
        cell = summary[name]
        low, high = cell["interval"].get(field, [math.nan, math.nan])
        axis.plot([low, high], [place, place], color=SHADES[0], linewidth=2.5, alpha=0.45, solid_capstyle="round")
        axis.plot(cell[field], place, "o", color=SHADES[0], markersize=6)
    axis.set_yticks(range(len(names)), [f"{name} ({summary[name]['samples']})" for name in reversed(names)], fontsize=9)
    for text in axis.get_yticklabels():
        text.set_parse_math(False)  # a name with a dollar is a name
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel(label, fontsize=9)
    axis.grid(axis="x", alpha=0.25)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    return _svg(figure)


def reliability_chart(calibration: Mapping[str, Any]) -> str:
    """Fraction right against mean score in bins, the diagonal, and how many phrases each bin has."""
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfect")
    kinds = [("raw score", calibration)]
    if "scaled" in calibration:
        kinds.append((f"after temperature {calibration['scaled']['temperature']:.2f}", calibration["scaled"]))
    for (name, values), shade in zip(kinds, SHADES):
        points = [(s, c) for s, c, n in zip(values["score"], values["correct"], values["count"]) if n]
        upper.plot(*zip(*points), "o-", color=shade, markersize=5, label=f"{name} (ECE {values['ece']:.3f})")
        bins = len(values["count"])
        places = [(n + 0.5) / bins for n in range(bins)]
        lower.bar(places, values["count"], width=0.9 / bins, color=shade, alpha=0.5)
    upper.set_ylabel("fraction with IoU > 0.5", fontsize=9)
    upper.legend(frameon=False, fontsize=8)
    lower.set_ylabel("phrases", fontsize=9)
    lower.set_xlabel("score", fontsize=9)
    for axis in (upper, lower):
        axis.set_xlim(-0.02, 1.02)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.2)
    upper.set_ylim(-0.02, 1.02)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    """As an address for an image, in which nothing can be run; the same figure gives the same text."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "monai-mimo"}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode("ascii")
