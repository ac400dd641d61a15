"""`mimo_click`: points or a box on one slice -> the mask of what is there, with its name."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferType

from monai_mimo.inference.safeguards import Thresholds

from ..engine import Engine
from ..model import Model
from ..prompts import Wanted
from ..result import Reply
from ..study_image import StudyImage
from .task import MimoTask


class Click(MimoTask):
    """Of type deepgrow, so that the point tools of both viewers' stock panels are offered for it."""

    def __init__(self, engine: Engine, thresholds: Thresholds) -> None:
        super().__init__(
            InferType.DEEPGROW,
            2,
            "MIMO: click on or box a structure on one slice; its mask and its name come back. Research use only.",
            engine,
            thresholds,
            {"plane": ["auto", "axial", "coronal", "sagittal"]},
        )

    def answer(self, model: Model, image: StudyImage, wanted: Wanted, request: dict[str, Any]) -> Reply:
        """One segment: the entity with the best score.

        Raises:
            InputError: neither a positive point nor a box.
        """
        reply, _ = self.ask_at_prompts(model, image, wanted, "to be segmented")
        known = [name for name in wanted.labels if name in model.labels]
        if known and reply.segments and reply.segments[0].phrase not in known:
            reply.warnings.append(f"the segment is called {known[0]}, but the answer is {reply.segments[0].phrase}")
        return reply
