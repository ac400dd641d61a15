"""`mimo_volume`: a point or a box on one slice -> the structure in the whole volume, carried from slice to slice."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferType

from monai_mimo.inference.safeguards import Thresholds

from ..carry import Rules, carry
from ..engine import Engine
from ..model import Model
from ..prompts import Wanted
from ..result import Reply
from ..study_image import StudyImage
from .task import MimoTask


class Volume(MimoTask):
    """Of type deepgrow and three-dimensional, so that the point tools of the stock panels are offered for it."""

    def __init__(self, engine: Engine, thresholds: Thresholds, rules: Rules | None = None) -> None:
        super().__init__(
            InferType.DEEPGROW,
            3,
            "MIMO: click on or box a structure on one slice; it is followed through the volume. Research use only.",
            engine,
            thresholds,
            {"plane": ["auto", "axial", "coronal", "sagittal"]},
        )
        self.rules = rules or Rules()

    def answer(self, model: Model, image: StudyImage, wanted: Wanted, request: dict[str, Any]) -> Reply:
        """One segment: what the prompts are on.

        Raises:
            InputError: neither a positive point nor a box.
        """
        reply, start = self.ask_at_prompts(model, image, wanted, "to start from", prefetch=False)
        for segment in reply.segments:
            carried = carry(self.engine, model, image, start, segment.phrase, segment.masks[start], self.rules)
            segment.masks |= carried.masks
            ends = sorted(image.index_of(n) for n in (min(segment.masks), max(segment.masks)))
            segment.extra = {"slices": ends, "stopped": carried.stopped}
        return reply
