"""Which image to label next: `mimo_uncertainty`, the image of which the model is least sure, or `first`."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.strategy import Strategy
from scipy.ndimage import distance_transform_edt

from monai_mimo.errors import MimoError
from monai_mimo.inference import Answer
from monai_mimo.metrics.matching import overlaps
from monai_mimo.mimoseg.sources.labelled import OVERLAP

from .engine import AnyQuestion, Engine
from .final_labels import label_names
from .model import Model
from .study_image import StudyImage

logger = logging.getLogger(__name__)
SLICES, NAMES, CLICKS = 3, 6, 4  # of a volume that are looked at, that are asked for, and around each mask's middle


class Uncertainty(Strategy):
    """The image with the largest `uncertainty` among those that were looked at so far; before any was, the first one.

    A thread goes through the images without a final label, one slice at a time, and only when no request waits. It begins
    with the first call, and again whenever the weights are others.

    Args:
        engine: asks the model.
        find: image id -> where its file is.
    """

    def __init__(self, engine: Engine, find: Callable[[str, Datastore], Path]) -> None:
        super().__init__("The image of which the model is least sure (looked at in the background)")
        self.engine, self.find = engine, find
        self.known: dict[tuple[str, str], float] = {}  # image id, hash of the weights
        self._guard = threading.Lock()
        self._worker: threading.Thread | None = None

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        images = sorted(datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels")))
        if not images:
            return None
        model = self.engine.models.peek()
        if model is None:
            return {"id": images[0], "looked_at": 0, "of": len(images)}
        self._start(images, datastore)
        known = {image: u for image in images if (u := self.known.get((image, model.hash))) is not None}
        progress = {"looked_at": len(known), "of": len(images)}
        if not known:
            return {"id": images[0], **progress}
        best = max(known, key=lambda image: known[image])
        return {"id": best, "uncertainty": round(known[best], 4), **progress}

    def wait(self) -> None:
        """Until the thread has looked at all images."""
        if self._worker is not None:
            self._worker.join()

    def _start(self, images: Sequence[str], datastore: Datastore) -> None:
        with self._guard:
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(
                    target=self._look, args=(images, datastore), name="mimo-uncertainty", daemon=True
                )
                self._worker.start()

    def _look(self, images: Sequence[str], datastore: Datastore) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # of this thread alone, on Linux
        for image_id in images:
            model = self.engine.models.peek()
            if model is None or self.engine.closed:
                return
            if (image_id, model.hash) in self.known:
                continue
            try:
                image = self.engine.open(self.find(image_id, datastore))
                names = names_in_use(datastore) or model.labels
                self.known[image_id, model.hash] = uncertainty(self.engine, model, image, names[:NAMES])
            except Exception as error:  # one image that cannot be read, or a PACS that is away, must not end the search
                reason = str(error) if isinstance(error, MimoError) else type(error).__name__
                logger.warning("skipped an image: %s", reason)


def names_in_use(datastore: Datastore) -> list[str]:
    """The names of the final labels, the most frequent first."""
    counts: dict[str, int] = {}
    for image in datastore.get_labeled_images():
        named = label_names(datastore, image, DefaultLabelTag.FINAL)
        for name in {part for text in named for part in text.split(OVERLAP)}:
            counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: (-counts[name], name))


def uncertainty(engine: Engine, model: Model, image: StudyImage, names: Sequence[str]) -> float:
    """How unsure the model is of an image, from 0 to 1: the larger of one minus its lowest grounding score, and the largest
    disagreement of masks when the click that asks for them is moved a little.

    A volume is looked at on three slices. On each it is asked for every one of `names`, and for each mask that it finds,
    four clicks around the middle of the mask ask what is there: their disagreement is one minus the mean IoU of what they
    give with that mask. An image on which it finds nothing is one of which it could not be less sure.
    """
    n = image.shown.n_slices
    worst: list[float] = []
    for number in sorted({round(n * (i + 1) / (SLICES + 1)) for i in range(SLICES)} & set(range(n)) or {0}):

        def ask(questions: Sequence[AnyQuestion], slice: int = number) -> list[Answer]:
            return engine.ask(model, image, slice, questions, prefetch=False, background=True) if questions else []

        found = [e for answer in ask([(f"Segment the {name}.", [], []) for name in names]) for e in answer.entities]
        found = [e for e in found if e.mask.any()]
        worst += [1 - e.score for e in found]
        for entity in found:
            clicked = ask([("What is at <point>?", [(x, y, 1)], []) for x, y in clicks(entity.mask)])
            masks = [max((e.mask for e in a.entities), key=lambda m: m.sum(), default=None) for a in clicked]
            worst.append(1 - float(np.mean([0 if m is None else overlaps(m, entity.mask)[0] for m in masks])))
    return max(worst, default=1.0)


def clicks(mask: np.ndarray) -> list[tuple[int, int]]:
    """(x, y) of `CLICKS` points of a mask bool [h, w], around the one that lies deepest in it."""
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), mask.shape)
    r = max(1, int(depth.max() // 2))
    near = [(int(x) + dx * r, int(y) + dy * r) for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1))][:CLICKS]
    h, w = mask.shape
    return [(a, b) if 0 <= a < w and 0 <= b < h and mask[b, a] else (int(x), int(y)) for a, b in near]


class First(Strategy):
    """The first image without a final label."""

    def __init__(self) -> None:
        super().__init__("The first image that has no label yet")

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        images = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        return {"id": min(images)} if images else None
