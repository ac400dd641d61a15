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
from monai_mimo.inference.volume_answer import VolumeAnswer
from monai_mimo.mimoseg.catalogue.vocabulary import standard_name
from monai_mimo.mimoseg.questions.templates import listed

from . import result
from .engine import Engine
from .infer_request import InferRequest, SlicePrompts, on_slice, prompts_in_3d, read_request
from .model import Model
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
            file = result.write_result(labels, image, params["label_names"], request)
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
    """`mimo_volume`: points, scribbles and boxes on any slices -> the structure in the whole volume.

    Of type deepgrow and three-dimensional, so that the point tools of the stock panels are offered for it.
    """

    def __init__(self, engine: Engine, thresholds: Thresholds) -> None:
        super().__init__(
            InferType.DEEPGROW,
            3,
            "MIMO: click on or box a structure on any slice; it is found in the whole volume. Research use only.",
            engine,
            thresholds,
            {"plane": ["auto", "axial", "coronal", "sagittal"]},
        )

    def answer(self, model: Model, image: StudyImage, asked: InferRequest, request: dict[str, Any]) -> Reply:
        """One segment: what the prompts are on; of a picture, as a click.

        Raises:
            InputError: neither a positive point nor a scribble nor a box.
        """
        if not has_slices(image):
            return self.ask_at_prompts(model, image, asked, "to start from")[0]
        if not asked.prompted:
            found = "neither a positive point nor a box"
            raise InputError("prompt", found, "one of them, or a scribble, on a slice to start from")
        given = volume_prompts(asked, image)
        answer = self.engine.ask_volume(model, image, "", **given)
        return safe_volume_reply(answer, "", self.thresholds, image)


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
        questions = {name: f"Segment {listed([name])} in this image." for name in names}
        found, withheld = [], 0
        for name, question in questions.items():
            if here is None and has_slices(image):
                answer = self.engine.ask_volume(model, image, question)
                part = safe_volume_reply(answer, question, self.thresholds, image)
            else:
                part = self.ask(model, image, here or SlicePrompts(0), question)
            withheld += len(part.withheld)
            named = [s for s in part.segments if is_called(s.phrase, name) and any(m.any() for m in s.masks.values())]
            for segment in sorted(named, key=lambda s: s.score)[-1:]:
                found.append(Segment(name, segment.masks, segment.score, segment.status, None, segment.extra))
        return _reply(found, names, here.slice if here else None, withheld, 1 if here else image.shown.n_slices)


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
            "MIMO: ask about a slice or the volume in words; the answer's phrases come with masks. Research use only.",
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
        if here is None and has_slices(image):
            answer = self.engine.ask_volume(model, image, asked.question)
            return safe_volume_reply(answer, asked.question, self.thresholds, image)
        if here is None:  # pages without a place in space
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


def safe_volume_reply(answer: VolumeAnswer, question: str, thresholds: Thresholds, image: StudyImage) -> Reply:
    """An answer about a volume, after the safeguards."""
    safe = guard(answer, question, thresholds)
    segments = []
    for entity, status in zip(safe.answer.entities, safe.statuses):
        frames = image.shown.to_display(entity.mask)
        masks = {int(n): frames[n] for n in np.flatnonzero(frames.any((1, 2)))}
        ends = sorted(image.index_of(n) for n in (min(masks), max(masks))) if masks else []
        segments.append(Segment(entity.phrase, masks, entity.score, status, entity.span, {"slices": ends}))
    withheld, notices = safe.to_json()["withheld"], list(safe.notices)
    return Reply(safe.answer.text, segments, None, list(safe.answer.warnings), withheld, notices)


def volume_prompts(asked: InferRequest, image: StudyImage) -> dict[str, Any]:
    """Prompts of a request on any slices, as of `MimoPredictor.ask_volume`.

    Raises:
        InputError: one has two numbers, or lies outside of the volume.
    """
    given = prompts_in_3d(asked)
    scribbles = None
    if given["inside"] or given["outside"]:
        scribbles = np.zeros(image.shape, dtype=np.uint8)
        for value, voxels in ((1, given["inside"]), (2, given["outside"])):
            for voxel in voxels:
                image.place(voxel)
                scribbles[voxel] = value
    return {"points": given["points"], "boxes": given["boxes"], "scribbles": scribbles}


def has_slices(image: StudyImage) -> bool:
    """Whether it is a volume in space with more than one slice."""
    return image.affine is not None and image.shown.n_slices > 1


def is_called(phrase: str, name: str) -> bool:
    """Whether a phrase of an answer means `name`."""
    if phrase.casefold() == name.casefold():
        return True
    standard = standard_name(phrase)
    return standard is not None and standard == standard_name(name)
