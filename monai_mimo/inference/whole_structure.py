"""From what is seen of a structure on each slice to one mask in 3-D.

A network that sees one slice outlines what it was asked for on slices without it too, and says so by a lower predicted IoU. So
each slice's probabilities are weighted by its predicted IoU (the mean with its neighbours') relative to the best slice's,
squared, and smoothed a little in all three directions before the threshold. docs/volumes.md has what that gains, and what did not
pay: voting by the other two planes, and looking again with the joined mask or its box as prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from scipy import ndimage

from ..data.names import REGION
from ..data.prompt_maps import RegionPrompts
from .encoded_volume import BATCH, EncodedVolume
from .slice_decoder import chances, decode, region_names
from .volume_answer import Structure

GAIN = 0.7  # of logits, before they become probabilities
WIDTH = 0.6  # standard deviation of the smoothing, in voxels of the least spacing
THRESHOLD = 0.45
LIKELY = 0.25  # what was found by its name must look like it so much, in the mean over its slices
KEPT = 8  # names of which a volume keeps what was found
LEAST_PART = 0.4  # of the largest part of a structure: smaller ones that do not touch it are dropped

Progress = Callable[[int, int], None]  # is told how many of how many slices are done

OPPOSITES = (
    ("anterior", "posterior"),
    ("left", "right"),
    ("superior", "inferior"),
    ("upper", "lower"),
    ("medial", "lateral"),
    ("proximal", "distal"),
)


def opposite(name: str, known: Sequence[str]) -> str | None:
    """The other one of two parts that exclude each other ("left kidney" of "right kidney"), if it is known."""
    words = name.split()
    for pair in OPPOSITES:
        for one, other in (pair, pair[::-1]):
            if one in words:
                swapped = " ".join(other if word == one else word for word in words)
                return swapped if swapped in known else None
    return None


def by_name(
    volume: EncodedVolume,
    phrase: str,
    prompts: Mapping[int, RegionPrompts] | None = None,
    progress: Progress | None = None,
) -> Structure:
    """What a name that the weights know outlines on every slice, with prompts (by slice, in pixels) where there are some. What
    was found without them is kept for the last few names."""
    if phrase not in volume.outlined:
        found = Structure(phrase)
        everywhere = range(volume.shape[0])
        _decode_into(found, volume, everywhere, {}, progress)
        volume.outlined[phrase] = found.logits, found.scores
        while len(volume.outlined) > KEPT:
            volume.outlined.popitem(last=False)
    volume.outlined.move_to_end(phrase)
    logits, scores = volume.outlined[phrase]
    found = Structure(phrase, dict(logits), dict(scores))
    _decode_into(found, volume, sorted(prompts or {}), prompts or {})
    return found


def _decode_into(
    found: Structure,
    volume: EncodedVolume,
    numbers: Sequence[int],
    prompts: Mapping[int, RegionPrompts],
    progress: Progress | None = None,
) -> None:
    for first in range(0, len(numbers), BATCH):
        part = list(numbers[first : first + BATCH])
        logits, scores = decode(volume, part, [prompts.get(n, RegionPrompts()) for n in part], found.phrase)
        found.logits.update(zip(part, logits))
        found.scores.update(zip(part, scores))
        if progress is not None:
            progress(first + len(part), len(numbers))


def field(volume: EncodedVolume, found: Structure) -> np.ndarray:
    """How much speaks for the structure in each voxel, float32 [n, h, w] in 0..1."""
    values = np.zeros(volume.shape, dtype=np.float32)
    scores = np.zeros(volume.shape[0])
    scores[list(found.scores)] = list(found.scores.values())
    scores = ndimage.gaussian_filter1d(scores, 1.0)
    for number, logits in found.logits.items():
        weight = (scores[number] / max(scores.max(), 1e-6)) ** 2
        shown = volume.resize.logits_to_image(logits[None])[0]
        values[number] = weight * torch.sigmoid(GAIN * shown).numpy()
    spacing = np.linalg.norm(volume.image.slices_affine[:3, :3], axis=0)
    ndimage.gaussian_filter(values, WIDTH * spacing.min() / spacing, output=values, truncate=3)
    return values


def joined(volume: EncodedVolume, found: Structure, rival: np.ndarray | None = None) -> np.ndarray:
    """The structure's mask, bool [n, h, w], before parts of it are dropped.

    Args:
        rival: the `field` of what excludes it.
    """
    values = field(volume, found)
    return values > THRESHOLD if rival is None else (values > THRESHOLD) & (values > rival)


def rival_of(volume: EncodedVolume, phrase: str) -> tuple[str, np.ndarray] | None:
    """What excludes a structure, with its `field`, where the weights know its name."""
    names = volume.model.region_names
    other = None if names is None or phrase == REGION else opposite(phrase, names.names)
    return None if other is None else (other, field(volume, by_name(volume, other)))


def looks_like(volume: EncodedVolume, found: Structure, frames: np.ndarray) -> bool:
    """Whether a mask [n, h, w] looks like what it is called, in the mean over its slices by their areas."""
    areas = frames.sum((1, 2))
    numbers = [n for n in np.flatnonzero(areas).tolist() if n in found.logits]
    known, likely = region_names(volume).names.index(found.phrase), []
    for first in range(0, len(numbers), BATCH):
        part = numbers[first : first + BATCH]
        likely += chances(volume, part, torch.stack([found.logits[n] for n in part]))[:, known].tolist()
    return bool(numbers) and float(np.average(likely, weights=areas[numbers])) > LIKELY


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
