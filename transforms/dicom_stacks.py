"""Which frames of a folder form one volume, told by their places alone; what else differs only gives stacks their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, SeveralError
from .dicom_frames import Frame

OFF_LINE_MM, OFF_LINE_STEP = (
    0.06,
    0.1,
)  # so far, in mm and in steps, may slices lie beside equal steps: positions are rounded
SAME_DIRECTION, SAME_SPACING = 1e-3, 1e-3  # of unit vectors, and as a share
STEEPEST = 2.0  # a slice may move so far sideways for each mm along the normal (a gantry tilts by 30 degrees: 0.6)
LEAST_STEP_MM = 1e-3
MOST_LISTED = 16


@dataclass
class Stack:
    """Frames of one size and orientation that form a volume, or that cannot: then `fault` says why.

    Attributes:
        frames: sorted along the normal, or as in their file if they are sorted there the other way.
        step: from one to the next, LPS millimetres [3]; none for a single frame, or for frames without a place.
        traits: what tells it from other stacks of its series.
    """

    frames: list[Frame]
    step: np.ndarray | None = None
    fault: str = ""
    traits: dict[str, Any] = field(default_factory=dict)

    @property
    def series(self) -> str:
        """Its SeriesInstanceUID."""
        return self.frames[0].file.text("SeriesInstanceUID")

    @property
    def localizer(self) -> bool:
        """Whether the header says that it is one."""
        return "LOCALIZER" in self.frames[0].file.text("ImageType").upper()

    def describe(self) -> str:
        """In some words, without what could tell a patient."""
        first = self.frames[0]
        words = f"{len(self.frames)} x {first.size[1]} x {first.size[0]} {first.file.text('Modality')}".strip()
        words += " localizer" * self.localizer
        words += "".join(
            f", {name} {value:g}" if isinstance(value, float) else f", {name} {value}"
            for name, value in self.traits.items()
        )
        words += f" without {first.without}" if first.place is None else ""
        return words[:200] + " (irregular)" * bool(self.fault)


def stacks_of(frames: Sequence[Frame]) -> list[Stack]:
    """All frames of a folder, each in one stack: series by series in the order of their files.

    Frames of one size and orientation are one stack if they lie at equal distances. If not, they are divided by an attribute
    under which every part does, or by two; if there is none, they stay one stack with a fault.
    """
    series: dict[str, list[Frame]] = {}
    for frame in frames:
        series.setdefault(frame.file.text("SeriesInstanceUID"), []).append(frame)
    return [stack for members in series.values() for alike in _alike(members) for stack in _divided(alike)]


def choose(where: Path, stacks: Sequence[Stack], series: str | int | None) -> tuple[Stack, tuple[str, ...]]:
    """The only stack, or the only one that is no localizer, or that with a number as listed, or the only one of a series; and
    a note on localizers that were left out.

    Raises:
        InputError: there are several, which it lists, or none such; or the one has a fault.
    """
    notes: tuple[str, ...] = ()
    if series is not None:
        text = str(series).strip()
        found = [stack for stack in stacks if stack.series == text]
        if not found and text.isdecimal():
            found = [stack for number, stack in enumerate(stacks) if str(number) == text]
        if len(found) != 1:
            told = f"series {text[:80]!r}, which is {len(found) or 'none'} of {_listed(stacks)}"
            raise InputError(where, told, "the number of one")
    else:
        found = [stack for stack in stacks if not stack.localizer] if len(stacks) > 1 else list(stacks)
        if len(found) != 1:
            expected = "one stack of slices, or a choice by its number (--series)"
            raise SeveralError(where, _listed(stacks), expected, "series", [stack.describe() for stack in stacks])
        count = sum(len(stack.frames) for stack in stacks) - len(found[0].frames)
        if count:
            notes = (f"{count} localizer image{'s' * (count > 1)} left out",)
    [stack] = found
    if stack.fault:
        raise InputError(where, stack.fault, "slices at equal distances, each place once")
    return stack, notes


def stack_affine(stack: Stack) -> np.ndarray:
    """Of a stack with a step: voxel (column, row, slice) to RAS millimetres [4, 4]."""
    lps = np.eye(4)
    place = stack.frames[0].place
    if place is None or stack.step is None:
        raise ValueError("frames without a place")
    lps[:3, 0], lps[:3, 1] = place.directions[0] * place.spacing[1], place.directions[1] * place.spacing[0]
    lps[:3, 2], lps[:3, 3] = stack.step, place.position
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def _alike(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Divided by size, colour, orientation and spacing; frames without a place by file."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in reversed(groups):
            if _same(frame, group[0]):
                group.append(frame)
                break
        else:
            groups.append([frame])
    return groups


def _same(a: Frame, b: Frame) -> bool:
    if a.place is None or b.place is None:
        return a.file is b.file and a.place is b.place
    return (
        a.size == b.size
        and a.colour == b.colour
        and bool(np.abs(a.place.directions - b.place.directions).max() <= SAME_DIRECTION)
        and bool(np.abs(a.place.spacing - b.place.spacing).max() <= SAME_SPACING * b.place.spacing.min())
    )


def _divided(frames: list[Frame]) -> list[Stack]:
    """See `stacks_of`."""
    if frames[0].place is None:
        return [Stack(frames)]
    whole = _sorted(frames)
    if not whole.fault:
        return [whole]
    one_place = float(np.ptp(_positions(frames), axis=0).max()) < LEAST_STEP_MM
    most = len(frames) if one_place else max(2, len(frames) // 2)
    traits = [frame.traits() for frame in frames]
    several = []
    for name in dict.fromkeys(name for known in traits for name in known):
        values = [known.get(name) for known in traits]
        if 1 < len(set(values)) <= most:
            several.append((name, values))
    for count in (1, 2):
        for chosen in combinations(several, count):
            parts: dict[tuple, list[Frame]] = {}
            for frame, key in zip(frames, zip(*(values for _, values in chosen))):
                parts.setdefault(key, []).append(frame)
            if len(parts) <= most:
                stacks = [_sorted(part) for part in parts.values()]
                if not any(stack.fault for stack in stacks):
                    for stack, key in zip(stacks, parts):
                        stack.traits = {name: value for (name, _), value in zip(chosen, key)}
                    return sorted(stacks, key=lambda s: [_order(v) for v in s.traits.values()])
    return [whole]


def _positions(frames: Sequence[Frame]) -> np.ndarray:
    """Of frames with a place [n, 3]."""
    return np.array([frame.place.position for frame in frames if frame.place is not None])


def _order(value: Any) -> tuple:
    return (0, value, "") if isinstance(value, float) else (1, 0, str(value))


def _sorted(frames: list[Frame]) -> Stack:
    """One stack, with a fault if its frames, which have places, do not lie at equal steps on a line."""
    normal = frames[0].place.normal if frames[0].place is not None else np.zeros(3)
    places = _positions(frames)
    along = places @ normal
    order = np.argsort(along, kind="stable")
    if all(frame.file is frames[0].file for frame in frames) and (np.diff(along) < 0).all():
        normal, along, order = -normal, -along, order[::-1]  # one file's frames stay as they are counted there
    sorted_frames, places, along = [frames[i] for i in order], places[order], along[order]
    if len(frames) == 1:
        return Stack(sorted_frames)
    step = (places[-1] - places[0]) / (len(frames) - 1)
    forward = float(step @ normal)
    apart = np.linalg.norm(places - places[0] - np.arange(len(frames))[:, None] * step, axis=1).max()
    sideways = float(np.linalg.norm(step - forward * normal))
    if forward < LEAST_STEP_MM or apart > min(OFF_LINE_MM, OFF_LINE_STEP * forward) or sideways > STEEPEST * forward:
        return Stack(sorted_frames, fault=_fault(sorted_frames, places, along))
    return Stack(sorted_frames, step)


def _fault(frames: list[Frame], places: np.ndarray, along: np.ndarray) -> str:
    steps = np.diff(along)
    twice = np.flatnonzero(steps < LEAST_STEP_MM)
    if twice.size:
        places_twice = ", ".join(f"{v:g}" for v in np.unique(along[twice].round(3))[:MOST_LISTED])
        pair = frames[twice[0]], frames[twice[0] + 1]
        uids = {frame.file.text("SOPInstanceUID") for frame in pair}
        one = " with one SOPInstanceUID" if pair[0].file is not pair[1].file and len(uids) == 1 else ""
        names = " and ".join(map(_name, pair))
        return f"{len(frames)} slices, several of them at {places_twice} mm, such as {names}{one}"
    listed = ", ".join(f"{v:g}" for v in along[:MOST_LISTED].round(3)) + (", ..." if len(along) > MOST_LISTED else "")
    usual = float(np.median(steps))
    worst = int(np.argmax(np.abs(steps - usual)))
    between = f"{steps[worst]:g} mm between {_name(frames[worst])} and {_name(frames[worst + 1])}"
    if abs(steps[worst] - usual) <= min(OFF_LINE_MM, OFF_LINE_STEP * usual):
        shifts = np.diff(places, axis=0)
        shifts -= np.median(shifts, axis=0)
        worst = int(np.argmax(np.linalg.norm(shifts, axis=1)))
        between = f"a shift sideways between {_name(frames[worst])} and {_name(frames[worst + 1])}"
    return f"{len(frames)} slices at {listed} mm, with {between}"


def _name(frame: Frame) -> str:
    return frame.file.path.name if frame.file.whole("NumberOfFrames", 1) == 1 else f"frame {frame.number}"


def _listed(stacks: Sequence[Stack]) -> str:
    """All stacks with their numbers."""
    lines = [f"{number}: {stack.describe()}" for number, stack in enumerate(stacks[:MOST_LISTED])]
    more = "; ..." if len(stacks) > MOST_LISTED else ""
    series = len({stack.series for stack in stacks})
    return f"{len(stacks)} stack{'s' * (len(stacks) > 1)} of {series} DICOM series ({'; '.join(lines)}{more})"
