"""DICOM SEG and RTSTRUCT on the voxels of an image, by pydicom.

highdicom reads SEG too, but no one version of it works with pydicom 2, which MONAI Label needs, and with pydicom 3; and the
libraries for RTSTRUCT want the DICOM series of the image, which sets often hand out as NIfTI. Both are a few lines here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from skimage.draw import polygon2mask

from ...errors import DataError, one_error
from ...transforms.dicom_files import DicomFile, open_dicom
from ...transforms.dicom_pixels import stored_frames
from ...transforms.medical_image import MedicalImage
from ..sources.cases import Reader
from .masks import BoxMasks, Masks

SEGMENTATION, STRUCTURES = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.3"
LONGEST = 500  # letters of what was found in a file
OFF_GRID = 0.1  # of a voxel; so far may planes lie beside those of the image


def segment_masks(
    path: Path, reader: Reader, image: MedicalImage, wanted: Sequence[tuple[int | str, ...]]
) -> list[Masks]:
    """The segments with the wanted labels or numbers.

    Raises:
        InputError: it cannot be read.
        DataError: it is no SEG, a segment is missing, or its frames do not lie on the slices of the image.
    """
    expected = "a DICOM SEG file"
    with one_error(path, expected):
        return _segments(path, _open(path, SEGMENTATION, expected), image, wanted)


def _segments(path: Path, file: DicomFile, image: MedicalImage, wanted: Sequence[tuple[int | str, ...]]) -> list[Masks]:
    if image.is_stack:
        raise DataError(path, f"segments for {image.path.name}, whose frames have no place", "a volume or a picture")
    dataset = file.dataset
    labels = {int(s.SegmentNumber): str(s.SegmentLabel) for s in dataset.SegmentSequence}
    frames = stored_frames(file)
    shared = dataset.SharedFunctionalGroupsSequence[0] if "SharedFunctionalGroupsSequence" in dataset else None
    groups = dataset.PerFrameFunctionalGroupsSequence
    if len(groups) != len(frames):
        raise DataError(path, f"{len(groups)} headers of frames for {len(frames)} frames", "one for each")
    label_map = dataset.get("SegmentationType") == "LABELMAP"
    if dataset.get("SegmentationType") == "FRACTIONAL":  # a pixel is of the segment from half of the greatest value on
        frames = 2 * frames.astype(np.int64) >= int(dataset.get("MaximumFractionalValue") or 255)
    masks: list[Masks] = []
    for names in wanted:
        numbers = _chosen(path, labels, names)
        dense = np.zeros(image.shape, dtype=bool)
        for frame, group in zip(frames, groups):
            if label_map:
                here = np.isin(frame, numbers)
            elif int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber) in numbers:
                here = frame > 0
            else:
                continue
            rows, columns = np.nonzero(here)
            if not len(rows):
                continue
            if not image.is_volume:
                if here.shape != image.size:
                    raise DataError(path, f"size {list(here.shape)}", f"{list(image.size)} as in {image.path.name}")
                dense |= here
                continue
            voxels = _voxels(path, image, _points(path, group, shared, rows, columns))
            dense[tuple(voxels.T)] = True
        masks.append(BoxMasks(image.to_display(dense)))
    return masks


def rtstruct_masks(
    path: Path, reader: Reader, image: MedicalImage, wanted: Sequence[tuple[int | str, ...]]
) -> list[Masks]:
    """The structures with the wanted names: voxels whose centre lies inside an odd number of contours of their slice.

    Raises:
        InputError: it cannot be read.
        DataError: it is no RTSTRUCT, a structure is missing, or its contours do not lie on the slices of the image.
    """
    if image.affine is None:
        raise DataError(path, f"contours for {image.path.name}, which has no place", "a volume")
    expected = "a DICOM RTSTRUCT file"
    with one_error(path, expected):
        return _structures(path, _open(path, STRUCTURES, expected).dataset, image, wanted)


def _structures(
    path: Path, dataset: pydicom.Dataset, image: MedicalImage, wanted: Sequence[tuple[int | str, ...]]
) -> list[Masks]:
    labels = {int(roi.ROINumber): str(roi.ROIName) for roi in dataset.StructureSetROISequence}
    contours: dict[int, list[np.ndarray]] = {}
    for roi in dataset.ROIContourSequence:
        for contour in roi.get("ContourSequence", []):
            if contour.ContourGeometricType == "CLOSED_PLANAR":
                points = np.asarray(contour.ContourData, dtype=float).reshape(-1, 3)
                contours.setdefault(int(roi.ReferencedROINumber), []).append(_indices(image, points))
    masks: list[Masks] = []
    for names in wanted:
        united = np.zeros(image.shape, dtype=bool)
        for number in _chosen(path, labels, names):
            dense = np.zeros(image.shape, dtype=bool)
            for points in contours.get(number, []):
                axis = int(np.argmin(np.ptp(points, axis=0)))
                plane = round(float(points[:, axis].mean()))
                if abs(points[:, axis] - plane).max() > OFF_GRID or not 0 <= plane < dense.shape[axis]:
                    raise DataError(
                        path, f"a contour of {labels[number]!r} beside the slices", f"those of {image.path.name}"
                    )
                view = np.moveaxis(dense, axis, 0)[plane]
                view ^= polygon2mask(view.shape, np.delete(points, axis, axis=1))
            united |= dense
        masks.append(BoxMasks(image.to_display(united)))
    return masks


def _open(path: Path, kind: str, expected: str) -> DicomFile:
    file = open_dicom(path)
    if not file.text("SOPClassUID").startswith(kind):
        raise DataError(path, f"DICOM of the class {file.text('SOPClassUID')}"[:LONGEST], expected)
    return file


def _chosen(path: Path, labels: dict[int, str], names: tuple[int | str, ...]) -> list[int]:
    """Numbers of the segments or structures with these labels (none: all)."""
    if not names:
        return list(labels)
    found = [n for n, label in labels.items() if n in names or label.strip().lower() in [str(x).lower() for x in names]]
    if not found:
        raise DataError(path, f"only {sorted(labels.values())}"[:LONGEST], f"one of {list(names)}")
    return found


def _points(
    path: Path, group: pydicom.Dataset, shared: pydicom.Dataset | None, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Places [n, 3] of pixels in LPS millimetres."""

    def find(name: str) -> pydicom.Dataset:
        found = group.get(name) or (shared.get(name) if shared is not None else None)
        if not found:
            raise DataError(path, f"a frame without {name}", "its place")
        return found[0]

    position = np.asarray(find("PlanePositionSequence").ImagePositionPatient, dtype=float)
    orientation = np.asarray(find("PlaneOrientationSequence").ImageOrientationPatient, dtype=float)
    spacing = np.asarray(find("PixelMeasuresSequence").PixelSpacing, dtype=float)
    return position + np.outer(columns, orientation[:3] * spacing[1]) + np.outer(rows, orientation[3:] * spacing[0])


def _indices(image: MedicalImage, points: np.ndarray) -> np.ndarray:
    """LPS millimetres -> voxels of the file, as fractions."""
    ras = points * (-1, -1, 1)
    inverse = np.linalg.inv(image.affine)
    return ras @ inverse[:3, :3].T + inverse[:3, 3]


def _voxels(path: Path, image: MedicalImage, points: np.ndarray) -> np.ndarray:
    places = _indices(image, points)
    voxels = places.round().astype(int)
    if abs(places - voxels).max() > OFF_GRID or (voxels < 0).any() or (voxels >= image.shape).any():
        raise DataError(path, "segments beside the voxels of the image", f"the grid of {image.path.name}")
    return voxels
