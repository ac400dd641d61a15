"""The frames of a DICOM file: where each lies, and what may tell those of one series apart.

A file of the older kind is one frame and has all in its main header. An enhanced one has functional groups, shared by all frames
or for each (PS3.3 C.7.6.16). Nuclear medicine and dose files give the place of the first frame and the way to the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import keyword_for_tag

from ..errors import InputError
from .dicom_files import DicomFile, numbers

PERPENDICULAR = 1e-2  # so far may directions be from unit length and from a right angle, as rounded
# What differs between the stacks of a series, by PS3.3: the more telling before what merely happens to differ.
TRAITS = (
    "StackID",
    "EchoNumbers",
    "EchoTime",
    "EffectiveEchoTime",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase",
    "NominalCardiacTriggerDelayTime",
    "TriggerTime",
    "DiffusionBValue",
    "DiffusionDirectionality",
    "DiffusionGradientOrientation",
    "InversionTime",
    "InversionTimes",
    "FlipAngle",
    "RepetitionTime",
    "ComplexImageComponent",
    "ImageType",
    "FrameType",
    "ConvolutionKernel",
    "FrameReferenceTime",
    "PhaseNumber",
    "ReferencedSegmentNumber",
    "EnergyWindowNumber",
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "FrameAcquisitionDateTime",
    "FrameReferenceDateTime",
    "SequenceName",
    "ScanningSequence",
    "ScanOptions",
    "KVP",
    "ContrastBolusAgent",
    "FilterType",
    "ReconstructionDiameter",
    "SliceThickness",
    "PatientPosition",
    "FrameOfReferenceUID",
    "SeriesDescription",
    "SeriesNumber",
    "SeriesTime",
    "ContentTime",
    "SOPClassUID",
)
PLACES = (
    "ImagePositionPatient",
    "InStackPositionNumber",
    "PlanePositionSequence",
)  # dimensions that tell no stacks apart
PALETTE_COLOUR = "PALETTE COLOR"
SLICE_VECTOR = 0x00540080


@dataclass(frozen=True)
class Place:
    """Where a frame lies.

    Attributes:
        position: of the centre of its first pixel, LPS millimetres [3].
        directions: towards the next column and the next row, unit vectors [2, 3].
        spacing: from one row to the next and from one column to the next, mm [2].
    """

    position: np.ndarray
    directions: np.ndarray
    spacing: np.ndarray

    @property
    def normal(self) -> np.ndarray:
        """Rows x columns [3]."""
        return np.cross(self.directions[0], self.directions[1])


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        number: in its file, from 0.
        groups: its functional groups, those for it alone before those for all.
        size: (rows, columns).
        spacing: as of its place, also where it has none.
        place: none where the header lacks what is in `without`.
    """

    file: DicomFile
    number: int
    groups: tuple[pydicom.Dataset, ...]
    size: tuple[int, int]
    spacing: np.ndarray | None
    place: Place | None
    without: str = ""

    @property
    def colour(self) -> bool:
        """Whether it has colours, as samples or by a palette."""
        return (
            self.file.whole("SamplesPerPixel", 1) > 1 or self.file.text("PhotometricInterpretation") == PALETTE_COLOUR
        )

    def group(self, name: str) -> pydicom.Dataset | None:
        """A functional group of the frame, or none."""
        return _group(self.groups, name)

    def traits(self) -> dict[str, Any]:
        """What may tell stacks apart: attribute -> value, as something that can be compared."""
        found = {}
        for part in (self.file.dataset, *_parts(self.groups)):
            for name in TRAITS:
                if name in part:
                    found[name] = _plain(part, name)
        content = self.group("FrameContentSequence")
        values: np.ndarray = np.ravel([] if content is None else content.get("DimensionIndexValues", []))
        for dimension, value in zip(self.file.dataset.get("DimensionIndexSequence", []), values):
            name = keyword_for_tag(dimension.get("DimensionIndexPointer", 0)) or "dimension"
            if name not in PLACES and name not in found:
                found[f"{name} index"] = float(value)
        return {name: found[name] for name in (*TRAITS, *found) if name in found}


def frames_of(file: DicomFile) -> list[Frame]:
    """All frames of a file, in its order.

    Raises:
        InputError: the header contradicts itself.
    """
    dataset, count = file.dataset, file.whole("NumberOfFrames", 1)
    size = file.whole("Rows"), file.whole("Columns")
    if count < 1 or min(size) < 1:
        raise InputError(file.path, f"{count} frames of {size[0]} x {size[1]}", "at least one pixel")
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    each = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if each and len(each) != count:
        raise InputError(file.path, f"{len(each)} headers of frames for {count} frames", "one for each")
    if each or (count == 1 and shared):
        return [_placed(file, number, (*each[number : number + 1], *shared), size) for number in range(count)]
    first = _placed(file, 0, (), size)
    if count == 1:
        return [first]
    return list(_along(first, count))


def _placed(file: DicomFile, number: int, groups: tuple[pydicom.Dataset, ...], size: tuple[int, int]) -> Frame:
    """With the place that the functional groups give, or else the main header, or else that of a detector."""

    def find(sequence: str, name: str, count: int) -> np.ndarray | None:
        group = _group(groups, sequence)
        detector = _group((file.dataset,), "DetectorInformationSequence")
        parts = [part for part in (group, file.dataset, detector) if part is not None and name in part]
        return numbers(parts[0], name, count) if parts else None

    position = find("PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = find("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = find("PixelMeasuresSequence", "PixelSpacing", 2)
    if spacing is not None and spacing.min() <= 0:
        spacing = None
    directions = _directions(orientation)
    lacks = {"ImagePositionPatient": position, "ImageOrientationPatient": directions, "PixelSpacing": spacing}
    without = ", ".join(name for name, value in lacks.items() if value is None)
    if "MOSAIC" in str(file.dataset.get("ImageType", "")):
        without = "a place of its slices (a Siemens mosaic)"
    place = None
    if not without and position is not None and directions is not None and spacing is not None:
        place = Place(position, directions, spacing)
    return Frame(file, number, groups, size, spacing, place, without)


def _directions(orientation: np.ndarray | None) -> np.ndarray | None:
    """Unit vectors [2, 3] of ImageOrientationPatient; none if it holds no perpendicular ones."""
    if orientation is None:
        return None
    directions = orientation.reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1)
    if abs(lengths - 1).max() > PERPENDICULAR or abs(directions[0] @ directions[1]) > PERPENDICULAR:
        return None
    return np.asarray(directions / lengths[:, None])


def _along(first: Frame, count: int) -> Iterator[Frame]:
    """The frames of a file without functional groups. They lie in space if it says how far each is from the first."""
    dataset = first.file.dataset
    offsets = numbers(dataset, "GridFrameOffsetVector", count)
    if offsets is not None:
        offsets = offsets - offsets[0]
    slices, between = numbers(dataset, "SliceVector", count), numbers(dataset, "SpacingBetweenSlices", 1)
    if (
        offsets is None and slices is not None and between is not None
    ):  # PS3.3 C.8.4.15: its sign is that along the normal
        increments = np.ravel(dataset.get("FrameIncrementPointer") or [])
        if SLICE_VECTOR in [int(tag) for tag in increments]:
            offsets = (slices - 1) * between[0]
    for number in range(count):
        place, without = first.place, first.without
        if place is not None:
            place = (
                None if offsets is None else replace(place, position=place.position + offsets[number] * place.normal)
            )
            without = "" if place is not None else "a place of each frame"
        yield replace(first, number=number, place=place, without=without)


def _group(parts: tuple[pydicom.Dataset, ...], name: str) -> pydicom.Dataset | None:
    """The first item of a sequence in the first of these data sets that has it."""
    for part in parts:
        items = part.get(name)
        if items:
            return items[0]
    return None


def _parts(groups: tuple[pydicom.Dataset, ...]) -> Iterator[pydicom.Dataset]:
    """The functional groups; those for the frame alone last, so that they count."""
    for group in reversed(groups):
        for element in group:
            if element.VR == "SQ" and element.value:
                yield element.value[0]


def _plain(dataset: pydicom.Dataset, name: str) -> Any:
    try:
        value = dataset.get(name)
    except Exception:  # it cannot be read, and so tells nothing
        return None
    if isinstance(value, int | float):
        return float(value)
    return str(value)
