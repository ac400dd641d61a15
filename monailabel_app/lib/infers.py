"""What a viewer can ask the server to do: the four tasks, from the request to the mask on the file's voxels."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from monai_mimo.errors import InputError
from monai_mimo.inference import Answer
from monai_mimo.inference.question import Question
from monai_mimo.inference.safeguards import Thresholds, guard, uncertain_line
from monai_mimo.mimoseg.questions.templates import listed

from . import result
from .engine import Engine
from .infer_request import InferRequest, SlicePrompts, on_slice, read_request
from .model import Model
from .propagate import StopRules, is_called, propagate
from .result import Reply, Segment
from .study_image import StudyImage


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
        asked = read_request(request, self.engine.limits)
        model = self.engine.models.current()
        image = self.engine.open(request["image"], asked.plane)
        opened = time.perf_counter()
        reply = self.answer(model, image, asked, request)
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

    def ask(self, model: Model, image: StudyImage, here: SlicePrompts, question: str, prefetch: bool = True) -> Reply:
        """Ask about one slice with its prompts, after the safeguards."""
        asked = Question(question, here.points, here.boxes, here.scribbles)
        [answer] = self.engine.ask(model, image, here.slice, [asked], prefetch=prefetch)
        reply = safe_reply(answer, question, self.thresholds, here.slice)
        reply.warnings = here.warnings + reply.warnings
        return reply

    def ask_at_prompts(
        self, model: Model, image: StudyImage, asked: InferRequest, purpose: str, prefetch: bool = True
    ) -> tuple[Reply, int]:
        """What the prompts are on, as the one segment with the best score, and its slice.

        Args:
            purpose: what the slice with the prompts is for, in the error.

        Raises:
            InputError: neither a positive point nor a scribble nor a box.
        """
        here = on_slice(asked, image)
        if here is None or not asked.prompted:
            found = "neither a positive point nor a box"
            raise InputError("prompt", found, f"one of them, or a scribble, on the slice {purpose}")
        reply = self.ask(model, image, here, about_prompts(here.points, here.boxes), prefetch)
        reply.segments = sorted(reply.segments, key=lambda s: s.score)[-1:]
        return reply, here.slice

    @abstractmethod
    def answer(self, model: Model, image: StudyImage, asked: InferRequest, request: dict[str, Any]) -> Reply:
        """What the task finds."""


class Click(MimoTask):
    """`mimo_click`: points or a box on one slice -> the mask of what is there, with its name.

    Of type deepgrow, so that the point tools of both viewers' stock panels are offered for it.
    """

    def __init__(self, engine: Engine, thresholds: Thresholds) -> None:
        super().__init__(
            InferType.DEEPGROW,
            2,
            "MIMO: click on or box a structure on one slice; its mask and its name come back. Research use only.",
            engine,
            thresholds,
            {"plane": ["auto", "axial", "coronal", "sagittal"]},
        )

    def answer(self, model: Model, image: StudyImage, asked: InferRequest, request: dict[str, Any]) -> Reply:
        """One segment: the entity with the best score.

        Raises:
            InputError: neither a positive point nor a box.
        """
        reply, _ = self.ask_at_prompts(model, image, asked, "to be segmented")
        known = [name for name in asked.labels if name in model.labels]
        if known and reply.segments and reply.segments[0].phrase not in known:
            reply.warnings.append(f"the segment is called {known[0]}, but the answer is {reply.segments[0].phrase}")
        return reply


class Volume(MimoTask):
    """`mimo_volume`: a point or a box on one slice -> the structure in the whole volume, propagated from slice to slice.

    Of type deepgrow and three-dimensional, so that the point tools of the stock panels are offered for it.
    """

    def __init__(self, engine: Engine, thresholds: Thresholds, rules: StopRules | None = None) -> None:
        super().__init__(
            InferType.DEEPGROW,
            3,
            "MIMO: click on or box a structure on one slice; it is followed through the volume. Research use only.",
            engine,
            thresholds,
            {"plane": ["auto", "axial", "coronal", "sagittal"]},
        )
        self.rules = rules or StopRules()

    def answer(self, model: Model, image: StudyImage, asked: InferRequest, request: dict[str, Any]) -> Reply:
        """One segment: what the prompts are on.

        Raises:
            InputError: neither a positive point nor a box.
        """
        reply, start = self.ask_at_prompts(model, image, asked, "to start from", prefetch=False)
        for segment in reply.segments:
            propagated = propagate(self.engine, model, image, start, segment.phrase, segment.masks[start], self.rules)
            segment.masks |= propagated.masks
            ends = sorted(image.index_of(n) for n in (min(segment.masks), max(segment.masks)))
            segment.extra = {"slices": ends, "stopped": propagated.stopped}
        return reply


class SegmentNames(MimoTask):
    """`mimo_segment`: names from the labels -> all of them, on one slice or in the whole volume.

    Each name is asked for on its own, so that one that is absent does not spoil the others.
    """

    def __init__(self, engine: Engine, thresholds: Thresholds) -> None:
        super().__init__(
            InferType.SEGMENTATION,
            3,
            "MIMO: segment named structures, on one slice or in the volume. Research use only.",
            engine,
            thresholds,
            {"label": "", "slice": -1, "plane": ["auto", "axial", "coronal", "sagittal"]},
        )

    def answer(self, model: Model, image: StudyImage, asked: InferRequest, request: dict[str, Any]) -> Reply:
        """A segment for each name that is found; without names, all that the weights know, if those are few.

        Raises:
            InputError: there is no name.
        """
        names = asked.labels or model.labels
        if not names or len(names) > self.engine.limits.max_labels:
            given = f"no name, and weights that know {len(names)}"
            raise InputError("label", given, f"names of what to segment, at most {self.engine.limits.max_labels}")
        here = on_slice(asked, image)
        slices = list(range(image.shown.n_slices)) if here is None else [here.slice]
        questions = [f"Segment {listed([name])} in this image." for name in names]
        masks: dict[str, dict[int, np.ndarray]] = {name: {} for name in names}
        scores: dict[str, list[float]] = {name: [] for name in names}
        withheld = 0
        for slice in slices:
            answers = self.engine.ask(model, image, slice, [(q, [], []) for q in questions], prefetch=len(slices) == 1)
            for name, question, answer in zip(names, questions, answers):
                part = safe_reply(answer, question, self.thresholds, slice)
                withheld += len(part.withheld)
                found = [s for s in part.segments if is_called(s.phrase, name) and s.masks[slice].any()]
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


class Ask(MimoTask):
    """`mimo_ask`: a question in words, with or without prompts -> an answer whose phrases are tied to masks.

    Of type segmentation: viewers without a place for text show its `question` among the task's options.
    """

    def __init__(self, engine: Engine, thresholds: Thresholds) -> None:
        super().__init__(
            InferType.SEGMENTATION,
            2,
            "MIMO: ask about a slice in words; the answer's phrases come with masks. Research use only.",
            engine,
            thresholds,
            {"question": "", "slice": -1, "plane": ["auto", "axial", "coronal", "sagittal"]},
        )

    def answer(self, model: Model, image: StudyImage, asked: InferRequest, request: dict[str, Any]) -> Reply:
        """As many segments as the answer has phrases.

        Raises:
            InputError: neither a question nor a prompt.
        """
        if not asked.question and not asked.prompted:
            raise InputError("question", "an empty text", "a question in words, or a point or a box")
        here = on_slice(asked, image)
        if here is None:
            middle = image.shown.n_slices // 2
            here = SlicePrompts(
                middle, warnings=[f"no slice was given; {image.index_of(middle)}, the middle one, was asked about"]
            )
        question = asked.question or about_prompts(here.points, here.boxes)
        return self.ask(model, image, here, question)


def about_prompts(points: Sequence[Any], boxes: Sequence[Any]) -> str:
    """What to ask where a user only marked something; prompts beyond the first are appended by the model's conversation."""
    if boxes:
        return "What does <box> hold?"
    return "What is at <point>?" if points else ""


def safe_reply(answer: Answer, question: str, thresholds: Thresholds, slice: int) -> Reply:
    """An answer about one slice, after the safeguards."""
    safe = guard(answer, question, thresholds)
    segments = [
        Segment(e.phrase, {slice: e.mask}, e.score, status, e.span)
        for e, status in zip(safe.answer.entities, safe.statuses)
    ]
    return Reply(
        safe.answer.text,
        segments,
        slice,
        list(safe.answer.warnings),
        safe.to_json()["withheld"],
        list(safe.notices),
    )
