"""How a prompt changes a mask in 3-D: on its slice, and on its neighbours as far as the change goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from ..data.prompt_maps import RegionPrompts
from .encoded_volume import BATCH, EncodedVolume
from .slice_decoder import decode
from .volume import main_parts, places

REACH = 6  # slices that a correction is carried on to, each way
SURE = 6.0  # logit of what a mask holds


def correct(
    volume: EncodedVolume,
    old: np.ndarray,
    here: Mapping[int, RegionPrompts],
    told: Mapping[int, RegionPrompts],
    phrase: str,
    positive: bool,
) -> np.ndarray:
    """A mask [n, h, w] after new prompts.

    Args:
        here: the new ones by slice, in its pixels; told: with those before.
        positive: whether they add; else they remove, a whole part where it is not the only one and was not shown itself.
    """
    at = places(here)
    if not positive and at and not _shown(old, places(told, label=1), at):
        return old & ~main_parts(old, at) if any(old[p] for p in at) else old.copy()
    frames = old.copy()
    numbers = sorted(here)
    changes: dict[int, np.ndarray] = {}
    for first in range(0, len(numbers), BATCH):
        part = numbers[first : first + BATCH]
        for number, found in zip(part, _look(volume, frames, part, [told[n] for n in part], phrase)):
            changes[number] = found & ~frames[number] if positive else frames[number] & ~found
    for number, change in changes.items():
        frames[number] = frames[number] | change if positive else frames[number] & ~change
    for start, step in ((numbers[0], -1), (numbers[-1], 1)):
        change, number = changes[start], start + step
        while change.any() and 0 <= number < len(frames) and abs(number - start) <= REACH:
            row, column = _middle(change)
            carried = RegionPrompts([(column + 0.5, row + 0.5, int(positive))])
            [found] = _look(volume, frames, [number], [carried], phrase)
            new = found & ~frames[number] if positive else frames[number] & ~found
            labels, _ = ndimage.label(new)
            change = np.isin(labels, np.setdiff1d(labels[change], 0))
            frames[number] = frames[number] | change if positive else frames[number] & ~change
            number += step
    return frames


def _shown(frames: np.ndarray, shown: Sequence[tuple[int, int, int]], at: Sequence[tuple[int, int, int]]) -> bool:
    """Whether the part that holds these places is the only one, or was shown by a positive click itself."""
    parts, count = ndimage.label(frames)
    wanted = {int(parts[p]) for p in shown} - {0}
    return count < 2 or bool(wanted & {int(parts[p]) for p in at})


def _look(
    volume: EncodedVolume, frames: np.ndarray, numbers: Sequence[int], prompts: Sequence[RegionPrompts], phrase: str
) -> np.ndarray:
    """Decode slices with prompts and the masks they have: bool [m, h, w]."""
    side = volume.model.config.image_size
    h, w = volume.resize.inner
    given = []
    for number, prompt in zip(numbers, prompts):
        if frames[number].any():
            share = F.interpolate(torch.from_numpy(frames[number]).float()[None, None], (h, w), mode="area")[0, 0]
            square = F.pad(share, (0, side - w, 0, side - h))
            prompt = replace(prompt, logits=((2 * square - 1) * SURE).numpy())
        given.append(prompt)
    logits, _ = decode(volume, numbers, given, phrase)
    return (volume.resize.logits_to_image(logits) > 0).numpy()


def _middle(mask: np.ndarray) -> tuple[int, int]:
    """(row, column) of the pixel farthest from the edge."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row), int(column)
