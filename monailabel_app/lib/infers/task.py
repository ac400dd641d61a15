"""What all infer tasks share: read the request, open the image, answer, and write the result on the file's voxels."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from monai_mimo.errors import InputError
from monai_mimo.inference.safeguards import Thresholds

from .. import result
from ..engine import Engine
from ..model import Model
from ..prompts import OnSlice, Wanted, on_slice, read_request
from ..questions import about_prompts, guarded
from ..result import Reply
from ..study_image import StudyImage


class MimoTask(InferTask):
    """A task of the app.

    Args:
        type: decides in which part of a viewer the task appears.
        dimension: 2 for a slice, 3 for a volume.
        engine: shared by all tasks.
        thresholds: below which a phrase is marked as uncertain, or withheld.
        config: options that viewers show; their values come back in the request.
    """

    def __init__(
        self,
        type: InferType,
        dimension: int,
        description: str,
        engine: Engine,
        thresholds: Thresholds,
        config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(type=type, labels=[], dimension=dimension, description=description, config=config)
        self.engine, self.thresholds = engine, thresholds

    def info(self) -> dict[str, Any]:
        """With the labels of the current weights, which may have been exchanged, and with what says which those are."""
        model = self.engine.models.peek()
        self.labels = list(model.labels) if model else []
        return {**super().info(), "weights": model.info() if model else None}

    def is_valid(self) -> bool:
        return True

    def __call__(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Answer a request.

        Returns:
            The file with the label map, and the JSON of the reply.

        Raises:
            MimoError: the request, the image or the weights cannot be used.
        """
        started = time.perf_counter()
        wanted = read_request(request, self.engine.limits)
        model = self.engine.models.current()
        image = self.engine.open(request["image"], wanted.plane)
        opened = time.perf_counter()
        reply = self.answer(model, image, wanted, request)
        answered = time.perf_counter()
        slices = result.label_slices(image, reply.segments)
        params = result.to_json(reply, image, slices, model)
        file = None
        if request.get("result_write_to_file", True) is not False:
            labels = result.to_voxels(image, slices)
            file = result.write(labels, image, params["label_names"], request)
        written = time.perf_counter()
        params["latencies"] = {
            "pre": round(opened - started, 4),
            "infer": round(answered - opened, 4),
            "write": round(written - answered, 4),
            "total": round(written - started, 4),
        }
        return file, params

    def ask(self, model: Model, image: StudyImage, here: OnSlice, question: str, prefetch: bool = True) -> Reply:
        """Ask about one slice with its prompts, after the safeguards."""
        [answer] = self.engine.ask(model, image, here.slice, [(question, here.points, here.boxes)], prefetch=prefetch)
        reply = guarded(answer, question, self.thresholds, here.slice)
        reply.warnings = here.warnings + reply.warnings
        return reply

    def ask_at_prompts(
        self, model: Model, image: StudyImage, wanted: Wanted, purpose: str, prefetch: bool = True
    ) -> tuple[Reply, int]:
        """What the prompts are on, as the one segment with the best score, and its slice.

        Args:
            purpose: what the slice with the prompts is for, in the error.

        Raises:
            InputError: neither a positive point nor a box.
        """
        here = on_slice(wanted, image)
        if here is None or not wanted.prompted:
            raise InputError("prompt", "neither a positive point nor a box", f"one of them, on the slice {purpose}")
        reply = self.ask(model, image, here, about_prompts(here.points, here.boxes), prefetch)
        reply.segments = sorted(reply.segments, key=lambda s: s.score)[-1:]
        return reply, here.slice

    @abstractmethod
    def answer(self, model: Model, image: StudyImage, wanted: Wanted, request: dict[str, Any]) -> Reply:
        """What the task finds."""
