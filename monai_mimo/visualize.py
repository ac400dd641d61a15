"""Pictures: masks and prompts over an image, answers whose phrases have the colours of their masks, panels, curves."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:  # drawings alone need it, and it is slow to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

from .files import atomic_file

Color = tuple[int, int, int]

# Okabe and Ito's palette, which colour-blind people can tell apart; the order starts with what shows well over grey.
PALETTE: list[Color] = [
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
]
POSITIVE, NEGATIVE, BOX = (60, 220, 60), (235, 50, 50), (255, 255, 255)


def phrase_colors(count: int) -> list[Color]:
    """One RGB colour for each of `count` phrases."""
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def enlargement(size: tuple[int, ...]) -> int:
    """By which whole factor `overlay` enlarges an image of (h, w)."""
    return max(1, round(384 / max(size)))


def overlay(
    image: np.ndarray,
    masks: Sequence[np.ndarray],
    colors: Sequence[Color],
    points: Sequence[Sequence[float]] = (),
    boxes: Sequence[Sequence[float]] = (),
    alpha: float = 0.4,
) -> np.ndarray:
    """Draw masks, filled and outlined, and prompts over an image.

    Args:
        image: uint8 [h, w, 3].
        masks: bool [h, w] each, with as many RGB `colors`.
        points: (x, y[, label]); positive ones are green, negative ones red.
        boxes: (x0, y0, x1, y1).

    Returns:
        uint8 [H, W, 3]: the image, enlarged by a whole factor if it is small, so that lines stay thin.
    """
    from scipy.ndimage import binary_dilation  # slow to import, and an answer in words does without

    factor = enlargement(image.shape[:2])
    out = image.repeat(factor, 0).repeat(factor, 1).astype(np.float32)
    for mask, color in zip(masks, colors):
        large = mask.repeat(factor, 0).repeat(factor, 1)
        out[large] = (1 - alpha) * out[large] + alpha * np.array(color)
        out[binary_dilation(large, iterations=max(1, factor // 2)) & ~large] = color
    picture = Image.fromarray(out.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    line = max(2, min(picture.size) // 150)
    for x0, y0, x1, y1 in boxes:
        draw.rectangle([x0 * factor, y0 * factor, x1 * factor - 1, y1 * factor - 1], outline=BOX, width=line)
    for x, y, *label in points:
        cx, cy, r = (x + 0.5) * factor, (y + 0.5) * factor, 2.5 * line
        color = NEGATIVE if label and not label[0] else POSITIVE
        draw.ellipse([cx - r, cy - r, cx + r, cy + r], fill=color, outline=(255, 255, 255), width=max(1, line // 2))
    return np.asarray(picture)


def ansi_answer(text: str, spans: Sequence[tuple[int, int]], colors: Sequence[Color], *, enabled: bool = True) -> str:
    """The answer for a terminal, each span (start, end) bold and in its colour (24-bit)."""
    if not enabled:
        return text
    out, position = "", 0
    for (start, end), (r, g, b) in zip(spans, colors):
        out += f"{text[position:start]}\x1b[1;38;2;{r};{g};{b}m{text[start:end]}\x1b[0m"
        position = end
    return out + text[position:]


def html_answer(text: str, spans: Sequence[tuple[int, int]], colors: Sequence[Color]) -> str:
    """The same for a web page, with all of the text escaped."""
    out, position = "", 0
    for (start, end), color in zip(spans, colors):
        out += escape(text[position:start]) + html_phrase(text[start:end], color)
        position = end
    return out + escape(text[position:])


def html_phrase(text: str, color: Color) -> str:
    """One phrase in its colour, escaped."""
    r, g, b = color
    style = f"background: rgba({r},{g},{b},.3); border-bottom: 3px solid rgb({r},{g},{b})"
    return f'<mark style="{style}">{escape(text)}</mark>'


def data_url(picture: np.ndarray) -> str:
    """uint8 [h, w, 3] as a PNG inside a page, so that none is left in a cache."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


@dataclass
class PanelRow:
    """One question for `panel`: image uint8 [h, w, 3], texts, masks bool [h, w] and prompts in pixels."""

    image: np.ndarray
    question: str
    answer: str
    spans: list[tuple[int, int]]
    predicted: list[np.ndarray]
    reference: list[np.ndarray] | None = None
    points: Sequence[Sequence[float]] = field(default_factory=list)
    boxes: Sequence[Sequence[float]] = field(default_factory=list)
    title: str = ""


def panel(rows: Sequence[PanelRow], path: str | Path) -> None:
    """Draw questions as in a paper's figure, one row each: image with prompts, answer, reference, dialogue."""
    with_reference = any(row.reference is not None for row in rows)
    pictures = 3 if with_reference else 2
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.3 * pictures + 3.6, 2.5 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), pictures + 1, squeeze=False, width_ratios=[*[1] * pictures, 1.6])
    for number, row in enumerate(rows):
        colors = phrase_colors(max(len(row.predicted), len(row.reference or [])))
        shown = [
            ("image and prompt", overlay(row.image, [], [], row.points, row.boxes)),
            ("answer", overlay(row.image, row.predicted, colors)),
        ]
        if row.reference is not None:
            shown.append(("reference", overlay(row.image, row.reference, colors)))
        for axis in axes[number]:
            axis.axis("off")
        for axis, (name, picture) in zip(axes[number], shown):
            axis.imshow(picture)
            if number == 0:
                axis.set_title(name, fontsize=10, color="0.35")
        _dialogue(axes[number, pictures], row, colors)
    save_figure(figure, path, dpi=110)


def _dialogue(axis: Axes, row: PanelRow, colors: Sequence[Color]) -> None:
    """Question and answer, wrapped; words of a phrase have the colour of its mask. Long texts are set smaller, and cut when
    even that does not make room."""
    for width in (38, 44, 52, 60):
        step = 0.105 * 38 / width
        question = textwrap.wrap(f"Q: {row.question}", width)
        answer = _wrap(row.answer, width)
        room = int((0.97 - 1.5 * step) / step)
        if len(question) + len(answer) <= room:
            break
    if len(question) + len(answer) > room:
        answer = [*answer[: max(1, room - len(question) - 1)], ("...", len(row.answer))]
    size = 9 * 38 / width
    y = 0.97
    axis.set_xlim(0, width)
    axis.set_ylim(0, 1)
    axis.text(0, y, row.title, fontsize=8, color="0.5", va="top")
    y -= step
    for line in question:
        axis.text(0, y, line, fontsize=size, family="monospace", color="0.25", va="top")
        y -= step
    y -= step / 2
    for line, start in answer:
        for offset, word in enumerate(line):
            if word == " ":
                continue
            place = start + offset
            color = next((c for span, c in zip(row.spans, colors) if span[0] <= place < span[1]), None)
            shade = "black" if color is None else tuple(0.8 * v / 255 for v in color)
            weight = "normal" if color is None else "bold"
            # one letter at a time, all on one line: a monospaced cell is one unit of the axis
            axis.text(offset, y - 0.6 * step, word, fontsize=size, family="monospace", color=shade, weight=weight)
        y -= step


def _wrap(text: str, width: int) -> list[tuple[str, int]]:
    """Lines of `text` with the position of each line's first letter in it."""
    lines, position = [], 0
    for line in textwrap.wrap(text, width):
        position = text.index(line, position)
        lines.append((line, position))
        position += len(line)
    return lines


def curves(history: dict[str, list[tuple[int, float]]], path: str | Path) -> None:
    """Training curves: losses at the left, smoothed over 20 steps, and validation metrics at the right."""
    losses = {name: values for name, values in history.items() if "loss" in name}
    metrics = {name: values for name, values in history.items() if "loss" not in name}
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axis, series, title in ((left, losses, "training loss"), (right, metrics, "validation")):
        for (name, values), color in zip(sorted(series.items()), phrase_colors(len(series))):
            steps, numbers = np.array(values, dtype=float).T
            shade = [v / 255 for v in color]
            if axis is left and len(numbers) > 20:
                axis.plot(steps, numbers, color=shade, alpha=0.2, linewidth=0.8)
                steps, numbers = steps[19:], np.convolve(numbers, np.ones(20) / 20, mode="valid")
            axis.plot(steps, numbers, color=shade, label=name, marker="o" if axis is right else None, markersize=3)
        axis.set_xlabel("step")
        axis.set_title(title, fontsize=11)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.2)
        if series:
            axis.legend(frameon=False, fontsize=8)
    if losses:
        left.set_yscale("log")
    right.set_ylim(0, 1.02)
    save_figure(figure, path, dpi=110)


def save_picture(picture: np.ndarray, path: str | Path) -> None:
    """Write uint8 [h, w, 3] as PNG, an atomic file."""
    with atomic_file(path) as file:
        Image.fromarray(picture).save(file, format="PNG")


def save_figure(figure: Figure, path: str | Path, dpi: int) -> None:
    """Render a figure and write it as PNG, an atomic file."""
    figure.set_dpi(dpi)
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    save_picture(np.asarray(canvas.buffer_rgba())[..., :3], path)
