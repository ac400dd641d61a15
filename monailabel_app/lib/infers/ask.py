"""`mimo_ask`: a question in words, with or without prompts -> an answer whose phrases are tied to masks."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferType

from monai_mimo.errors import InputError
from monai_mimo.inference.safeguards import Thresholds

from ..engine import Engine
from ..model import Model
from ..prompts import OnSlice, Wanted, on_slice
from ..questions import about_prompts
from ..result import Reply
from ..study_image import StudyImage
from .task import MimoTask


class Ask(MimoTask):
    """Of type segmentation: viewers without a place for text show its `question` among the task's options."""

    def __init__(self, engine: Engine, thresholds: Thresholds) -> None:
        super().__init__(
            InferType.SEGMENTATION,
            2,
            "MIMO: ask about a slice in words; the answer's phrases come with masks. Research use only.",
            engine,
            thresholds,
            {"question": "", "slice": -1, "plane": ["auto", "axial", "coronal", "sagittal"]},
        )

    def answer(self, model: Model, image: StudyImage, wanted: Wanted, request: dict[str, Any]) -> Reply:
        """As many segments as the answer has phrases.

        Raises:
            InputError: neither a question nor a prompt.
        """
        if not wanted.question and not wanted.prompted:
            raise InputError("question", "an empty text", "a question in words, or a point or a box")
        here = on_slice(wanted, image)
        if here is None:
            middle = image.shown.n_slices // 2
            here = OnSlice(
                middle, warnings=[f"no slice was given; {image.index_of(middle)}, the middle one, was asked about"]
            )
        question = wanted.question or about_prompts(here.points, here.boxes)
        return self.ask(model, image, here, question)
