"""`mimo_segment`: names from the labels -> all of them, on one slice or in the whole volume."""

from __future__ import annotations

from typing import Any

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferType

from monai_mimo.errors import InputError
from monai_mimo.inference.safeguards import Thresholds, uncertain_line
from monai_mimo.mimoseg.questions.templates import listed

from ..engine import Engine
from ..model import Model
from ..prompts import Wanted, on_slice
from ..questions import guarded, named
from ..result import Reply, Segment
from ..study_image import StudyImage
from .task import MimoTask


class SegmentNames(MimoTask):
    """Each name is asked for on its own, so that one that is absent does not spoil the others."""

    def __init__(self, engine: Engine, thresholds: Thresholds) -> None:
        super().__init__(
            InferType.SEGMENTATION,
            3,
            "MIMO: segment named structures, on one slice or in the volume. Research use only.",
            engine,
            thresholds,
            {"label": "", "slice": -1, "plane": ["auto", "axial", "coronal", "sagittal"]},
        )

    def answer(self, model: Model, image: StudyImage, wanted: Wanted, request: dict[str, Any]) -> Reply:
        """A segment for each name that is found; without names, all that the weights know, if those are few.

        Raises:
            InputError: there is no name.
        """
        names = wanted.labels or model.labels
        if not names or len(names) > self.engine.limits.max_labels:
            given = f"no name, and weights that know {len(names)}"
            raise InputError("label", given, f"names of what to segment, at most {self.engine.limits.max_labels}")
        here = on_slice(wanted, image)
        slices = list(range(image.shown.n_slices)) if here is None else [here.slice]
        questions = [f"Segment {listed([name])} in this image." for name in names]
        masks: dict[str, dict[int, np.ndarray]] = {name: {} for name in names}
        scores: dict[str, list[float]] = {name: [] for name in names}
        withheld = 0
        for slice in slices:
            answers = self.engine.ask(model, image, slice, [(q, [], []) for q in questions], prefetch=len(slices) == 1)
            for name, question, answer in zip(names, questions, answers):
                part = guarded(answer, question, self.thresholds, slice)
                withheld += len(part.withheld)
                found = [s for s in part.segments if named(s.phrase, name) and s.masks[slice].any()]
                if found:
                    best = max(found, key=lambda s: s.score)
                    masks[name][slice] = best.masks[slice]
                    scores[name].append(best.score)
        segments = []
        for name in names:
            if masks[name]:
                areas = [mask.sum() for mask in masks[name].values()]
                score = float(np.average(scores[name], weights=areas))
                segments.append(Segment(name, masks[name], score, self.thresholds.status(score)))
        return _reply(segments, names, here.slice if here else None, withheld, len(slices))


def _reply(segments: list[Segment], names: tuple[str, ...], slice: int | None, withheld: int, slices: int) -> Reply:
    """In words, with the spans of the names."""
    where = "in this volume" if slices > 1 else "in this image"
    text = ""
    for segment in segments:
        text += ", the " if text else "Here are the " if len(segments) > 1 else "Here is the "
        segment.span = (len(text), len(text) + len(segment.phrase))
        text += segment.phrase
    missing = [name for name in names if name not in {s.phrase for s in segments}]
    text += "." if text else ""
    if missing:
        text += f"{' ' if text else ''}I found no {', no '.join(missing)} {where}."
    warnings = [uncertain_line(s.phrase, s.score) for s in segments if s.status == "uncertain"]
    if withheld:
        warnings.append(f"withheld: {withheld} masks with a low score")
    return Reply(text, segments, slice, warnings)
