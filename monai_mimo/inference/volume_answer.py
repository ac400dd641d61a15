"""An answer about a whole volume: structures in 3-D on the voxels of the file, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from ..data.names import REGION
from ..transforms import MedicalImage
from .answer import Answer, Entity
from .encoded_volume import EncodedVolume
from .safeguards import UNSURE, uncertain_line


@dataclass
class VolumeEntity(Entity):
    """A phrase of an answer about a volume; `mask` is bool [x, y, z] on the voxels of the file.

    `slices` are the first and the last one in the plane asked in; `side` is the half of the volume, "left" or "right" of the
    patient, in which nine tenths of it lie, or none.
    """

    slices: tuple[int, int] = (0, 0)
    volume_ml: float = 0.0
    side: str | None = None


@dataclass
class VolumeAnswer(Answer):
    """An answer about a volume; `size` is [h, w] of its slices, `shape` that of its voxels."""

    shape: tuple[int, ...] = ()
    plane: str = "axial"

    @property
    def structures(self) -> list[VolumeEntity]:
        """The entities, all of which have a place in the volume."""
        return [e for e in self.entities if isinstance(e, VolumeEntity)]

    def to_json(self) -> dict[str, Any]:
        """As of a 2-D answer, with voxels, ml, slices and side in place of the mask, the box and the area in pixels."""
        entities = [
            {
                "phrase": e.phrase,
                "span": list(e.span),
                "voxels": int(e.mask.sum()),
                "volume_ml": round(e.volume_ml, 4),
                "slices": list(e.slices),
                "side": e.side,
                "score": round(e.score, 4),
            }
            for e in self.structures
        ]
        about = {"shape": list(self.shape), "plane": self.plane, "modality": self.modality}
        known = {"notes": self.notes, "warnings": self.warnings, "model": self.model}
        return {"answer": self.text, "entities": entities, "image": about, **known}


@dataclass
class Structure:
    """One thing in a volume while it is looked for: logits [g, g] and scores by slice."""

    phrase: str
    logits: dict[int, Tensor] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)

    def frames(self, volume: EncodedVolume) -> np.ndarray:
        """Its mask, bool [n, h, w]."""
        frames = np.zeros(volume.shape, dtype=bool)
        for number, logits in self.logits.items():
            frames[number] = volume.resize.logits_to_image(logits[None])[0].numpy() > 0
        return frames


def described(
    volume: EncodedVolume,
    model_info: dict[str, str],
    structures: Sequence[tuple[Structure, np.ndarray]],
    text: str = "",
    absent: Sequence[str] = (),
    ood_score: float | None = None,
) -> VolumeAnswer:
    """The answer in words: what was found, where and how large, and what was not.

    Args:
        structures: each with its mask, bool [n, h, w].
        text: is said first.
        absent: names that were asked for and not found.
        ood_score: of the volume, see `EncodedImage`.
    """
    entities: list[Entity] = []
    image = volume.image
    sentences = [text] if text else []
    empty = [found.phrase for found, frames in structures if not frames.any()]
    for found, frames in structures:
        if found.phrase in empty:
            continue
        areas = frames.sum((1, 2))
        numbers = np.flatnonzero(areas)
        ends = int(numbers[0]), int(numbers[-1])
        score = float(np.average([found.scores.get(int(n), 0.0) for n in numbers], weights=areas[numbers]))
        mask, side = np.ascontiguousarray(volume.to_voxels(frames)), side_of(frames, image)
        ml = float(areas.sum()) * volume.voxel_ml
        article, known = ("a ", " that I have no name for") if found.phrase == REGION else ("the ", "")
        start = len(" ".join([*sentences, ""])) + len(f"I found {article}")
        place = f", in the {side} half of the volume" if side and side not in found.phrase.split() else ""
        where = f"slice {ends[0]}" if ends[0] == ends[1] else f"slices {ends[0]} to {ends[1]}"
        sentences.append(f"I found {article}{found.phrase}{known}: {ml:.3g} ml on {where}{place}.")
        span = start, start + len(found.phrase)
        entities.append(VolumeEntity(found.phrase, span, mask, score, None, ends, ml, side))
    sentences += [f"I found no {name}." for name in dict.fromkeys([*empty, *absent])]
    warnings = [uncertain_line(e.phrase, e.score) for e in entities if e.score < UNSURE]
    if ood_score is not None and ood_score > 1:
        warnings.append(f"this volume is unlike the images of training ({ood_score:.1f} times the limit)")
    about = image.size, None, image.modality, image.spacing_mm, warnings, dict(model_info), list(image.notes)
    return VolumeAnswer(" ".join(sentences), entities, *about, image.shape, image.plane)


def side_of(frames: np.ndarray, image: MedicalImage) -> str | None:
    """The patient's side of the middle of the volume (not of the body) on which nine tenths of a mask [n, h, w] lie."""
    to_right = image.slices_affine[0, :3]  # RAS: x grows to the right
    middle = (np.array(frames.shape) - 1) / 2 @ to_right
    on_right = sum(
        int((np.argwhere(frame) @ to_right[1:] + number * to_right[0] > middle).sum())
        for number, frame in enumerate(frames)
        if frame.any()
    )
    share = on_right / max(int(frames.sum()), 1)
    return "right" if share >= 0.9 else "left" if share <= 0.1 else None
