"""How a run went: history.json and curves.png beside the checkpoints, and overlays in TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from torch.utils.tensorboard import SummaryWriter

from ..files import write_text
from ..visualize import curves, overlay, phrase_colors


class History:
    """Keeps the loss parts of each step and the metrics of each validation; attach it to the trainer.

    Args:
        folder: history.json and curves.png go there after each epoch.
        evaluator: whose `grounding` metric is kept.
    """

    def __init__(self, folder: str | Path, evaluator: Engine) -> None:
        self.folder, self.evaluator = Path(folder), evaluator
        self.values: dict[str, list[tuple[int, float]]] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)
        self.evaluator.add_event_handler(Events.COMPLETED, lambda evaluator: self.validated(engine, evaluator))
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def _add(self, name: str, step: int, value: float) -> None:
        self.values.setdefault(name, []).append((step, value))

    def step(self, engine: Engine) -> None:
        for name, value in engine.state.output["parts"].items():
            self._add(f"{name} loss", engine.state.iteration, value)

    def validated(self, engine: Engine, evaluator: Engine) -> None:
        overall = evaluator.state.metrics["grounding"]["overall"]
        for name in ("f1", "dice", "phrase_accuracy"):
            self._add(f"validation {name}".replace("_", " "), engine.state.iteration, overall[name])

    def write(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            write_text(self.folder / "history.json", json.dumps(self.values))
            curves(self.values, self.folder / "curves.png")

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.values = state["values"]


class TensorBoardOverlays:
    """Shows the first answers of each validation as images; attach it to the evaluator.

    Args:
        log_dir: of TensorBoard.
        count: how many images.
    """

    def __init__(self, log_dir: str | Path, count: int = 8) -> None:
        self.log_dir, self.count = str(log_dir), count

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), self)

    def __call__(self, engine: Engine) -> None:
        out, epoch = engine.state.output, engine.state.epoch
        with SummaryWriter(self.log_dir) as writer:
            for number, (row, text, entities) in enumerate(zip(out["rows"], out["texts"], out["entities"])):
                if number == self.count:
                    break
                picture = overlay(
                    np.asarray(row["image"].convert("RGB")),
                    [e.mask for e in entities],
                    phrase_colors(len(entities)),
                    row["points"],
                    row["boxes"],
                )
                tag = f"validation/{number}"
                writer.add_image(tag, picture, epoch, dataformats="HWC")
                writer.add_text(tag, f"{row['question']} -> {text}", epoch)
