"""What an evaluation leaves behind: metrics.json, predictions.jsonl, panels, and a table for the terminal."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

from ..inference.answer import Entity
from ..metrics import Grounded, Reference, format_table, match_pairs, moved_prompt_accuracy
from ..metrics.grounding import perspective_name
from ..metrics.moved_prompt import PromptedAnswer
from ..mimoseg.rle import decode_rle, encode_rle
from ..visualize import PanelRow, panel

logger = logging.getLogger(__name__)


class EvaluationReport:
    """Writes the results of a `GroundingEvaluator` run.

    Args:
        output_dir: metrics.json (table and moved-prompt test), predictions.jsonl (every question with its answer and
            masks) and panels/MODALITY.png go there.
        rows_per_panel: how many questions of each modality are drawn.
    """

    def __init__(self, output_dir: str | Path, rows_per_panel: int = 4) -> None:
        self.output_dir, self.rows_per_panel = Path(output_dir), rows_per_panel
        self.records: list[dict[str, Any]] = []
        self.prompted: list[PromptedAnswer] = []
        self.drawn: dict[str, list[PanelRow]] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def start(self, engine: Engine) -> None:
        self.records, self.prompted, self.drawn = [], [], {}

    def collect(self, engine: Engine) -> None:
        out = engine.state.output
        samples = zip(out["rows"], out["texts"], out["entities"], out["predictions"], out["references"])
        for row, text, entities, prediction, reference in samples:
            self.records.append(record_of(row, text, entities))
            if row["perspective"] == 2 and len(row["points"]) + len(row["boxes"]) == len(reference.phrases) == 1:
                self.prompted.append(prompted_answer(row, prediction, reference))
            chosen = self.drawn.setdefault(row["modality"], [])
            wanted_perspective = 1 + len(chosen) % 2  # draw both in turn
            if len(chosen) < self.rows_per_panel and row["perspective"] == wanted_perspective:
                chosen.append(panel_row(row, text, entities))

    def write(self, engine: Engine) -> None:
        result = engine.state.metrics["grounding"]
        accuracy, pairs = moved_prompt_accuracy(self.prompted)
        summary = {**result, "moved_prompt": {"accuracy": accuracy, "pairs": pairs}}
        panels = self.output_dir / "panels"
        panels.mkdir(parents=True, exist_ok=True)
        (self.output_dir / "metrics.json").write_text(json.dumps(summary, indent=2))
        with open(self.output_dir / "predictions.jsonl", "w") as file:
            file.writelines(json.dumps(record) + "\n" for record in self.records)
        for modality, rows in self.drawn.items():
            panel(rows, panels / f"{modality}.png")
        logger.info("\n%s", format_table(result))
        if pairs:
            logger.info("moved prompt: answer and mask follow in %.3f of %d pairs", accuracy, pairs)
        logger.info("written: %s, %s", self.output_dir / "metrics.json", panels)


def record_of(row: dict[str, Any], text: str, entities: list[Entity]) -> dict[str, Any]:
    """One line of predictions.jsonl."""
    answered = [
        {"phrase": e.phrase, "span": list(e.span), "mask": encode_rle(e.mask), "score": round(e.score, 4)}
        for e in entities
    ]
    kept = ("id", "image_id", "source", "modality", "perspective", "question", "points", "boxes", "answer", "entities")
    return {**{key: row[key] for key in kept}, "predicted_answer": text, "predicted_entities": answered}


def prompted_answer(row: dict[str, Any], prediction: Grounded, reference: Reference) -> PromptedAnswer:
    """The sample as the moved-prompt test sees it."""
    answered = ", ".join(prediction.phrases)
    right = bool(match_pairs(prediction, reference))
    return PromptedAnswer(row["image_id"], reference.phrases[0], answered, right)


def panel_row(row: dict[str, Any], text: str, entities: list[Entity]) -> PanelRow:
    """The sample as a row of a panel."""
    return PanelRow(
        image=np.asarray(row["image"].convert("RGB")),
        question=row["question"],
        answer=text,
        spans=[e.span for e in entities],
        predicted=[e.mask for e in entities],
        reference=[decode_rle(e["mask"]) for e in row["entities"]],
        points=row["points"],
        boxes=row["boxes"],
        title=f"{row['modality']}, {perspective_name(row['perspective'])}",
    )
