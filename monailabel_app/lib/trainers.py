"""The train task `mimo`: fine-tune on the final labels, and use the result if it is better on labels that were held out.

MONAI Label runs it in a process of its own, shows what it logs, and ends it by killing that process.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from monai_mimo.engines import build_labelled, fine_tune
from monai_mimo.engines.fine_tune import CHOICES
from monai_mimo.errors import InputError, MimoError
from monai_mimo.files import remove_leftovers, write_json

from .final_labels import final_labels
from .versions import Versions

logger = logging.getLogger(__name__)
WORK = ".work-"  # begins the names of folders that a run needs only while it lasts
TRAIN, ROLL_BACK = ACTIONS = ("train", "roll back")
STEPS, RATE, IMAGES = 100, 1e-3, 8


class MimoTrain(TrainTask):
    """Train LoRA adapters and parts (`fine_tune.CHOICES`) of the weights in use.

    Args:
        versions: where the new weights go.
        device: where to train.
    """

    def __init__(self, versions: Versions, device: str = "cpu") -> None:
        super().__init__("Learn from the final labels (adapters, mask decoder, and what else `parts` names)")
        self.versions, self.device = versions, device

    def config(self) -> dict[str, Any]:
        """Options, as viewers show them. `roll back` uses the version before the one in use again."""
        return {
            "action": list(ACTIONS),
            "parts": list(CHOICES),
            "steps": STEPS,
            "learning_rate": RATE,
            "images_per_batch": IMAGES,
        }

    def stats(self) -> dict[str, Any]:
        """The state of the last run, with the names that MONAI Label's own tasks use, and the versions."""
        with contextlib.suppress(OSError, ValueError, MimoError):
            stats: dict[str, Any] = {}
            if self._file.is_file():
                stats = json.loads(self._file.read_text())
            versions = self.versions.all()
            return {
                **stats,
                "active": self.versions.active(),
                "versions": [{**vars(v), "summary": v.summary()} for v in versions],
            }
        return {}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, or roll back, and return `stats`.

        Raises:
            InputError: an option cannot be used, or there are fewer than three labelled patients.
            MimoError: labels or weights cannot be read.
        """
        if choice(request, "action", ACTIONS) == ROLL_BACK:
            logger.info("rolled back to %s", self.versions.roll_back())
            return self.stats()
        steps = whole(request, "steps", STEPS, 100_000)
        images_per_batch = whole(request, "images_per_batch", IMAGES, 256)
        rate = number(request, "learning_rate", RATE)
        self._learn(datastore, steps, images_per_batch, rate, CHOICES[choice(request, "parts", tuple(CHOICES))])
        return self.stats()

    @property
    def _file(self) -> Path:
        return self.versions.root / "stats.json"

    def _learn(
        self, datastore: Datastore, steps: int, images_per_batch: int, rate: float, parts: Sequence[str]
    ) -> None:
        started = time.time()
        parent = self.versions.active()
        self.versions.root.mkdir(parents=True, exist_ok=True)
        _sweep(self.versions.root)

        def on_step(step: int, of: int, loss: float) -> None:
            now = {"epoch": step, "total_epochs": of, "start_ts": int(started), "train": {"loss": round(loss, 4)}}
            write_json(self._file, {**now, "current_time": _duration(started)})
            if step in (1, of) or step % max(1, of // 20) == 0:
                logger.info("step %d of %d, loss %.3f", step, of, loss)

        with tempfile.TemporaryDirectory(prefix=WORK, dir=self.versions.root) as folder:
            images = final_labels(datastore, Path(folder))
            logger.info("%d images with final labels; weights %s", len(images), parent)
            done = fine_tune(
                self.versions.folder(parent),
                build_labelled(images, Path(folder) / "set"),
                self.versions.root / self.versions.next_name(),
                steps=steps,
                learning_rate=rate,
                images_per_batch=images_per_batch,
                parts=parts,
                device=self.device,
                on_step=on_step,
            )
        version = self.versions.add(parent, done, len(images))
        logger.info(version.summary())
        write_json(
            self._file,
            {
                "epoch": steps,
                "total_epochs": steps,
                "start_ts": int(started),
                "total_time": _duration(started),
                "best_metric": version.after["dice"],
                "before": version.before,
                "after": version.after,
                "accepted": version.accepted,
            },
        )


def choice(request: Mapping[str, Any], name: str, among: Sequence[str]) -> str:
    """One of several; a viewer may send all, the first one chosen.

    Raises:
        InputError: it is none of them.
    """
    value = request.get(name, among[0])
    value = value[0] if isinstance(value, list) and value else value
    if value not in among:
        raise InputError(name, repr(value)[:80], f"one of {', '.join(among)}")
    return str(value)


def whole(request: Mapping[str, Any], name: str, default: int, most: int) -> int:
    """A count of a request.

    Raises:
        InputError: it is no whole number from 1 to `most`.
    """
    value = number(request, name, default)
    if value != int(value) or not 1 <= value <= most:
        raise InputError(name, repr(request.get(name))[:80], f"a whole number from 1 to {most}")
    return int(value)


def number(request: Mapping[str, Any], name: str, default: float) -> float:
    """A number of a request, which viewers may send as text.

    Raises:
        InputError: it is none.
    """
    value = request.get(name, default)
    try:
        found = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise InputError(name, repr(value)[:80], "a number")
    return found


def _sweep(root: Path) -> None:
    """Remove what a run that was killed left behind."""
    for left in root.glob(f"{WORK}*"):
        shutil.rmtree(left, ignore_errors=True)
    remove_leftovers(root)


def _duration(started: float) -> str:
    return str(timedelta(seconds=int(time.time() - started)))
