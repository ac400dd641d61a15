"""Ask about a whole volume: slices are read in batches, and what is found on them is joined in 3-D."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..data.names import REGION, Mention
from ..data.prompt_maps import RegionPrompts
from ..errors import InputError
from ..mimoseg.questions.templates import asked_kind
from .encoded_volume import BATCH, EncodedVolume
from .name_guard import for_each_name
from .question import Question
from .slice_decoder import decode, doubled, named
from .volume_answer import Structure, VolumeAnswer, described
from .whole_structure import Progress, by_name, field, joined, looks_like, main_parts, rival_of

if TYPE_CHECKING:
    from .predictor import MimoPredictor

LEAST_SCORE, LEAST_OVERLAP, GROWTH, LEAST_AREA = 0.3, 0.2, 4.0, 4  # where following a mask from slice to slice ends


def ask_volume(
    predictor: MimoPredictor,
    volume: EncodedVolume,
    question: str,
    points: Sequence[Sequence[float]],
    boxes: Sequence[Sequence[float]],
    scribbles: np.ndarray | None,
    progress: Progress | None = None,
) -> VolumeAnswer:
    """What `MimoPredictor.ask_volume` gives; same arguments and errors."""
    lines: list[list[list[int]]] = [[], []]
    if scribbles is not None:
        if scribbles.shape != volume.image.shape:
            raise InputError("scribble", f"shape {list(scribbles.shape)}", f"{list(volume.image.shape)} as the volume")
        lines = [np.argwhere(scribbles == kind).tolist() for kind in (1, 2)]
    prompts = gathered(volume, points, boxes, *lines)
    if bool(question) == bool(prompts):
        raise InputError("question", "both words and prompts" if prompts else "nothing", "words or prompts")
    return (
        ask_prompts(predictor, volume, prompts, progress)
        if prompts
        else ask_words(predictor, volume, question, progress)
    )


def ask_words(
    predictor: MimoPredictor, volume: EncodedVolume, question: str, progress: Progress | None = None
) -> VolumeAnswer:
    """Ask every slice the question, in batches and with all checks of a question about an image, and join what is found into
    structures in 3-D. Of several names each is asked for on its own, so that one that a slice lacks does not hide another."""
    mentions: list[Mention] = []
    if predictor.names is not None:
        unknown = predictor.names.unknown(question)
        if unknown is not None:
            return described(volume, predictor.model_info, [], predictor.names.refusal(unknown))
        question, mentions = predictor.names.read(question)
    found: dict[str, Structure] = {}
    said: Counter[str] = Counter()
    unlike = []
    total = volume.shape[0]
    alone = for_each_name(mentions)
    questions = [question] if len(alone) < 2 or asked_kind(question) else alone
    for first in range(0, total, BATCH):
        numbers = list(range(first, min(first + BATCH, total)))
        slices = volume.slices(numbers)
        unlike += [s.ood_score for s in slices if s.ood_score is not None]
        answers = [a for q in questions for a in predictor.ask_each(slices, [Question(q)] * len(slices))]
        for number, answer in zip(numbers * len(questions), answers):
            said[answer.text] += not answer.entities
            for e in answer.entities:
                if e.mask.any() and e.logits is not None:
                    one = found.setdefault(e.phrase, Structure(e.phrase))
                    if e.score > one.scores.get(number, 0.0):
                        one.scores[number], one.logits[number] = e.score, torch.from_numpy(e.logits)
        if progress is not None:
            progress(numbers[-1] + 1, total)
    structures = [(one, in_3d(volume, one)) for one in found.values()]
    absent = (
        []
        if predictor.names is None
        else [m.canonical for m in mentions if not any(predictor.names.fits(phrase, [m]) for phrase in found)]
    )
    text = "" if structures or absent or not said else said.most_common(1)[0][0]
    ood_score = float(np.median(unlike)) if unlike else None
    return described(volume, predictor.model_info, structures, text, absent, ood_score)


def in_3d(volume: EncodedVolume, answered: Structure) -> np.ndarray:
    """The mask [n, h, w] of what answers about slices found. A name that the weights know is looked for on all slices; what most
    answers do not confirm, or does not look like its name in 3-D, is empty."""
    names = volume.model.region_names
    if names is None or answered.phrase not in names.names[:-1]:
        return main_parts(joined(volume, answered))
    found, rival = by_name(volume, answered.phrase), rival_of(volume, answered.phrase)
    frames = main_parts(joined(volume, found, None if rival is None else rival[1]))
    areas = frames.sum((1, 2))
    confirmed = areas[[n for n, score in answered.scores.items() if score > 0]].sum()
    if 2 * confirmed < areas.sum() or not looks_like(volume, found, frames):
        return np.zeros_like(frames)
    return frames


def ask_prompts(
    predictor: MimoPredictor,
    volume: EncodedVolume,
    prompts: Mapping[int, RegionPrompts],
    progress: Progress | None = None,
) -> VolumeAnswer:
    """What prompts show, in 3-D; see `shown`."""
    found, frames = shown(volume, prompts, progress)
    if not frames.any():
        return described(volume, predictor.model_info, [], "I see nothing at this place that I could outline.")
    return described(volume, predictor.model_info, [(found, frames)])


def shown(
    volume: EncodedVolume,
    prompts: Mapping[int, RegionPrompts],
    progress: Progress | None = None,
    phrase: str | None = None,
) -> tuple[Structure, np.ndarray]:
    """What prompts (by slice, in pixels of the slice) show, and its mask [n, h, w]; empty where it would not hold a click.

    What has a name is looked for by it on all slices, and the parts that hold the clicks are taken; what has none is followed
    from slice to slice.

    Args:
        phrase: the name of what they show; none: what it looks like.

    Raises:
        InputError: they show only what is outside.
    """
    inside = [n for n in sorted(prompts) if shows_inside(prompts[n])]
    if not inside:
        raise InputError("prompts", "only what is outside", "a point, box or scribble inside of the object")
    clicks, outside = places(prompts, label=1), places(prompts, label=0)
    name = phrase or named(volume, inside[len(inside) // 2], prompts)
    if name != REGION:
        found = by_name(volume, name, prompts, progress)
        rival = rival_of(volume, name)
        if phrase is None and rival is not None and clicks:
            own = field(volume, found)
            if sum(rival[1][c] for c in clicks) > sum(own[c] for c in clicks):
                name = rival[0]
                found, rival = by_name(volume, name, prompts), (found.phrase, own)
        frames = joined(volume, found, None if rival is None else rival[1])
        at = clicks or [p for n in inside for p in _seeds(n, prompts[n])]
        held = [p for p in at if frames[p]]
        if held and (not clicks or len(held) == len(clicks)):
            frames = main_parts(frames, held)
            if not any(frames[p] for p in outside):
                return found, frames
    found = follow(volume, prompts, phrase or name, progress)
    frames = main_parts(found.frames(volume), clicks)
    return found, frames if all(frames[c] for c in clicks) else np.zeros_like(frames)


def _seeds(number: int, prompts: RegionPrompts) -> list[tuple[int, int, int]]:
    """Places inside of what boxes and scribbles of a slice show."""
    seeds = [(number, int((y0 + y1) / 2), int((x0 + x1) / 2)) for x0, y0, x1, y1 in prompts.boxes]
    line = prompts.scribbles[0]
    return seeds if line is None else [*seeds, *((number, int(r), int(c)) for r, c in np.argwhere(line))]


def follow(
    volume: EncodedVolume, prompts: Mapping[int, RegionPrompts], phrase: str, progress: Progress | None = None
) -> Structure:
    """What prompts (by slice, in pixels of the slice) show: outlined there, and followed both ways to where it ends."""
    starts = sorted(prompts)
    found = Structure(phrase)
    for part in range(0, len(starts), BATCH):
        numbers = starts[part : part + BATCH]
        logits, scores = decode(volume, numbers, [prompts[n] for n in numbers], phrase)
        for number, seen, score in zip(numbers, logits, scores):
            found.logits[number], found.scores[number] = seen, score
    done = len(found.logits)
    for end, step in ((starts[0], -1), (starts[-1], 1), *((a, 1) for a, b in zip(starts, starts[1:]) if b > a + 1)):
        for number, seen, score in _walk(volume, found, end, step):
            found.logits[number], found.scores[number] = seen, score
            done += 1
            if progress is not None:
                progress(done, volume.shape[0])
    return found


def _walk(volume: EncodedVolume, found: Structure, start: int, step: int) -> Iterator[tuple[int, Tensor, float]]:
    """Slice after slice with the mask of the last as the mask before, to where it ends or where there is a mask."""
    last, number = found.logits[start], start + step
    while 0 <= number < volume.shape[0] and number not in found.logits:
        prompts = [RegionPrompts(logits=doubled(last)), RegionPrompts()]
        logits, scores = decode(volume, [number] * 2, prompts, found.phrase)
        # Seen without its neighbour a thing ends where it ends; a region without a name cannot be looked for that way.
        seen = logits[0] if found.phrase == REGION else logits.mean(0)
        labels, _ = ndimage.label(seen.numpy() > 0)
        touching = np.isin(labels, np.setdiff1d(labels[last.numpy() > 0], 0))
        seen = torch.where(torch.from_numpy(touching), seen, seen.clamp(max=-1.0))
        area, before = int(touching.sum()), int((last > 0).sum())
        shared = int((touching & (last.numpy() > 0)).sum()) / max(min(area, before), 1)
        if scores[0] < LEAST_SCORE or area < LEAST_AREA or shared < LEAST_OVERLAP:
            return
        if not 1 / GROWTH <= area / max(before, 1) <= GROWTH:
            return
        yield number, seen, scores[0]
        last, number = seen, number + step


def shows_inside(prompts: RegionPrompts) -> bool:
    """Whether anything says what is inside."""
    return bool(any(p[2] for p in prompts.points) or prompts.boxes or prompts.scribbles[0] is not None)


def places(prompts: Mapping[int, RegionPrompts], label: int | None = None) -> list[tuple[int, int, int]]:
    """(slice, row, column) of clicks, of one label or all."""
    return [(n, int(y), int(x)) for n, p in prompts.items() for x, y, kind in p.points if label in (None, kind)]


def gathered(
    volume: EncodedVolume,
    points: Sequence[Sequence[float]] = (),
    boxes: Sequence[Sequence[float]] = (),
    inside: Sequence[Sequence[float]] = (),
    outside: Sequence[Sequence[float]] = (),
) -> dict[int, RegionPrompts]:
    """Prompts on the voxels of the file as prompts of each slice, in its pixels.

    Args:
        points: (x, y, z) or (x, y, z, label).
        boxes: (x0, y0, z0, x1, y1, z1), inclusive-exclusive.
        inside, outside: voxels (x, y, z) that were scribbled over.

    Raises:
        InputError: one lies outside of the volume, or a label is neither 0 nor 1.
    """
    by_slice: dict[int, RegionPrompts] = defaultdict(RegionPrompts)
    for point in points:
        label = point[3] if len(point) > 3 else 1
        if label not in (0, 1):
            raise InputError("point", f"label {label}", "1 (inside) or 0 (outside)")
        number, row, column = volume.place(point)
        by_slice[number].points.append((column + 0.5, row + 0.5, int(label)))
    for box in boxes:
        numbers, flat = volume.box(box)
        for number in numbers:
            by_slice[number].boxes.append(flat)
    for kind, voxels in enumerate((inside, outside)):
        for number, row, column in map(volume.place, voxels):
            lines = list(by_slice[number].scribbles)
            line = lines[kind]
            if line is None:
                line = lines[kind] = np.zeros(volume.shape[1:], dtype=bool)
                by_slice[number].scribbles = lines[0], lines[1]
            line[row, column] = True
    return dict(by_slice)
