"""The numbers of a run as it goes on, for TensorBoard and as a table."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Timer
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from ..files import write_text
from ..mimoseg.categories import MODALITIES

FILE = "scalars.csv"
COLUMNS = ("stage", "step", "name", "value")


class ScalarLog:
    """Writes numbers to TensorBoard, and to FOLDER/scalars.csv with columns stage, step, name, value: the loss and all its parts,
    learning rates, the norm of the gradient before it is clipped, samples in a second of this epoch, GPU memory in GB at its
    highest, and at each validation F1 and Dice, of all and by modality. Attach it to the trainer, in one process.

    A run that is resumed goes on after its step: what a run that was cut off had written beyond it is dropped.

    Args:
        folder: of both.
        optimizer: whose learning rates; group 1, where there is one, are the encoders.
        evaluator: whose `grounding` metric.
        stage: of `checkpoints.STAGES`.
        every: steps between those that are written.
    """

    def __init__(
        self,
        folder: str | Path,
        optimizer: Optimizer | None = None,
        evaluator: Engine | None = None,
        stage: str = "training",
        every: int = 1,
    ) -> None:
        self.folder, self.optimizer, self.evaluator = Path(folder), optimizer, evaluator
        self.stage, self.every = stage, every
        self.timer = Timer()  # of the epoch
        self.samples = 0
        self.file: TextIO | None = None
        self.board: SummaryWriter | None = None

    def attach(self, engine: Engine) -> None:
        self.timer.attach(engine, start=Events.EPOCH_STARTED)
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_STARTED, self.start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.flush)
        engine.add_event_handler(Events.COMPLETED, self.end)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.fail)
        if self.evaluator is not None:
            self.evaluator.add_event_handler(Events.COMPLETED, lambda evaluator: self.validated(engine, evaluator))

    def start(self, engine: Engine) -> None:
        """Open both, after what was written up to this step."""
        step, path = engine.state.iteration, self.folder / FILE
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines(keepends=True) if path.exists() else [",".join(COLUMNS) + "\n"]
        write_text(path, "".join(line for line in lines if line.endswith("\n") and self._stays(line, step)))
        self.file = open(path, "a", newline="")  # noqa: SIM115 - until `end`
        self.board = SummaryWriter(str(self.folder), purge_step=step + 1)

    def _stays(self, line: str, step: int) -> bool:
        stage, number = line.split(",")[:2]
        return stage != self.stage or int(number) <= step

    def start_epoch(self, _: Engine) -> None:
        """Count anew."""
        self.samples = 0

    def step(self, engine: Engine) -> None:
        """Write the numbers of a step."""
        if isinstance(engine.state.batch, list):  # of micro-batches
            self.samples += idist.get_world_size() * sum(len(batch.rows) for batch in engine.state.batch)
        if engine.state.iteration % self.every == 0:
            self.write(engine.state.iteration, dict(self.numbers(engine)))

    def numbers(self, engine: Engine) -> Iterator[tuple[str, Any]]:
        """Those of the last step, by name."""
        output = dict(engine.state.output)
        yield "loss/total", output.pop("loss")
        yield "gradient_norm", output.pop("gradient_norm", getattr(engine.state, "gradient_norm", math.nan))
        for name, value in output.get("parts", output).items():
            yield f"loss/{name}", value
        for number, group in enumerate(self.optimizer.param_groups if self.optimizer else []):
            yield f"learning_rate/group_{number}", group["lr"]
        if self.samples:
            yield "speed/samples_per_second", self.samples / max(self.timer.value(), 1e-9)
        if torch.cuda.is_available():
            yield "memory/gpu_gb", torch.cuda.max_memory_allocated() / 1e9

    def validated(self, engine: Engine, evaluator: Engine) -> None:
        """Write the metrics of a validation."""
        table: Mapping[str, Mapping[str, float]] = evaluator.state.metrics["grounding"]
        cells = [name for name in table if name == "overall" or name in MODALITIES]
        self.write(
            engine.state.iteration,
            {f"validation_{metric}/{name}": table[name][metric] for metric in ("f1", "dice") for name in cells}
            | {"validation_phrase_accuracy/overall": table["overall"]["phrase_accuracy"]},
        )

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Numbers by name, those that are finite."""
        if self.file is None or self.board is None:
            return  # not in a run
        prefix = "" if self.stage == "training" else f"{self.stage}/"
        table = csv.writer(self.file, lineterminator="\n")
        for name, value in numbers.items():
            if math.isfinite(value := float(value)):
                table.writerow((self.stage, step, name, f"{value:.6g}"))
                self.board.add_scalar(f"{prefix}{name}".replace(" ", "_"), value, step)

    def flush(self, _: Engine | None = None) -> None:
        """Let others read what is written."""
        for writer in (self.file, self.board):
            if writer is not None:
                writer.flush()

    def end(self, _: Engine | None = None) -> None:
        """Close both."""
        for writer in (self.file, self.board):
            if writer is not None:
                writer.close()
        self.file = self.board = None

    def fail(self, _: Engine, error: BaseException) -> None:
        """Close both, and let the error go on."""
        self.end()
        raise error
