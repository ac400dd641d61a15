"""DICOM files and series: which frames belong together, and where each lies, from its own header and never from an importer's
guess.

SimpleITK and ITK take the order and the spacing of a series for granted, and split series by headers that do not matter;
dicom2nifti and highdicom refuse much that can be read. So positions are compared here, by pydicom and a few lines of arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from ..errors import InputError
from .dicom_pixels import Rescale, check_pixels, frame_count, real_values, shown_picture, stored_frames
from .grid import Grid

DICOM_MODALITIES = {
    "CT": "CT",
    "MR": "MR",
    "PT": "PET",
    "CR": "X-ray",
    "DX": "X-ray",
    "MG": "X-ray",
    "XA": "X-ray",
    "RF": "X-ray",
    "US": "ultrasound",
    "ES": "endoscopy",
    "OP": "fundus",
    "OPT": "OCT",
    "SM": "microscopy",
    "GM": "microscopy",
    "XC": "photograph",
}
# What tells the frames of one place apart, in the order in which it is tried.
TELLING = (
    "StackID", "EchoNumbers", "EchoTime", "TemporalPositionIdentifier", "TemporalPositionIndex", "InversionTime",
    "DiffusionBValue", "TriggerTime", "AcquisitionNumber", "ImageType", "ContrastBolusAgent", "AcquisitionTime", "SeriesTime",
    "ContentTime",
)  # fmt: skip
# The functional groups of enhanced images that are read.
GROUPS = (
    "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence",
    "FrameContentSequence", "MREchoSequence", "MRDiffusionSequence",
)  # fmt: skip
EXPECTED = "a DICOM image, or the files of one DICOM series"
NEAR = 0.01  # of a step or in mm, whichever is more: so far may a slice lie beside its place
DIRECTION = 1e-3  # by which direction cosines of one stack may differ


@dataclass(frozen=True)
class Frame:
    """One plane of a file.

    Attributes:
        number: of the frame in its file, from 0.
        position, orientation: of ImagePositionPatient [3] and ImageOrientationPatient [6]; none where the file has none.
        spacing: (row, column) in mm, or none.
        told: the values of `TELLING`.
    """

    path: Path
    dataset: pydicom.Dataset
    number: int
    position: np.ndarray | None
    orientation: np.ndarray | None
    spacing: tuple[float, float] | None
    rescale: Rescale
    told: tuple[str, ...]

    @property
    def form(self) -> tuple:
        """What is the same in all frames of a stack."""
        ds = self.dataset
        direction = None if self.orientation is None else tuple((self.orientation / DIRECTION / 2).round().tolist())
        spacing = None if self.spacing is None else tuple(round(s, 4) for s in self.spacing)
        return (int(ds.Rows), int(ds.Columns), int(ds.get("SamplesPerPixel", 1)), direction, spacing)

    @property
    def localizer(self) -> bool:
        return "LOCALIZER" in [str(part).upper() for part in self.dataset.get("ImageType") or []]


def read_dicom(path: Path, series: str | int | None = None) -> Grid:
    """Read a DICOM file, or a folder that holds DICOM files.

    Args:
        series: which stack of several: its number in the list that the error gives, or a SeriesInstanceUID.

    Raises:
        InvalidDicomError: the file is no DICOM file.
        InputError: it holds no image, several stacks and no choice, or slices that make no regular stack.
    """
    files = _files(path) if path.is_dir() else [(path, _open(path))]
    frames = [frame for file, dataset in files for frame in _frames(file, dataset)]
    stacks = [stack for group in _by_series(frames) for stack in _stacks(path, group)]
    stack, notes = _choose(path, stacks, series)
    return _grid(path, stack, notes)


def _files(folder: Path) -> list[tuple[Path, pydicom.Dataset]]:
    """The DICOM images of a folder; what is no DICOM file, or no image (a DICOMDIR, a report), is left out."""
    found, others = [], 0
    for file in sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith(".")):
        try:
            dataset = _open(file)
        except InvalidDicomError:
            continue
        if "PixelData" in dataset or "Rows" in dataset:
            found.append((file, dataset))
        else:
            others += 1
    if not found:
        raise InputError(folder, f"{others} DICOM files without an image" if others else "no DICOM file", EXPECTED)
    seen: dict[str, Path] = {}
    for file, dataset in found:
        uid = str(dataset.get("SOPInstanceUID", file.name))
        if uid in seen:
            raise InputError(folder, f"{seen[uid].name} and {file.name} with one SOPInstanceUID", "each image once")
        seen[uid] = file
    return found


def _open(path: Path) -> pydicom.Dataset:
    dataset = pydicom.dcmread(path)
    if not hasattr(dataset, "file_meta") or "TransferSyntaxUID" not in dataset.file_meta:
        raise InputError(path, "a DICOM file without a transfer syntax", EXPECTED)
    return dataset


def _frames(path: Path, dataset: pydicom.Dataset) -> Iterator[Frame]:
    """The planes of a file, from shared and per-frame functional groups where it has them."""
    check_pixels(path, dataset)
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    count = frame_count(path, dataset)
    if groups and len(groups) != count:
        raise InputError(path, f"{len(groups)} functional groups for {count} frames", "one for each frame")
    offsets = _numbers(path, dataset, "GridFrameOffsetVector")
    for number in range(count):
        places = [dataset]
        if groups:
            own = groups[number]
            places = [item for name in GROUPS for group in (own, shared) for item in (group.get(name) or [])[:1]] + [
                dataset
            ]
        position, orientation = (
            _first(path, places, name, size)
            for name, size in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6))
        )
        if count > 1 and not groups:  # one position for all: only a dose says where the others are
            if offsets is not None and len(offsets) == count and position is not None and orientation is not None:
                position = position + np.cross(orientation[:3], orientation[3:]) * (offsets[number] - offsets[0])
            else:
                position = orientation = None
        spacing = _first(path, places, "PixelSpacing", 2)
        if spacing is None:
            spacing = _first(path, places, "ImagerPixelSpacing", 2)
        if spacing is not None and not (spacing > 0).all():
            raise InputError(path, f"PixelSpacing {spacing.tolist()}", "lengths above 0")
        if orientation is not None:
            _check_orientation(path, orientation)
        slope, intercept = _first(path, places, "RescaleSlope", 1), _first(path, places, "RescaleIntercept", 1)
        yield Frame(
            path,
            dataset,
            number,
            position,
            orientation,
            None if spacing is None else (float(spacing[0]), float(spacing[1])),
            Rescale(1.0 if slope is None else float(slope[0]), 0.0 if intercept is None else float(intercept[0])),
            tuple(next((str(place[name].value) for place in places if name in place), "") for name in TELLING),
        )


def _first(path: Path, places: Sequence[pydicom.Dataset], name: str, size: int) -> np.ndarray | None:
    """The first value of a name that places hold, [size]."""
    for place in places:
        found = _numbers(path, place, name)
        if found is not None:
            if len(found) != size:
                raise InputError(path, f"{name} of {len(found)} numbers", f"{size}")
            return found
    return None


def _numbers(path: Path, dataset: pydicom.Dataset, name: str) -> np.ndarray | None:
    try:
        value: Any = dataset.get(name)
        if value in (None, ""):
            return None
        numbers = np.atleast_1d(np.asarray(value, dtype=float))
    except (ValueError, TypeError) as error:
        raise InputError(path, f"{name} that is no number", "numbers") from error
    if not np.isfinite(numbers).all():
        raise InputError(path, f"{name} {numbers.tolist()}", "finite numbers")
    return numbers


def _check_orientation(path: Path, orientation: np.ndarray) -> None:
    row, column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > 0.01 or abs(row @ column) > 0.01:
        raise InputError(path, f"ImageOrientationPatient {orientation.tolist()}", "two directions at a right angle")


def _by_series(frames: Sequence[Frame]) -> list[list[Frame]]:
    groups: dict[str, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(str(frame.dataset.get("SeriesInstanceUID", "")), []).append(frame)
    return list(groups.values())


def _stacks(path: Path, frames: list[Frame]) -> list[list[Frame]]:
    """The frames of one series as stacks of one form, in which each place holds one frame; sorted by place."""
    forms: dict[tuple, list[Frame]] = {}
    for frame in frames:
        forms.setdefault(frame.form, []).append(frame)
    stacks: list[list[Frame]] = []
    for same in forms.values():
        if any(frame.position is None or frame.orientation is None for frame in same):
            stacks.append(
                sorted(same, key=lambda f: (int(f.dataset.get("InstanceNumber") or 0), f.path.name, f.number))
            )
            continue
        stacks += [_in_order(stack) for stack in _told_apart(path, same)]
    return stacks


def _in_order(stack: list[Frame]) -> list[Frame]:
    """By place; the frames of one file that lie in the opposite order stay as they are, so that voxels keep their numbers."""
    ordered = sorted(stack, key=_depth)
    numbers = [frame.number for frame in ordered]
    one_file = len({frame.path for frame in stack}) == 1
    return ordered[::-1] if one_file and numbers == sorted(numbers, reverse=True) else ordered


def _depth(frame: Frame) -> float:
    """Along the normal of the plane, in mm."""
    assert frame.position is not None
    assert frame.orientation is not None
    return float(frame.position @ np.cross(frame.orientation[:3], frame.orientation[3:]))


def _told_apart(path: Path, frames: list[Frame]) -> list[list[Frame]]:
    """Frames of one form, in parts in which no two lie at one place.

    Raises:
        InputError: nothing in the headers tells frames of one place apart.
    """
    if not _meet(frames):
        return [frames]
    for place in range(len(TELLING)):
        parts: dict[str, list[Frame]] = {}
        for frame in frames:
            parts.setdefault(frame.told[place], []).append(frame)
        if len(parts) > 1 and not any(_meet(part) for part in parts.values()):
            return list(parts.values())
    depths = sorted(round(_depth(frame), 3) for frame in frames)
    twice = sorted({d for one, d in zip(depths, depths[1:]) if abs(d - one) < NEAR})
    raise InputError(path, f"{len(frames)} slices, several of them at {_listed(twice)} mm", "one slice at each place")


def _meet(frames: Sequence[Frame]) -> bool:
    depths = sorted(map(_depth, frames))
    return any(other - one < NEAR for one, other in zip(depths, depths[1:]))


def _choose(path: Path, stacks: list[list[Frame]], series: str | int | None) -> tuple[list[Frame], tuple[str, ...]]:
    if series is not None:
        text = str(series).strip()
        named = [s for s in stacks if str(s[0].dataset.get("SeriesInstanceUID", "")) == text]
        if not named and text.isdigit() and int(text) < len(stacks):
            named = [stacks[int(text)]]
        if len(named) == 1:
            return named[0], ()
        raise InputError(
            path, f"series {text!r}, which is {len(named) or 'none'} of {_told(stacks)}", "the number of one"
        )
    if len(stacks) == 1:
        return stacks[0], ()
    others = [stack for stack in stacks if not stack[0].localizer]
    if len(others) == 1:
        count = sum(map(len, stacks)) - len(others[0])
        return others[0], (f"{count} localizer image{'s' * (count > 1)} left out",)
    raise InputError(path, _told(stacks), "one stack of slices, or a choice by its number (--series)")


def _told(stacks: list[list[Frame]]) -> str:
    """Stacks by their numbers, without what could tell a patient."""
    lines = []
    numbers = {str(stack[0].dataset.get("SeriesInstanceUID", "")): None for stack in stacks}
    for number, stack in enumerate(stacks):
        first = stack[0]
        kind = " ".join(filter(None, [str(first.dataset.get("Modality", "")), "localizer" if first.localizer else ""]))
        lines.append(f"{number}: {len(stack)} x {first.dataset.Columns} x {first.dataset.Rows} {kind}".strip())
    what = f"{len(stacks)} stacks of {len(numbers)} DICOM series"
    return f"{what} ({'; '.join(lines[:12])}{'; ...' if len(lines) > 12 else ''})"


def _grid(path: Path, stack: list[Frame], notes: tuple[str, ...]) -> Grid:
    """Values and geometry of a stack."""
    values = _values(stack)
    first = stack[0]
    modality = DICOM_MODALITIES.get(str(first.dataset.get("Modality", "")))
    if len(stack) == 1:
        picture = values[0] if values.ndim == 4 else shown_picture(values[0], first.dataset)
        return Grid(_turned_over(picture, first), None, first.spacing, modality, notes=notes)
    values = _turned_over(values, first)
    if first.position is None or first.orientation is None or values.ndim == 4:
        return Grid(values, None, first.spacing, modality, stack=True, notes=notes)
    if first.spacing is None:
        raise InputError(path, "slices with places and without PixelSpacing", "the size of a pixel")
    affine, tilt = _affine(path, stack)
    if tilt > 0.5:
        notes = (*notes, f"slices are shifted along the stack (gantry tilt, {tilt:.1f} degrees), and so is the affine")
    return Grid(values.transpose(2, 1, 0), affine, modality=modality, notes=notes)


def _values(stack: list[Frame]) -> np.ndarray:
    """Real values [n, rows, columns] or colours [n, rows, columns, 3] of a stack. Each file is decoded once."""
    places: dict[Path, list[int]] = {}
    for place, frame in enumerate(stack):
        places.setdefault(frame.path, []).append(place)
    out: np.ndarray | None = None
    padded: dict[int, np.ndarray] = {}
    for file, numbers in places.items():
        dataset = stack[numbers[0]].dataset
        frames = stored_frames(file, dataset)
        if max(stack[n].number for n in numbers) >= len(frames):
            raise InputError(
                file, f"{len(frames)} frames of pixels", f"{frame_count(file, dataset)} as the header says"
            )
        frames = frames[[stack[n].number for n in numbers]]
        if frames.ndim == 3:
            frames, padding = real_values(file, frames, dataset, [stack[n].rescale for n in numbers])
            for n, here in zip(numbers, np.broadcast_to(padding, frames.shape)):
                if here.any():
                    padded[n] = here
        if out is None:
            out = np.empty((len(stack), *frames.shape[1:]), dtype=frames.dtype)
        elif frames.dtype != out.dtype:
            whole = "f" not in (out.dtype.kind, frames.dtype.kind)
            out = out.astype(np.result_type(out.dtype, frames.dtype) if whole else np.float32)
        out[numbers] = frames
    assert out is not None
    if padded:  # outside of what was scanned: as dark as the darkest that was
        inside = np.ones(out.shape, dtype=bool)
        for n, here in padded.items():
            inside[n] = ~here
        if inside.any():
            out[~inside] = out.min(where=inside, initial=out.max())
    return out


def _turned_over(values: np.ndarray, frame: Frame) -> np.ndarray:
    """With high values bright, also of MONOCHROME1."""
    if str(frame.dataset.PhotometricInterpretation) != "MONOCHROME1" or values.ndim == 4:
        return values
    if values.dtype.kind == "f":
        return values.max() + values.min() - values
    wide = values.astype(np.int64)
    return (wide.max() + wide.min() - wide).astype(values.dtype)


def _affine(path: Path, stack: list[Frame]) -> tuple[np.ndarray, float]:
    """Voxel indices (column, row, slice) to RAS millimetres, [4, 4], and by how many degrees slices are shifted along the stack.

    Raises:
        InputError: a slice does not lie at first + k x step.
    """
    first = stack[0]
    assert first.position is not None
    assert first.orientation is not None
    assert first.spacing is not None
    places = np.array([frame.position for frame in stack])
    step = (places[-1] - places[0]) / (len(stack) - 1)
    beside = np.linalg.norm(places - places[0] - np.arange(len(stack))[:, None] * step, axis=1)
    if beside.max() > max(NEAR, NEAR * float(np.linalg.norm(step))):
        depths = [round(_depth(frame), 3) for frame in stack]
        regular = np.ptp(np.diff(depths)) < 2 * NEAR
        found = f"slices at {_listed(depths)} mm" + (", which are shifted beside each other" if regular else "")
        raise InputError(path, found, "slices at regular distances")
    affine = np.eye(4)
    affine[:3, 0] = first.orientation[:3] * first.spacing[1]
    affine[:3, 1] = first.orientation[3:] * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = step, places[0]
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    tilt = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))
    affine[:2] *= -1  # LPS to RAS
    return affine, tilt


def _listed(values: Sequence[float]) -> str:
    shown = [f"{v:g}" for v in values]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:6], "...", *shown[-3:]])
