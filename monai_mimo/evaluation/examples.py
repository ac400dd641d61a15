"""Which questions of an evaluation are pictured, and their pictures: image with prompt, reference and prediction side by side."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset as Rows
from PIL import Image

from ..metrics import normalise_phrase
from ..metrics.grounding import perspective_name
from ..mimoseg.encoding import decode_rle, plain_answer
from ..visualize import Color, PanelRow, overlay, phrase_colors
from .answer_records import AnswerRecord

SIDE = 420  # pixels of a picture in the report, at most
Segments = list[tuple[str, Color | None]]  # parts of a text, with the colour of its mask where it is a phrase
PROMPT = (110, 110, 110)


@dataclass(frozen=True)
class ReportExample:
    """One question for the report. Texts are plain and not escaped; `pictures` are (name, data URL)."""

    rank: str
    title: str
    quality: float
    question: Segments
    reference: Segments
    answer: Segments
    pictures: list[tuple[str, str]]


def quality(record: AnswerRecord) -> float | None:
    """How well a question was answered, 0..1: the mean IoU over what was expected and what was answered in its place, a phrase
    without partner counting 0; for VQA what its metric gives. None for questions that expect nothing to be grounded, and for
    those that could not be answered (they are listed elsewhere)."""
    if record["error"]:
        return None
    if record["vqa"] is not None:
        return next(iter(record["vqa"].values()))
    counts = record["counts"]
    return counts["iou"] / max(counts["reference"], counts["predicted"]) if counts["reference"] else None


def best_median_worst(records: Sequence[AnswerRecord]) -> dict[str, list[tuple[str, AnswerRecord]]]:
    """Of each modality, and apart from that of its questions without masks, the best, the median and the worst question; of equal
    ones, the first. Each is shown once."""
    groups: dict[str, list[tuple[float, int, AnswerRecord]]] = {}
    for record in records:
        value = quality(record)
        if value is not None:
            group = (record["modality"] or "unknown modality") + (", VQA" if record["vqa"] is not None else "")
            groups.setdefault(group, []).append((-value, record["row"], record))
    chosen = {}
    for name, entries in sorted(groups.items()):
        order = [record for _, _, record in sorted(entries, key=lambda entry: entry[:2])]
        worst = next(record for record in order if quality(record) == quality(order[-1]))
        picks = {"best": order[0], "median": order[(len(order) - 1) // 2], "worst": worst}
        unique: dict[int, tuple[str, AnswerRecord]] = {}
        for rank, record in picks.items():
            unique.setdefault(record["row"], (rank, record))
        chosen[name] = list(unique.values())
    return chosen


def picture_example(rank: str, record: AnswerRecord, rows: Rows) -> ReportExample:
    """Draw one question. A phrase has the same colour in reference and answer."""
    image = np.asarray(rows[record["row"]]["image"].convert("RGB"))
    expected, answered = record["entities"], record["predicted_entities"]
    names = list(dict.fromkeys(normalise_phrase(e["phrase"]) for e in [*expected, *answered]))
    color_of = dict(zip(names, phrase_colors(len(names))))

    def colors(entities: list[dict]) -> list[Color]:
        return [color_of[normalise_phrase(e["phrase"])] for e in entities]

    def drawn(entities: list[dict]) -> str:
        return thumbnail_url(overlay(image, [decode_rle(e["mask"]) for e in entities], colors(entities)))

    pictures = [("image and prompt", thumbnail_url(overlay(image, [], [], record["points"], record["boxes"])))]
    if record["perspective"]:
        pictures += [("reference", drawn(expected)), ("prediction", drawn(answered))]
    reference, spans = plain_answer(record["answer"])
    return ReportExample(
        rank=rank,
        title=f"{record['source']}, {perspective_name(record['perspective'])}, {record['id']}",
        quality=quality(record) or 0.0,
        question=[
            (part.strip("<>"), PROMPT) if part in ("<point>", "<box>") else (part, None)
            for part in re.split("(<point>|<box>)", record["question"])
        ],
        reference=segments(reference, spans, colors(expected)),
        answer=segments(record["predicted_answer"], [e["span"] for e in answered], colors(answered)),
        pictures=pictures,
    )


def segments(text: str, spans: Sequence[Sequence[int]], colors: Sequence[Color]) -> Segments:
    """Cut a text at its phrases, which come in order."""
    out: Segments = []
    position = 0
    for (start, end), color in zip(spans, colors):
        out += [(text[position:start], None), (text[start:end], color)]
        position = end
    return [(part, color) for part, color in [*out, (text[position:], None)] if part]


def thumbnail_url(picture: np.ndarray) -> str:
    """uint8 [h, w, 3] as a JPEG inside an address, at most `SIDE` pixels wide and high."""
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def panel_rows(records: Sequence[AnswerRecord], rows: Rows, count: int) -> dict[str, list[PanelRow]]:
    """The first `count` questions of each modality as they come, of perspectives I and II in turn, for panels."""
    chosen: dict[str, list[AnswerRecord]] = {}
    for record in records:
        group = chosen.setdefault(record["modality"], [])
        wanted_perspective = 1 + len(group) % 2
        if len(group) < count and record["perspective"] == wanted_perspective and not record["error"]:
            group.append(record)
    return {modality: [prediction_row(r, rows) for r in group] for modality, group in chosen.items() if group}


def prediction_row(record: AnswerRecord, rows: Rows) -> PanelRow:
    """The question as a row of a panel."""
    return PanelRow(
        image=np.asarray(rows[record["row"]]["image"].convert("RGB")),
        question=record["question"],
        answer=record["predicted_answer"],
        spans=[tuple(e["span"]) for e in record["predicted_entities"]],
        predicted=[decode_rle(e["mask"]) for e in record["predicted_entities"]],
        reference=[decode_rle(e["mask"]) for e in record["entities"]],
        points=record["points"],
        boxes=record["boxes"],
        title=f"{record['modality']}, {perspective_name(record['perspective'])}",
    )
