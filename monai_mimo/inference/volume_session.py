"""Correct one object of a volume by prompts, take them back, and continue another day."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..data.names import REGION
from ..data.prompt_maps import RegionPrompts
from ..errors import InputError
from ..files import atomic_file, output_errors
from .encoded_volume import EncodedVolume
from .slice_decoder import region_names
from .volume import gathered, places, shown, shows_inside
from .volume_correction import correct, hold

KIND = "monai-mimo volume session 1"
MOST_STEPS = 100  # that can be undone

Voxels = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class GivenPrompt:
    """What was given in one step, in voxels of the file: points (x, y, z, label), boxes (x0, y0, z0, x1, y1, z1), and voxels
    (x, y, z) that were scribbled over inside and outside of the object. `id` counts from 1."""

    id: int
    points: Voxels = ()
    boxes: Voxels = ()
    inside: Voxels = ()
    outside: Voxels = ()

    def on_slices(self, volume: EncodedVolume) -> dict[int, RegionPrompts]:
        """By slice, in its pixels. Raises `InputError` outside the volume."""
        return gathered(volume, self.points, self.boxes, self.inside, self.outside)


@dataclass
class State:
    """What a session shows: the slices of its mask, bool [n, h, w], the prompts that led there, its name and score."""

    frames: np.ndarray
    prompts: tuple[GivenPrompt, ...] = ()
    phrase: str | None = None
    score: float | None = None


@dataclass
class Step:
    """From one state to the next: the slices that differ, as packed bits, and all else before and after."""

    before: dict[int, np.ndarray] = field(default_factory=dict)
    after: dict[int, np.ndarray] = field(default_factory=dict)
    rest: tuple[State, State] | None = None


class VolumeSession:
    """One object in a volume.

    The first prompt of an empty one finds the object in 3-D. Then a positive prompt adds what it shows, and a negative one
    removes the part in 3-D that it belongs to; both are carried on to neighbouring slices as far as the change there touches
    the one before, and nothing else is computed again.

    Args:
        volume: of a predictor whose weights have a fine branch.
        mask: bool [x, y, z] on the voxels of the file to start from, or none.
        phrase: a name that the weights know; none: what the first prompt shows tells.
        score: of the mask.

    Raises:
        InputError: the weights have no fine branch, do not know the name, or the mask has another shape.
    """

    def __init__(
        self,
        volume: EncodedVolume,
        mask: np.ndarray | None = None,
        phrase: str | None = None,
        score: float | None = None,
    ) -> None:
        if phrase is not None and phrase not in region_names(volume).names:
            raise InputError("phrase", repr(phrase), "a name that the weights know")
        self.volume = volume
        frames = np.zeros(volume.shape, dtype=bool) if mask is None else volume.to_frames(mask)
        self._start = State(frames, (), phrase, score)
        self._state = State(frames.copy(), (), phrase, score)
        self._done: list[Step] = []
        self._undone: list[Step] = []
        self._count = 0

    @property
    def mask(self) -> np.ndarray:
        """bool [x, y, z] on the voxels of the file."""
        return np.array(self.volume.to_voxels(self.frames))

    @property
    def frames(self) -> np.ndarray:
        """The mask on the slices, bool [n, h, w]."""
        return self._state.frames

    @property
    def phrase(self) -> str:
        """Its name, or `REGION`."""
        return self._state.phrase or REGION

    @property
    def score(self) -> float | None:
        """Of its first mask."""
        return self._state.score

    @property
    def prompts(self) -> tuple[GivenPrompt, ...]:
        """Those that hold, in the order in which they were given."""
        return self._state.prompts

    @property
    def steps(self) -> tuple[int, int]:
        """How many can be undone and redone."""
        return len(self._done), len(self._undone)

    @property
    def nbytes(self) -> int:
        """Memory of masks and steps."""
        steps = sum(f.nbytes for s in [*self._done, *self._undone] for f in (*s.before.values(), *s.after.values()))
        return 2 * self.frames.nbytes + steps

    def add_click(self, voxel: Sequence[float], positive: bool = True) -> np.ndarray:
        """A click at (x, y, z); the mask after it. Raises `InputError` outside the volume."""
        return self.add(points=[(*voxel[:3], int(positive))])

    def add_box(self, box: Sequence[float]) -> np.ndarray:
        """A box (x0, y0, z0, x1, y1, z1), inclusive-exclusive, around what is to be added; the mask after it."""
        return self.add(boxes=[box])

    def add_scribble(self, voxels: np.ndarray, positive: bool = True) -> np.ndarray:
        """Voxels bool [x, y, z] that were painted over; the mask after it."""
        if voxels.shape != self.volume.image.shape:
            raise InputError(
                "scribble", f"shape {list(voxels.shape)}", f"{list(self.volume.image.shape)} as the volume"
            )
        return self.add(**{"inside" if positive else "outside": np.argwhere(voxels).tolist()})

    def add(
        self,
        points: Sequence[Sequence[float]] = (),
        boxes: Sequence[Sequence[float]] = (),
        inside: Sequence[Sequence[float]] = (),
        outside: Sequence[Sequence[float]] = (),
    ) -> np.ndarray:
        """Several prompts as one step, as of `GivenPrompt`; the mask after it.

        Raises:
            InputError: none, or one lies outside of the volume, or the first of an empty object show nothing inside.
        """
        kinds = [
            tuple(tuple(int(np.floor(v)) for v in row) for row in rows) for rows in (points, boxes, inside, outside)
        ]
        given = GivenPrompt(self._count + 1, *kinds)
        state = self._with(self._state, given)
        self._count += 1
        self._go(state)
        return self.mask

    def remove(self, prompt: int) -> np.ndarray:
        """Take one prompt back, as if it had never been given; the mask after it.

        Raises:
            InputError: there is none of that id.
        """
        left = [p for p in self.prompts if p.id != prompt]
        if len(left) == len(self.prompts):
            raise InputError("prompt", f"id {prompt}", f"one of {[p.id for p in self.prompts]}")
        state = self._start
        for given in left:
            state = self._with(state, given)
        self._go(state)
        return self.mask

    def reset(self) -> np.ndarray:
        """Go back to the start, a step like others; the mask after it."""
        self._go(self._start)
        return self.mask

    def undo(self) -> bool:
        """Take the last step back; False if there is none."""
        return self._move(self._done, self._undone, 0)

    def redo(self) -> bool:
        """Do the step again that was undone; False if there is none."""
        return self._move(self._undone, self._done, 1)

    def _move(self, source: list[Step], target: list[Step], to: int) -> bool:
        if not source:
            return False
        step = source.pop()
        target.append(step)
        assert step.rest is not None
        frames, shape = self.frames, self.volume.shape[1:]
        for number, packed in (step.after if to else step.before).items():
            frames[number] = _unpacked(packed, shape)
        rest = step.rest[to]
        self._state = State(frames, rest.prompts, rest.phrase, rest.score)
        return True

    def _go(self, state: State) -> None:
        """To another state, as a step that can be undone."""
        old, new = self._state, State(np.array(state.frames), state.prompts, state.phrase, state.score)
        changed = np.flatnonzero((new.frames != old.frames).any((1, 2))).tolist()
        nothing = np.zeros(0, dtype=bool)
        rest = State(nothing, old.prompts, old.phrase, old.score), State(nothing, new.prompts, new.phrase, new.score)
        before, after = ({n: np.packbits(s.frames[n]) for n in changed} for s in (old, new))
        self._state = new
        self._done = [*self._done, Step(before, after, rest)][-MOST_STEPS:]
        self._undone.clear()

    def _with(self, state: State, given: GivenPrompt) -> State:
        """The state that a prompt leads to."""
        here = given.on_slices(self.volume)
        if not here:
            raise InputError("prompt", "nothing", "a click, box or scribble")
        prompts = (*state.prompts, given)
        if state.frames.any():
            frames = correct(self.volume, state.frames, here, self._told(prompts), state.phrase or REGION)
        elif state.prompts and not any(shows_inside(p) for p in here.values()):
            frames = state.frames.copy()  # there is nothing left that could be removed
        else:
            found, frames = shown(self.volume, here, phrase=state.phrase)
            score = float(np.mean(list(found.scores.values()))) if found.scores else None
            state = State(frames, (), found.phrase, score)
            if frames.any():
                hold(self.volume, frames, self._told(prompts))
        if frames.any():
            for number, row, column in places(here):  # a click is obeyed
                frames[number, row, column] = (number, row, column) in places(here, label=1)
        return State(frames, prompts, state.phrase, state.score)

    def _told(self, prompts: Sequence[GivenPrompt]) -> dict[int, RegionPrompts]:
        """All prompts by slice; of a voxel that was shown to be inside and outside, what was said last."""
        last: dict[tuple[int, ...], tuple[int, bool]] = {}
        for p in prompts:
            last |= {point[:3]: (p.id, bool(point[3])) for point in p.points}
            last |= dict.fromkeys(p.inside, (p.id, True)) | dict.fromkeys(p.outside, (p.id, False))
        points = [v for p in prompts for v in p.points if last[v[:3]] == (p.id, bool(v[3]))]
        inside = [v for p in prompts for v in p.inside if last[v] == (p.id, True)]
        outside = [v for p in prompts for v in p.outside if last[v] == (p.id, False)]
        return gathered(self.volume, points, [box for p in prompts for box in p.boxes], inside, outside)

    def save(self, path: str | Path) -> None:
        """Write start, mask, prompts and name, to be continued by `load`; what can be undone is not kept.

        Raises:
            OutputError: it cannot be written.
        """
        kept = [{"phrase": s.phrase, "score": s.score} for s in (self._start, self._state)]
        about = {"kind": KIND, "shape": list(self.volume.shape), "states": kept}
        about["prompts"] = [asdict(p) for p in self.prompts]
        with output_errors(path), atomic_file(path) as new, open(new, "wb") as file:
            np.savez_compressed(
                file,
                start=np.packbits(self._start.frames),
                mask=np.packbits(self.frames),
                about=np.array(json.dumps(about)),
            )

    @classmethod
    def load(cls, path: str | Path, volume: EncodedVolume) -> VolumeSession:
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
        session = cls(volume)
        start, now = (State(_unpacked(p, volume.shape), (), **s) for p, s in zip(packed, about["states"]))
        kinds = ("points", "boxes", "inside", "outside")
        now.prompts = tuple(
            GivenPrompt(p["id"], *(tuple(tuple(row) for row in p[kind]) for kind in kinds)) for p in about["prompts"]
        )
        session._start, session._state = start, now
        session._count = max((p.id for p in now.prompts), default=0)
        return session


def _unpacked(packed: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).astype(bool)
