"""Ask about a whole volume: slices are read in batches, and each one's mask is made to fit those of its neighbours.

Voxels are counted as in the file: (x, y, z) is `mask[x, y, z]`. Slices are those of `MedicalImage` in the plane that was chosen.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..data.collate import collate_questions
from ..data.names import REGION
from ..data.prompt_maps import LOGIT_LIMIT, PADDING, RegionPrompts, draw, half, prompt_tokens
from ..errors import InputError
from ..models.image_encoder import ImageFeatures
from ..transforms import MedicalImage
from ..transforms.resize import SquareResize
from .answer import Answer, Entity, ground
from .question import Question

if TYPE_CHECKING:
    from .predictor import MimoPredictor

BATCH = 16  # slices that are read at a time
MEMORY = 2**30  # bytes of features that are kept
LEAST_PART = 0.1  # of the largest part of a structure: smaller ones that do not touch it are dropped
LEAST_SCORE, LEAST_OVERLAP, GROWTH, LEAST_AREA = 0.3, 0.2, 4.0, 4  # where following a mask from slice to slice ends

Progress = Callable[[int, int], None]  # is told how many of how many slices are done


@dataclass
class VolumeEntity(Entity):
    """A phrase of an answer about a volume; `mask` is bool [x, y, z] on the voxels of the file.

    `slices` are the first and the last one in the plane asked in; `volume_ml` is none without a voxel size; `side` is the half
    of the volume, "left" or "right" of the patient, in which nine tenths of it lie, or none.
    """

    slices: tuple[int, int] = (0, 0)
    volume_ml: float | None = None
    side: str | None = None


@dataclass
class VolumeAnswer(Answer):
    """An answer about a volume; `size` is [h, w] of its slices, `shape` that of its voxels."""

    shape: tuple[int, ...] = ()
    plane: str = "axial"

    def to_json(self) -> dict[str, Any]:
        """As of a 2-D answer, with voxels, ml, slices and side in place of the mask, the box and the area in pixels."""
        entities = [
            {
                "phrase": e.phrase,
                "span": list(e.span),
                "voxels": int(e.mask.sum()),
                "volume_ml": None if e.volume_ml is None else round(e.volume_ml, 4),
                "slices": list(e.slices),
                "side": e.side,
                "score": round(e.score, 4),
            }
            for e in self.entities
            if isinstance(e, VolumeEntity)
        ]
        about = {"shape": list(self.shape), "plane": self.plane, "modality": self.modality}
        known = {"notes": self.notes, "warnings": self.warnings, "model": self.model}
        return {"answer": self.text, "entities": entities, "image": about, **known}


class EncodedVolume:
    """The features of a volume's slices, made in batches when they are asked for, of which the latest are kept.

    Args:
        image: a volume with a place in space.
        memory: bytes of features that are kept at most, but always those of one batch.

    Raises:
        InputError: a picture, or pages without a place in space.
    """

    def __init__(self, predictor: MimoPredictor, image: MedicalImage, memory: int = MEMORY) -> None:
        if image.affine is None:
            raise InputError(image.path, "pictures without a place in space", "a volume")
        self.image, self.memory, self._predictor = image, memory, predictor
        self.resize = SquareResize(*image.size, predictor.model.config.image_size)
        self._kept: OrderedDict[int, ImageFeatures] = OrderedDict()
        self.encoded = 0  # slices, those that were forgotten and encoded again too

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, h, w] of the slices."""
        return self.image.frames.shape[:3]

    @property
    def nbytes(self) -> int:
        """Memory of the features that are kept."""
        return sum(_nbytes(f) for f in self._kept.values())

    @torch.no_grad()
    def features(self, numbers: Sequence[int]) -> ImageFeatures:
        """Of the slices `numbers`, at most a batch of them at a time."""
        missing = [n for n in dict.fromkeys(numbers) if n not in self._kept]
        model = self._predictor.model
        if missing:
            pixels = torch.stack([self.resize.image(self.image.slice(n)) for n in missing])
            new = model.encode(pixels.to(self._predictor.device))
            for place, number in enumerate(missing):
                self._kept[number] = new.select(torch.tensor([place], device=self._predictor.device))
            self.encoded += len(missing)
        for number in numbers:
            self._kept.move_to_end(number)
        joined = _joined([self._kept[n] for n in numbers])
        each = _nbytes(self._kept[numbers[-1]])
        while len(self._kept) * each > self.memory and len(self._kept) > len(set(numbers)):
            self._kept.popitem(last=False)
        return joined

    def place(self, voxel: Sequence[float]) -> tuple[int, int, int]:
        """A voxel (x, y, z) of the file -> (slice, row, column).

        Raises:
            InputError: it is outside.
        """
        shape = self.image.shape
        at = [int(np.floor(v)) for v in voxel[:3]]
        if len(at) != 3 or not all(0 <= v < n for v, n in zip(at, shape)):
            found, expected = ", ".join(f"{v:g}" for v in voxel), " x ".join(map(str, shape))
            raise InputError("point", f"({found})", f"x, y, z of a voxel of {expected}, counted from 0")
        number, row, column = (shape[a] - 1 - at[a] if back else at[a] for a, back in self.image.axes)
        return number, row, column

    def boxes(self, box: Sequence[float]) -> tuple[range, tuple[int, int, int, int]]:
        """(x0, y0, z0, x1, y1, z1) in voxels, inclusive-exclusive -> its slices, and (x0, y0, x1, y1) on each of them.

        Raises:
            InputError: it is empty, or leaves the volume.
        """
        found = f"({', '.join(f'{v:g}' for v in box)})"
        if len(box) != 6 or not all(low < high for low, high in zip(box[:3], box[3:])):
            raise InputError("box", found, "x0,y0,z0,x1,y1,z1 with x0 < x1, y0 < y1 and z0 < z1")
        if min(box[:3]) < 0 or any(high > n for high, n in zip(box[3:], self.image.shape)):
            raise InputError("box", found, f"a box inside {' x '.join(map(str, self.image.shape))}")
        ends = np.sort([self.place(box[:3]), self.place([np.ceil(v) - 1 for v in box[3:]])], axis=0)
        (z0, y0, x0), (z1, y1, x1) = ends.tolist()
        return range(z0, z1 + 1), (x0, y0, x1 + 1, y1 + 1)

    def to_voxels(self, frames: np.ndarray) -> np.ndarray:
        """A mask bool [n, h, w] of the slices -> [x, y, z] on the voxels of the file."""
        return self.image.to_file_grid(dict(enumerate(frames))).astype(bool)


@dataclass
class Located:
    """One structure in a volume: logits [g, g] and scores by slice."""

    phrase: str
    logits: dict[int, Tensor] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)

    def frames(self, volume: EncodedVolume) -> np.ndarray:
        """Its mask, bool [n, h, w]."""
        frames = np.zeros(volume.shape, dtype=bool)
        for number, logits in self.logits.items():
            frames[number] = volume.resize.logits_to_image(logits[None])[0].numpy() > 0
        return frames


def ask_words(
    predictor: MimoPredictor, volume: EncodedVolume, question: str, progress: Progress | None
) -> VolumeAnswer:
    """Ask every slice the question, in batches, and join what is found into structures in 3-D."""
    asked = Question(question)
    mentions = []
    if predictor.names is not None:
        unknown = predictor.names.unknown(question)
        if unknown is not None:
            return described(predictor, volume, [], predictor.names.refusal(unknown))
        question, mentions = predictor.names.read(question)
        asked = Question(question)
    encoded = predictor.conversation.encode(question, volume.resize)
    found: dict[str, Located] = {}
    said: Counter[str] = Counter()
    total = volume.shape[0]
    for first in range(0, total, BATCH):
        numbers = list(range(first, min(first + BATCH, total)))
        features = volume.features(numbers)
        places = range(len(numbers))
        batch = collate_questions(
            [encoded] * len(numbers), places, predictor.model.tokenizer.pad_token_id, generate=True
        )
        answers = predictor.model.answer(features, batch.to(predictor.device))
        for number, given in zip(
            numbers, ground(predictor.model, answers, [volume.resize] * len(numbers), predictor.temperature)
        ):
            text, entities = predictor._as_asked(asked, *given)
            said[text] += not entities
            for e in entities:
                if e.mask.any() and e.logits is not None:
                    one = found.setdefault(e.phrase, Located(e.phrase))
                    if e.score > one.scores.get(number, 0.0):
                        one.scores[number], one.logits[number] = e.score, torch.from_numpy(e.logits)
        if progress is not None:
            progress(numbers[-1] + 1, total)
    structures = []
    for one in found.values():
        fit_neighbours(predictor, volume, one)
        structures.append((one, main_parts(one.frames(volume))))
    absent = [m.canonical for m in mentions if m.canonical not in found]
    if not structures and not absent:
        return described(predictor, volume, [], said.most_common(1)[0][0] if said else "")
    return described(predictor, volume, structures, absent=list(dict.fromkeys(absent)))


def fit_neighbours(predictor: MimoPredictor, volume: EncodedVolume, found: Located) -> None:
    """Decode each slice again with what its neighbours show as the mask before, and take the mean of both looks. Slices that
    the model found nothing on stay empty, but for one between two others."""
    names = predictor.model.region_names
    if names is None or found.phrase not in names.names:
        return
    own = dict(found.logits)
    gaps = [n + 1 for n in own if n + 1 not in own and n + 2 in own]
    numbers = sorted([*own, *gaps])
    nothing = torch.full_like(next(iter(own.values())), -LOGIT_LIMIT)
    for first in range(0, len(numbers), BATCH):
        part = numbers[first : first + BATCH]
        before = [torch.stack([own.get(n + step, nothing) for step in (-1, 0, 1)]).mean(0) for n in part]
        prompts = [RegionPrompts(logits=_doubled(b)) for b in before]
        logits, scores = decode(predictor, volume, part, prompts, found.phrase)
        for number, seen, score in zip(part, logits, scores):
            found.logits[number] = (seen + own.get(number, before[part.index(number)])) / 2
            found.scores.setdefault(number, score)


def follow(
    predictor: MimoPredictor, volume: EncodedVolume, prompts: Mapping[int, RegionPrompts], progress: Progress | None
) -> Located:
    """What prompts (by slice, in pixels of the slice) show: outlined there, and followed both ways to where it ends."""
    starts = sorted(prompts)
    inside = [n for n in starts if prompts[n].points or prompts[n].boxes or prompts[n].scribbles[0] is not None]
    first = inside[len(inside) // 2] if inside else starts[0]
    phrase = named(predictor, volume, first, prompts[first])
    found = Located(phrase)
    for part in range(0, len(starts), BATCH):
        numbers = starts[part : part + BATCH]
        logits, scores = decode(predictor, volume, numbers, [prompts[n] for n in numbers], phrase)
        for number, seen, score in zip(numbers, logits, scores):
            found.logits[number], found.scores[number] = seen, score
    done = len(found.logits)
    for end, step in ((starts[0], -1), (starts[-1], 1), *((a, 1) for a, b in zip(starts, starts[1:]) if b > a + 1)):
        for number, seen, score in _walk(predictor, volume, found, end, step):
            found.logits[number], found.scores[number] = seen, score
            done += 1
            if progress is not None:
                progress(done, volume.shape[0])
    return found


def _walk(
    predictor: MimoPredictor, volume: EncodedVolume, found: Located, start: int, step: int
) -> Iterator[tuple[int, Tensor, float]]:
    """Slice after slice with the mask of the last as the mask before, to where it ends or where there is a mask."""
    last, number = found.logits[start], start + step
    while 0 <= number < volume.shape[0] and number not in found.logits:
        prompts = [RegionPrompts(logits=_doubled(last)), RegionPrompts()]
        logits, scores = decode(predictor, volume, [number] * 2, prompts, found.phrase)
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


def named(predictor: MimoPredictor, volume: EncodedVolume, number: int, prompts: RegionPrompts) -> str:
    """What the prompts of one slice show, by its name where it has one."""
    from .predictor import NAMED

    names = predictor.model.region_names
    assert names is not None
    logits, _ = decode(predictor, volume, [number], [prompts], REGION)
    index = torch.zeros(1, dtype=torch.long, device=predictor.device)
    with torch.no_grad():
        seen = names.embed(volume.features([number]), index, logits.to(predictor.device).sigmoid())
        chances = names.logits(seen)[0].softmax(0)
    best = int(chances.argmax())
    return names.names[best] if float(chances[best]) >= NAMED else REGION


@torch.no_grad()
def decode(
    predictor: MimoPredictor,
    volume: EncodedVolume,
    numbers: Sequence[int],
    prompts: Sequence[RegionPrompts],
    phrase: str,
) -> tuple[Tensor, list[float]]:
    """Outline `phrase` on M slices, each with prompts of its own in pixels: logits [M, g, g] and predicted IoU, without words.

    The logits of `prompts` are on the model's square already, [S, S].
    """
    model, device = predictor.model, predictor.device
    names = model.region_names
    assert names is not None
    slices = list(dict.fromkeys(numbers))
    side = model.config.image_size
    scaled = [_on_square(p, volume.resize) for p in prompts]
    tokens = [prompt_tokens(p) for p in scaled]
    longest = max(1, *(len(kinds) for _, kinds in tokens))
    coordinates = torch.zeros(len(tokens), longest, 2)
    labels = torch.full((len(tokens), longest), PADDING)
    for row, (places, kinds) in enumerate(tokens):
        coordinates[row, : len(kinds)] = torch.from_numpy(places)
        labels[row, : len(kinds)] = torch.from_numpy(kinds)
    condition = names.condition(torch.full((len(numbers),), names.names.index(phrase), device=device))
    maps = torch.from_numpy(np.stack([half(draw(p, side)) for p in scaled]))
    logits, scores = model.decode(
        volume.features(slices),
        torch.tensor([slices.index(n) for n in numbers], device=device),
        condition,
        coordinates.to(device),
        labels.to(device),
        maps.to(device),
    )
    return logits.float().cpu(), scores.float().clamp(0, 1).cpu().tolist()


def main_parts(frames: np.ndarray, holding: Sequence[tuple[int, int, int]] = ()) -> np.ndarray:
    """The connected parts of a mask [n, h, w] that hold one of the places, or without places those that are not small beside
    the largest."""
    parts, count = ndimage.label(frames)
    if count == 0:
        return frames
    held = {int(parts[place]) for place in holding} - {0}
    if not held:
        sizes = np.bincount(parts.ravel())[1:]
        held = {1 + int(n) for n in np.flatnonzero(sizes >= LEAST_PART * sizes.max())}
    return np.isin(parts, list(held))


def described(
    predictor: MimoPredictor,
    volume: EncodedVolume,
    structures: Sequence[tuple[Located, np.ndarray]],
    text: str = "",
    absent: Sequence[str] = (),
) -> VolumeAnswer:
    """The answer in words: what was found, where and how large, and what was not."""
    entities: list[Entity] = []
    image = volume.image
    voxel_ml = abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000  # type: ignore[index]
    sentences: list[str] = [text] if text else []
    for found, frames in structures:
        if not frames.any():
            absent = [*absent, found.phrase]
            continue
        mask = volume.to_voxels(frames)
        areas = frames.sum((1, 2))
        numbers = np.flatnonzero(areas)
        ends = int(numbers[0]), int(numbers[-1])
        score = float(np.average([found.scores.get(int(n), 0.0) for n in numbers], weights=areas[numbers]))
        ml, side = float(mask.sum()) * voxel_ml, side_of(mask, image)
        start = len(" ".join([*sentences, ""])) + len("I found the ")
        place = f", in the {side} half of the volume" if side and side not in found.phrase.split() else ""
        where = f"slice {ends[0]}" if ends[0] == ends[1] else f"slices {ends[0]} to {ends[1]}"
        sentences.append(f"I found the {found.phrase}: {ml:.3g} ml on {where}{place}.")
        span = start, start + len(found.phrase)
        entities.append(VolumeEntity(found.phrase, span, mask, score, None, ends, ml, side))
    sentences += [f"I found no {name}." for name in absent]
    answer = predictor_answer(predictor, image, " ".join(sentences), entities)
    return answer


def predictor_answer(predictor: MimoPredictor, image: MedicalImage, text: str, entities: list[Entity]) -> VolumeAnswer:
    from .predictor import UNSURE
    from .safeguards import uncertain_line

    warnings = [uncertain_line(e.phrase, e.score) for e in entities if e.score < UNSURE]
    about = image.size, None, image.modality, image.spacing_mm, warnings, dict(predictor.model_info), list(image.notes)
    return VolumeAnswer(text, entities, *about, image.shape, image.plane)


def side_of(mask: np.ndarray, image: MedicalImage) -> str | None:
    """The patient's side of the middle of the volume (not of the body) on which nine tenths of a mask [x, y, z] lie."""
    affine = image.affine
    assert affine is not None
    right = (
        np.argwhere(mask) @ affine[0, :3] > (np.array(mask.shape) - 1) / 2 @ affine[0, :3]
    )  # RAS: x grows to the right
    share = float(right.mean())
    return "right" if share >= 0.9 else "left" if share <= 0.1 else None


def gathered(
    volume: EncodedVolume,
    points: Sequence[Sequence[float]],
    boxes: Sequence[Sequence[float]],
    scribbles: np.ndarray | None,
) -> dict[int, RegionPrompts]:
    """Prompts on the voxels of the file as prompts of each slice, in its pixels; a scribble is 1 inside and 2 outside."""
    by_slice: dict[int, RegionPrompts] = defaultdict(RegionPrompts)
    for point in points:
        label = point[3] if len(point) > 3 else 1
        if label not in (0, 1):
            raise InputError("point", f"label {label}", "1 (inside) or 0 (outside)")
        number, row, column = volume.place(point)
        by_slice[number].points.append((column + 0.5, row + 0.5, int(label)))
    for box in boxes:
        numbers, flat = volume.boxes(box)
        for number in numbers:
            by_slice[number].boxes.append(flat)
    if scribbles is not None:
        if scribbles.shape != volume.image.shape:
            raise InputError("scribble", f"shape {list(scribbles.shape)}", f"{list(volume.image.shape)} as the volume")
        shown = volume.image.to_display(scribbles)
        for number in np.flatnonzero(shown.any((1, 2))).tolist():
            lines = shown[number] == 1, shown[number] == 2
            by_slice[number].scribbles = tuple(line if line.any() else None for line in lines)  # type: ignore[assignment]
    return dict(by_slice)


def _on_square(prompts: RegionPrompts, resize: SquareResize) -> RegionPrompts:
    sx, sy = resize.scale.tolist()
    points = [(x * sx, y * sy, label) for x, y, label in prompts.points]
    boxes = [(a * sx, b * sy, c * sx, d * sy) for a, b, c, d in prompts.boxes]
    lines = [None if line is None else resize.line(line) for line in prompts.scribbles]
    return RegionPrompts(points, boxes, (lines[0], lines[1]), prompts.logits)


def _doubled(logits: Tensor) -> np.ndarray:
    return logits.numpy().repeat(2, 0).repeat(2, 1)


def _nbytes(features: ImageFeatures) -> int:
    maps = {
        id(m): m.nbytes for m in (features.context, features.feature_map, *features.high_resolution, *features.fine)
    }
    return sum(maps.values())


def _joined(parts: Sequence[ImageFeatures]) -> ImageFeatures:
    context = torch.cat([p.context for p in parts])
    feature_map = context if parts[0].one_encoder else torch.cat([p.feature_map for p in parts])
    levels = [
        tuple(torch.cat(m) for m in zip(*(getattr(p, kind) for p in parts))) for kind in ("high_resolution", "fine")
    ]
    return ImageFeatures(context, feature_map, levels[0], levels[1])
