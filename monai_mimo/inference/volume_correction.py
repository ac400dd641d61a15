"""How prompts change a mask in 3-D.

A mask is seen as the distance to its surface, positive inside. What is shown pulls that distance to its side, most at the
prompt and less around it, over a reach that is how deep the prompt lies in the error: as far as it is from the surface. So a
click in the middle of what is wrong turns most of it, also on neighbouring slices, and what is far keeps every voxel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from ..data.prompt_maps import RegionPrompts
from .encoded_volume import BATCH, EncodedVolume
from .slice_decoder import decode
from .volume import places, shows_inside
from .volume import shown as find
from .whole_structure import main_parts

FAR = 6  # voxels from the surface: what is shown there is something new, and is looked for
DEEPEST = 24  # voxels that a prompt reaches at most
PULL = 2.0  # reaches inside of, or outside of, the surface, to which a prompt pulls its own place
CUT = 2.5  # reaches around a prompt outside of which nothing changes

Place = tuple[int, int, int]


def correct(
    volume: EncodedVolume,
    old: np.ndarray,
    here: Mapping[int, RegionPrompts],
    told: Mapping[int, RegionPrompts],
    phrase: str,
) -> np.ndarray:
    """A mask [n, h, w] after new prompts; a copy.

    Args:
        here: the new ones by slice, in its pixels; told: with those before, each voxel as it was shown last.
    """
    frames = old.copy()
    at = places(here, label=0)
    if at and any(old[p] for p in at) and not _shown(old, places(told, label=1), at):
        frames &= ~main_parts(old, at)
    spacing = relative_spacing(volume)
    for positive in (True, False):
        seeds = _drawn(here, positive)
        if positive:
            boxed = {n: p for n, p in here.items() if p.boxes}
            if boxed:
                seeds += _boxed(volume, boxed, phrase)
        if not seeds:
            continue
        if positive and _depth(frames, seeds, spacing, positive) > FAR:
            frames |= find(volume, {n: p for n, p in here.items() if shows_inside(p)}, phrase=phrase)[1]
        pull(frames, seeds, positive, spacing, _drawn(told, not positive))
    hold(volume, frames, told)
    return frames


def hold(volume: EncodedVolume, frames: np.ndarray, told: Mapping[int, RegionPrompts]) -> None:
    """Let a mask [n, h, w] that is not empty, in place, hold all that was clicked or scribbled inside, and nothing outside."""
    spacing = relative_spacing(volume)
    for positive in (True, False):
        lost = [p for p in _drawn(told, positive) if frames[p] != positive]
        if lost:
            pull(frames, lost, positive, spacing, _drawn(told, not positive))


def relative_spacing(volume: EncodedVolume) -> np.ndarray:
    """Of slices, rows and columns, relative to the least."""
    spacing = np.linalg.norm(volume.image.slices_affine[:3, :3], axis=0)
    return spacing / spacing.min()


def pull(
    frames: np.ndarray, seeds: Sequence[Place], positive: bool, spacing: np.ndarray, others: Sequence[Place] = ()
) -> None:
    """Move the surface of a mask [n, h, w], in place, so that it holds places (slice, row, column), or does not hold them.

    Args:
        spacing: of slices, rows and columns, relative to the least.
        others: places that were shown to be on the other side: what is nearer to one of them than to the seeds stays.
    """
    reach = min(max(_depth(frames, seeds, spacing, positive), 1.0), DEEPEST)
    box, at = _around(frames.shape, seeds, CUT * reach + 1, spacing)
    part = frames[box]
    far = np.ones(part.shape, dtype=bool)
    far[at] = False
    away = ndimage.distance_transform_edt(far, sampling=spacing)
    near = np.exp(-(away**2) / (2 * reach**2))
    if others:
        near[_away_from(others, box, part.shape, spacing) < away] = 0
    inside, outside = (ndimage.distance_transform_edt(p, sampling=spacing) if p.any() else 0 for p in (part, ~part))
    depth = np.where(part, np.minimum(inside, DEEPEST) - 0.5, 0.5 - np.minimum(outside, DEEPEST))
    # As much as the deepest of the prompts needs.
    need = (PULL * reach - depth[at].min()) if positive else (-PULL * reach - depth[at].max())
    moved = depth + (max(need, 0.0) if positive else min(need, 0.0)) * near > 0
    moved[at] = positive
    frames[box] = part | moved if positive else part & moved


def _away_from(
    shown: Sequence[Place], box: tuple[slice, ...], shape: tuple[int, ...], spacing: np.ndarray
) -> np.ndarray:
    """How far each voxel of a part of a volume is from the places that lie in the part."""
    there = np.array(shown) - [part.start for part in box]
    there = there[((there >= 0) & (there < shape)).all(1)]
    if not len(there):
        return np.full(shape, np.inf)
    far = np.ones(shape, dtype=bool)
    far[tuple(there.T)] = False
    return ndimage.distance_transform_edt(far, sampling=spacing)


def _depth(frames: np.ndarray, seeds: Sequence[Place], spacing: np.ndarray, positive: bool) -> float:
    """How far the farthest of the places that are wrong is from the surface; 0 where none is."""
    wrong = [s for s in seeds if frames[s] != positive]
    if not wrong:
        return 0.0
    box, at = _around(frames.shape, wrong, DEEPEST, spacing)
    part = frames[box]
    part = ~part if positive else part
    if part.all():
        return float(DEEPEST)
    return float(ndimage.distance_transform_edt(part, sampling=spacing)[at].max())


def _around(
    shape: tuple[int, ...], seeds: Sequence[Place], margin: float, spacing: np.ndarray
) -> tuple[tuple[slice, ...], tuple[np.ndarray, ...]]:
    """The part of a volume around places, and where they are in it."""
    at = np.array(seeds)
    wide = np.ceil(margin / spacing).astype(int)
    low, high = np.maximum(at.min(0) - wide, 0), np.minimum(at.max(0) + wide + 1, shape)
    return tuple(slice(a, b) for a, b in zip(low, high)), tuple((at - low).T)


def _drawn(here: Mapping[int, RegionPrompts], positive: bool) -> list[Place]:
    """Where it was clicked or scribbled inside, or outside."""
    seeds = places(here, label=int(positive))
    for number, prompt in here.items():
        line = prompt.scribbles[0 if positive else 1]
        if line is not None:
            seeds += [(number, int(row), int(column)) for row, column in np.argwhere(line)]
    return seeds


def _boxed(volume: EncodedVolume, boxed: Mapping[int, RegionPrompts], phrase: str) -> list[Place]:
    """What boxes hold."""
    numbers, seeds = sorted(boxed), []
    for first in range(0, len(numbers), BATCH):
        part = numbers[first : first + BATCH]
        logits, _ = decode(volume, part, [boxed[n] for n in part], phrase)
        for number, shown in zip(part, (volume.resize.logits_to_image(logits) > 0).numpy()):
            held = np.zeros_like(shown)
            for x0, y0, x1, y1 in boxed[number].boxes:
                held[int(y0) : int(y1), int(x0) : int(x1)] = True
            seeds += [(number, int(row), int(column)) for row, column in np.argwhere(shown & held)]
    return seeds


def _shown(frames: np.ndarray, shown: Sequence[Place], at: Sequence[Place]) -> bool:
    """Whether the part that holds these places is the only one, or was shown by a positive click itself."""
    parts, count = ndimage.label(frames)
    wanted = {int(parts[p]) for p in shown} - {0}
    return count < 2 or bool(wanted & {int(parts[p]) for p in at})
