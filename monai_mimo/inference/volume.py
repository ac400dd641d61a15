"""Ask about a whole volume: slices are read in batches, and each one's mask is made to fit those of its neighbours."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..data.names import REGION, Mention
from ..data.prompt_maps import LOGIT_LIMIT, RegionPrompts
from ..errors import InputError
from .encoded_volume import BATCH, EncodedVolume
from .question import Question
from .slice_decoder import decode, doubled, named
from .volume_answer import Structure, VolumeAnswer, described

if TYPE_CHECKING:
    from .predictor import MimoPredictor

LEAST_PART = 0.1  # of the largest part of a structure: smaller ones that do not touch it are dropped
LEAST_SCORE, LEAST_OVERLAP, GROWTH, LEAST_AREA = 0.3, 0.2, 4.0, 4  # where following a mask from slice to slice ends

Progress = Callable[[int, int], None]  # is told how many of how many slices are done


def ask_words(
    predictor: MimoPredictor, volume: EncodedVolume, question: str, progress: Progress | None = None
) -> VolumeAnswer:
    """Ask every slice the question, in batches and with all checks of a question about an image, and join what is found into
    structures in 3-D."""
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
    for first in range(0, total, BATCH):
        numbers = list(range(first, min(first + BATCH, total)))
        slices = volume.slices(numbers)
        unlike += [s.ood_score for s in slices if s.ood_score is not None]
        for number, answer in zip(numbers, predictor.ask_each(slices, [Question(question)] * len(slices))):
            said[answer.text] += not answer.entities
            for e in answer.entities:
                if e.mask.any() and e.logits is not None:
                    one = found.setdefault(e.phrase, Structure(e.phrase))
                    if e.score > one.scores.get(number, 0.0):
                        one.scores[number], one.logits[number] = e.score, torch.from_numpy(e.logits)
        if progress is not None:
            progress(numbers[-1] + 1, total)
    structures = []
    for one in found.values():
        fit_neighbours(volume, one)
        structures.append((one, main_parts(one.frames(volume))))
    absent = (
        []
        if predictor.names is None
        else [m.canonical for m in mentions if not any(predictor.names.fits(phrase, [m]) for phrase in found)]
    )
    text = "" if structures or absent or not said else said.most_common(1)[0][0]
    ood_score = float(np.median(unlike)) if unlike else None
    return described(volume, predictor.model_info, structures, text, absent, ood_score)


def fit_neighbours(volume: EncodedVolume, found: Structure) -> None:
    """Decode each slice again with what its neighbours show as the mask before, and take the mean of both looks. Slices that
    the model found nothing on stay empty, but for one between two others."""
    names = volume.model.region_names
    if names is None or found.phrase not in names.names:
        return
    own = dict(found.logits)
    gaps = [n + 1 for n in own if n + 1 not in own and n + 2 in own]
    numbers = sorted([*own, *gaps])
    nothing = torch.full_like(next(iter(own.values())), -LOGIT_LIMIT)
    for first in range(0, len(numbers), BATCH):
        part = numbers[first : first + BATCH]
        before = [torch.stack([own.get(n + step, nothing) for step in (-1, 0, 1)]).mean(0) for n in part]
        prompts = [RegionPrompts(logits=doubled(b)) for b in before]
        logits, scores = decode(volume, part, prompts, found.phrase)
        for number, last, seen, score in zip(part, before, logits, scores):
            found.logits[number] = (seen + own.get(number, last)) / 2
            found.scores.setdefault(number, score)


def ask_prompts(
    predictor: MimoPredictor,
    volume: EncodedVolume,
    prompts: Mapping[int, RegionPrompts],
    progress: Progress | None = None,
) -> VolumeAnswer:
    """What prompts show, in 3-D; see `follow`."""
    found = follow(volume, prompts, progress)
    inside = places(prompts, label=1)
    frames = main_parts(found.frames(volume), inside)
    if not frames.any() or not all(frames[place] for place in inside):
        return described(volume, predictor.model_info, [], "I see nothing at this place that I could outline.")
    return described(volume, predictor.model_info, [(found, frames)])


def follow(
    volume: EncodedVolume,
    prompts: Mapping[int, RegionPrompts],
    progress: Progress | None = None,
    phrase: str | None = None,
) -> Structure:
    """What prompts (by slice, in pixels of the slice) show: outlined there, and followed both ways to where it ends.

    Args:
        phrase: the name of what they show; none: what it looks like.

    Raises:
        InputError: they show only what is outside.
    """
    starts = sorted(prompts)
    inside = [n for n in starts if shows_inside(prompts[n])]
    if not inside:
        raise InputError("prompts", "only what is outside", "a point, box or scribble inside of the object")
    if phrase is None:
        first = inside[len(inside) // 2]
        phrase = named(volume, first, prompts[first])
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


def main_parts(frames: np.ndarray, holding: Sequence[tuple[int, int, int]] = ()) -> np.ndarray:
    """The connected parts of a mask [n, h, w] that hold one of the places, or without places those that are not small beside
    the largest."""
    parts, count = ndimage.label(frames)
    if count == 0:
        return frames
    keep = np.zeros(count + 1, dtype=bool)
    keep[[int(parts[place]) for place in holding]] = True
    keep[0] = False
    if not keep.any():
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        keep = sizes >= max(LEAST_PART * sizes.max(), 1)
    return keep[parts]


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
