"""Correct one object of a volume by prompts, take them back, and continue another day."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from ..data.names import REGION
from ..data.prompt_maps import RegionPrompts
from ..errors import InputError
from ..files import atomic_file, output_errors
from .volume import BATCH, EncodedVolume, decode, gathered, main_parts

if TYPE_CHECKING:
    from .predictor import MimoPredictor

REACH = 6  # slices that a correction is carried on to, each way
SURE = 6.0  # logit of what a mask holds
KIND = "monai-mimo volume session 1"


@dataclass
class Step:
    """What one prompt changed: masks bool [h, w] by slice, before and after, and the prompts of each slice before it."""

    before: dict[int, np.ndarray]
    after: dict[int, np.ndarray]
    prompts: tuple[dict[int, RegionPrompts], dict[int, RegionPrompts]]


class VolumeSession:
    """One object in a volume.

    A positive prompt adds what it shows, a negative one removes the part in 3-D that it belongs to; both are carried on to
    neighbouring slices as far as the change there touches the one before. Nothing else is computed again.

    Args:
        predictor: with weights that have a fine branch.
        volume: of the predictor, `EncodedVolume`.
        mask: bool [x, y, z] on the voxels of the file to start from, or none.
        phrase: a name that the weights know, or none.

    Raises:
        InputError: the weights have no fine branch, do not know the name, or the mask has another shape.
    """

    def __init__(
        self, predictor: MimoPredictor, volume: EncodedVolume, mask: np.ndarray | None = None, phrase: str = REGION
    ) -> None:
        names = predictor.model.region_names
        if names is None:
            raise InputError("weights", "no fine branch", "weights that read corrections")
        if phrase not in names.names:
            raise InputError("phrase", repr(phrase), "a name that the weights know")
        if mask is not None and mask.shape != volume.image.shape:
            raise InputError("mask", f"shape {list(mask.shape)}", f"{list(volume.image.shape)} as the volume")
        self.predictor, self.volume, self.phrase = predictor, volume, phrase
        start = np.zeros(volume.shape, dtype=bool) if mask is None else volume.image.to_display(mask.astype(bool))
        self._start = np.array(start)
        self.reset()

    def reset(self) -> None:
        """Go back to the start; this cannot be taken back."""
        self._frames = self._start.copy()
        self._prompts: dict[int, RegionPrompts] = {}
        self._done: list[Step] = []
        self._undone: list[Step] = []

    @property
    def mask(self) -> np.ndarray:
        """bool [x, y, z] on the voxels of the file."""
        return self.volume.to_voxels(self._frames)

    def add_click(self, voxel: Sequence[float], positive: bool = True) -> np.ndarray:
        """A click at (x, y, z); the mask after it. Raises `InputError` outside the volume."""
        return self._add(gathered(self.volume, [(*voxel[:3], int(positive))], [], None), positive)

    def add_box(self, box: Sequence[float]) -> np.ndarray:
        """A box (x0, y0, z0, x1, y1, z1), inclusive-exclusive, around what is to be added; the mask after it."""
        return self._add(gathered(self.volume, [], [box], None), True)

    def add_scribble(self, voxels: np.ndarray, positive: bool = True) -> np.ndarray:
        """Voxels bool [x, y, z] that were painted over; the mask after it."""
        return self._add(gathered(self.volume, [], [], np.where(voxels, 1 if positive else 2, 0)), positive)

    def undo(self) -> bool:
        """Take the last prompt back; False if there is none."""
        return self._move(self._done, self._undone, back=True)

    def redo(self) -> bool:
        """Give the prompt that was taken back again; False if there is none."""
        return self._move(self._undone, self._done, back=False)

    def _move(self, source: list[Step], target: list[Step], *, back: bool) -> bool:
        if not source:
            return False
        step = source.pop()
        target.append(step)
        for number, frame in (step.before if back else step.after).items():
            self._frames[number] = frame
        self._prompts = dict(step.prompts[0 if back else 1])
        return True

    def save(self, path: str | Path) -> None:
        """Write start, mask and name, to be continued by `load`; what was taken back is not kept.

        Raises:
            OutputError: it cannot be written.
        """
        about = {"kind": KIND, "phrase": self.phrase, "shape": list(self.volume.shape)}
        with output_errors(path), atomic_file(path) as new, open(new, "wb") as file:
            np.savez_compressed(
                file, start=np.packbits(self._start), mask=np.packbits(self._frames), about=np.array(json.dumps(about))
            )

    @classmethod
    def load(cls, path: str | Path, predictor: MimoPredictor, volume: EncodedVolume) -> VolumeSession:
        """Continue a saved session on the same volume; `reset` goes back to its start.

        Raises:
            InputError: it is no such file, or of a volume of another shape.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                packed = [file["start"], file["mask"]]
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise InputError(path, f"a file that cannot be read ({error})", "a saved session") from error
        if about.get("kind") != KIND or about.get("shape") != list(volume.shape):
            raise InputError(path, f"a session of {about.get('shape')}", f"one of slices {list(volume.shape)}")
        session = cls(predictor, volume, None, about["phrase"])
        count = int(np.prod(volume.shape))
        start, mask = (np.unpackbits(p, count=count).reshape(volume.shape).astype(bool) for p in packed)
        session._start, session._frames = start, mask
        return session

    def _add(self, prompts: dict[int, RegionPrompts], positive: bool) -> np.ndarray:
        if not prompts:
            raise InputError("prompt", "nothing", "a click, box or scribble")
        told, old = dict(self._prompts), self._frames
        for number, new in prompts.items():
            last = told.get(number, RegionPrompts())
            lines = [a if b is None else b if a is None else a | b for a, b in zip(last.scribbles, new.scribbles)]
            told[number] = RegionPrompts(last.points + new.points, last.boxes + new.boxes, (lines[0], lines[1]))
        frames = old.copy()
        at = _places(prompts)
        if not positive and at and not self._shown_in_parts_of(at):
            frames &= ~main_parts(old, at) if any(old[p] for p in at) else True
        else:
            self._correct(frames, {n: told[n] for n in prompts}, positive)
        for place in at:  # a click is obeyed
            frames[place] = positive
        changed = np.flatnonzero((frames != old).any((1, 2))).tolist()
        step = Step({n: old[n].copy() for n in changed}, {n: frames[n].copy() for n in changed}, (self._prompts, told))
        self._frames, self._prompts = frames, told
        self._done.append(step)
        self._undone.clear()
        return self.mask

    def _shown_in_parts_of(self, at: Sequence[tuple[int, int, int]]) -> bool:
        """Whether the part that holds these places is the only one, or was shown by a positive prompt itself."""
        parts, count = ndimage.label(self._frames)
        wanted = {int(parts[p]) for p in _places(self._prompts, label=1)} - {0}
        return count < 2 or bool(wanted & {int(parts[p]) for p in at})

    def _correct(self, frames: np.ndarray, prompts: dict[int, RegionPrompts], positive: bool) -> None:
        """Decode the slices with new prompts, and carry the change on."""
        numbers = sorted(prompts)
        changes: dict[int, np.ndarray] = {}
        for first in range(0, len(numbers), BATCH):
            part = numbers[first : first + BATCH]
            for number, found in zip(part, self._look(frames, part, [prompts[n] for n in part])):
                changes[number] = found & ~frames[number] if positive else frames[number] & ~found
        for number, change in changes.items():
            frames[number] = frames[number] | change if positive else frames[number] & ~change
        for start, step in ((numbers[0], -1), (numbers[-1], 1)):
            change, number = changes[start], start + step
            while change.any() and 0 <= number < len(frames) and abs(number - start) <= REACH:
                row, column = _middle(change)
                carried = RegionPrompts([(column + 0.5, row + 0.5, int(positive))])
                [found] = self._look(frames, [number], [carried])
                new = found & ~frames[number] if positive else frames[number] & ~found
                labels, _ = ndimage.label(new)
                change = np.isin(labels, np.setdiff1d(labels[change], 0))
                frames[number] = frames[number] | change if positive else frames[number] & ~change
                number += step

    def _look(self, frames: np.ndarray, numbers: list[int], prompts: list[RegionPrompts]) -> np.ndarray:
        """Decode slices with prompts and the masks they have: bool [m, h, w]."""
        side = self.predictor.model.config.image_size
        h, w = self.volume.resize.inner
        for number, given in zip(numbers, prompts):
            if frames[number].any():
                share = F.interpolate(torch.from_numpy(frames[number]).float()[None, None], (h, w), mode="area")[0, 0]
                square = F.pad(share, (0, side - w, 0, side - h))
                given.logits = ((2 * square - 1) * SURE).numpy()
        logits, _ = decode(self.predictor, self.volume, numbers, prompts, self.phrase)
        return (self.volume.resize.logits_to_image(logits) > 0).numpy()


def _places(prompts: dict[int, RegionPrompts], label: int | None = None) -> list[tuple[int, int, int]]:
    """(slice, row, column) of clicks, of one label or all."""
    return [(n, int(y), int(x)) for n, p in prompts.items() for x, y, kind in p.points if label in (None, kind)]


def _middle(mask: np.ndarray) -> tuple[int, int]:
    """(row, column) of the pixel farthest from the edge."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row), int(column)
