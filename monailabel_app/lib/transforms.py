"""The links of the tasks' chains, from a viewer's request to the reply: MONAI dictionary transforms. Each says what it adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from monai.transforms import Transform
from monai.utils import convert_to_numpy

from monai_mimo.errors import InputError
from monai_mimo.inference.question import Question
from monai_mimo.inference.safeguards import Thresholds, guard, uncertain_line
from monai_mimo.mimoseg.catalogue.vocabulary import standard_name
from monai_mimo.mimoseg.questions.templates import listed

from . import result
from .engine import Engine
from .infer_request import SlicePrompts, on_slice, prompts_in_3d, read_request
from .request_limits import Limits
from .result import Reply, Segment
from .study_image import StudyImage

Data = Mapping[str, Any]


class ReadRequest(Transform):
    """`asked`: the parameters of the request, an `InferRequest`.

    Raises:
        InputError: one has another type or form, or there are too many.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def __call__(self, data: Data) -> dict[str, Any]:
        return {**data, "asked": read_request(data, self.limits)}


class OpenStudy(Transform):
    """`weights`: the current `Model`; `study`: the `StudyImage` of `image`, which is kept for the next request.

    Raises:
        WeightsError: there are none.
        InputError: the image cannot be read, or is too large.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __call__(self, data: Data) -> dict[str, Any]:
        weights = self.engine.models.current()
        return {**data, "weights": weights, "study": self.engine.open(data["image"], data["asked"].plane)}


class PromptsToPixels(Transform):
    """`prompts`: a `SlicePrompts` of the slice that is asked about, or {} where nothing says which slice of a volume that is. Of
    pages without a place in space it is then the middle one.

    Raises:
        InputError: a prompt or the slice lies outside the image.
    """

    def __call__(self, data: Data) -> dict[str, Any]:
        image: StudyImage = data["study"]
        prompts: SlicePrompts | dict[str, Any] | None = on_slice(data["asked"], image)
        if prompts is None and has_slices(image):
            prompts = {}
        elif prompts is None:
            middle = image.shown.n_slices // 2
            said = f"no slice was given; {image.index_of(middle)}, the middle one, was asked about"
            prompts = SlicePrompts(middle, warnings=[said])
        return {**data, "prompts": prompts}


class PromptsToVoxels(PromptsToPixels):
    """`prompts` on any slices, as of `MimoPredictor.ask_volume`; of a picture, or of pages, as `PromptsToPixels`.

    Raises:
        InputError: one has two numbers, or lies outside of the volume.
    """

    def __call__(self, data: Data) -> dict[str, Any]:
        image: StudyImage = data["study"]
        if not has_slices(image):
            return super().__call__(data)
        given = prompts_in_3d(data["asked"])
        scribbles = None
        if given["inside"] or given["outside"]:
            scribbles = np.zeros(image.shape, dtype=np.uint8)
            for value, voxels in ((1, given["inside"]), (2, given["outside"])):
                for voxel in voxels:
                    image.place(voxel)
                    scribbles[voxel] = value
        return {**data, "prompts": {"points": given["points"], "boxes": given["boxes"], "scribbles": scribbles}}


class AskWhatIsMarked(Transform):
    """`questions`: the one about the prompts.

    Raises:
        InputError: neither a positive point nor a scribble nor a box.
    """

    def __call__(self, data: Data) -> dict[str, Any]:
        if not data["asked"].prompted:
            found = "neither a positive point nor a box"
            raise InputError("prompt", found, "one of them, or a scribble, on a slice to start from")
        return {**data, "questions": [about_prompts(data["prompts"])]}


class AskInWords(Transform):
    """`questions`: the one of the request; without words, the one about the prompts.

    Raises:
        InputError: neither a question nor a prompt.
    """

    def __call__(self, data: Data) -> dict[str, Any]:
        asked = data["asked"]
        if not asked.question and not asked.prompted:
            raise InputError("question", "an empty text", "a question in words, or a point or a box")
        return {**data, "questions": [asked.question or about_prompts(data["prompts"])]}


class AskForNames(Transform):
    """`names` of the request, or all that the weights know, and `questions`: one for each, so that a name that is absent does
    not spoil the others.

    Raises:
        InputError: there is no name, or there are too many.
    """

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, data: Data) -> dict[str, Any]:
        names = data["asked"].labels or data["weights"].labels
        if not names or len(names) > self.most:
            given = f"no name, and weights that know {len(names)}"
            raise InputError("label", given, f"names of what to segment, at most {self.most}")
        return {**data, "names": names, "questions": [f"Segment {listed([n])} in this image." for n in names]}


class AskModel(Transform):
    """`answers` to the questions: each an `Answer` about the slice, or a `VolumeAnswer`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __call__(self, data: Data) -> dict[str, Any]:
        weights, image, prompts = data["weights"], data["study"], data["prompts"]
        answers = []
        for question in data["questions"]:
            if isinstance(prompts, SlicePrompts):
                asked = Question(question, prompts.points, prompts.boxes, prompts.scribbles)
                answers += self.engine.ask(weights, image, prompts.slice, [asked])
            else:
                answers.append(self.engine.ask_volume(weights, image, question, **prompts))
        return {**data, "answers": answers}


class Safeguards(Transform):
    """`replies`: a `Reply` for each answer, its phrases marked as uncertain or withheld by their scores."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds

    def __call__(self, data: Data) -> dict[str, Any]:
        replies = []
        for answer, question in zip(data["answers"], data["questions"]):
            safe = guard(answer, question, self.thresholds)
            segments = []
            for entity, status in zip(safe.answer.entities, safe.statuses):
                one_slice = isinstance(data["prompts"], SlicePrompts)
                mask = entity.mask[None] if one_slice else data["study"].shown.to_display(entity.mask)
                segments.append(Segment(entity.phrase, mask, entity.score, status, entity.span))
            warnings, withheld = list(safe.answer.warnings), safe.to_json()["withheld"]
            replies.append(Reply(safe.answer.text, segments, warnings, withheld, list(safe.notices)))
        return {**data, "replies": replies}


class KeepBest(Transform):
    """`replies` with the one segment that has the best score; a warning where the label that was asked for has another name."""

    def __call__(self, data: Data) -> dict[str, Any]:
        [reply] = data["replies"]
        reply.segments = sorted(reply.segments, key=lambda s: s.score)[-1:]
        known = [name for name in data["asked"].labels if name in data["weights"].labels]
        if known and reply.segments and reply.segments[0].phrase not in known:
            said = f"the segment is called {known[0]}, but the answer is {reply.segments[0].phrase}"
            reply.warnings.append(said)
        return dict(data)


class JoinNames(Transform):
    """`replies`: a single one, with the best segment of each name that was found, in words."""

    def __call__(self, data: Data) -> dict[str, Any]:
        found: list[Segment] = []
        for name, part in zip(data["names"], data["replies"]):
            named = [s for s in part.segments if is_called(s.phrase, name) and s.mask.any()]
            for segment in sorted(named, key=lambda s: s.score)[-1:]:
                found.append(Segment(name, segment.mask, segment.score, segment.status))
        text = ""
        for segment in found:
            text += ", the " if text else "Here are the " if len(found) > 1 else "Here is the "
            segment.span = (len(text), len(text) + len(segment.phrase))
            text += segment.phrase
        missing = [name for name in data["names"] if name not in {s.phrase for s in found}]
        text += "." if text else ""
        if missing:
            where = "in this image" if isinstance(data["prompts"], SlicePrompts) else "in this volume"
            text += f"{' ' if text else ''}I found no {', no '.join(missing)} {where}."
        warnings = [uncertain_line(s.phrase, s.score) for s in found if s.status == "uncertain"]
        withheld = sum(len(part.withheld) for part in data["replies"])
        if withheld:
            warnings.append(f"withheld: {withheld} masks with a low score")
        return {**data, "replies": [Reply(text, found, warnings)]}


class StackMasks(Transform):
    """`pred`: the masks of the phrases, bool [phrases, slices, h, w], as they are shown and with their overlaps; `first`: the
    slice that it begins with. Slices around that hold nothing are left out. Of an answer without a mask it is one empty mask,
    so that any transform of MONAI can follow."""

    def __call__(self, data: Data) -> dict[str, Any]:
        [reply] = data["replies"]
        masks = [s.mask for s in reply.segments] or [np.zeros((1, *data["study"].shown.size), bool)]
        if isinstance(data["prompts"], SlicePrompts):
            return {**data, "pred": np.stack(masks), "first": data["prompts"].slice}
        filled = np.flatnonzero(np.any([mask.any((1, 2)) for mask in masks], axis=0))
        first, last = (int(filled[0]), int(filled[-1])) if len(filled) else (0, 0)
        return {**data, "pred": np.stack([mask[first : last + 1] for mask in masks]), "first": first}


class LabelMap(Transform):
    """`labels`: slice -> uint8 [h, w], phrase n of `pred` with the value n + 1, and `result`: the JSON of the reply. What is
    above a half counts as inside; where two phrases overlap, the one with the higher score stays."""

    def __call__(self, data: Data) -> dict[str, Any]:
        [reply] = data["replies"]
        masks = convert_to_numpy(data["pred"]) > 0.5
        labels = np.zeros(masks.shape[1:], dtype=np.uint8)
        for number in sorted(range(len(reply.segments)), key=lambda n: reply.segments[n].score):
            labels[masks[number]] = number + 1
        slices = {data["first"] + n: frame for n, frame in enumerate(labels) if frame.any()}
        slice = None
        if isinstance(data["prompts"], SlicePrompts):
            slice = data["prompts"].slice
            reply.warnings = data["prompts"].warnings + reply.warnings
        said = result.to_json(reply, data["study"], slices, slice, data["weights"])
        return {**data, "labels": slices, "result": said}


class ToVoxels(Transform):
    """`pred`: the label map on the voxels of the file, uint8 [i, j, k], where the request wants a file."""

    def __call__(self, data: Data) -> dict[str, Any]:
        if data.get("result_write_to_file", True) is False:
            return dict(data)
        return {**data, "pred": result.to_voxels(data["study"], data["labels"])}


def about_prompts(prompts: SlicePrompts | Mapping[str, Any]) -> str:
    """What to ask where a user only marked something; prompts beyond the first are appended by the model's conversation."""
    if not isinstance(prompts, SlicePrompts):
        return ""
    if prompts.boxes:
        return "What does <box> hold?"
    return "What is at <point>?" if prompts.points else ""


def has_slices(image: StudyImage) -> bool:
    """Whether it is a volume in space with more than one slice."""
    return image.affine is not None and image.shown.n_slices > 1


def is_called(phrase: str, name: str) -> bool:
    """Whether a phrase of an answer means `name`."""
    if phrase.casefold() == name.casefold():
        return True
    standard = standard_name(phrase)
    return standard is not None and standard == standard_name(name)
