"""A DICOM file, or a folder of them, as a grid: the place of every slice and its values come from its own header.

What others do: ITK (and MONAI's reader on it) sorts by place, but takes the step between the first two or the mean step and only
logs that it varies, scales all slices by the first one's slope, and gives enhanced files whose frames are not in order a step of
1 mm; nibabel has single slices; dicom2nifti and the volumes of highdicom need pydicom 3, which MONAI Label cannot take.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import one_error
from .dicom_files import DicomFile, images_in, numbers, open_dicom
from .dicom_frames import Frame, frames_of
from .dicom_pixels import check_pixel_data, values_of
from .dicom_stacks import Stack, choose, stack_affine, stacks_of
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
TILT = 0.5  # degrees from which slices that are shifted sideways are a note


def read_dicom(path: Path, series: str | int | None = None) -> Grid:
    """Read a DICOM file, or a folder with the files of one series.

    One frame is a picture. Several at equal distances are a volume, also where each is shifted sideways by as much as the next
    (a tilted gantry). Frames of one file that have no place are numbered slices.

    Args:
        series: which one of several series or stacks: a SeriesInstanceUID, or the number that the error lists it by.

    Raises:
        InvalidDicomError: the file is no DICOM file.
        InputError: it is damaged; there is no image or are several series or stacks; slices are missing, double or at unequal
            distances; pixels are of a kind that cannot be read.
    """
    stack, notes = find_stack(path, series)
    first = stack.frames[0]
    with one_error(first.file.path, "pixels as DICOM has them"):
        values = values_of(stack.frames)
    modality = DICOM_MODALITIES.get(first.file.text("Modality"))
    if len(values) == 1:
        return Grid(values[0], None, _spacing(first), modality, notes=notes)
    if stack.step is None or first.place is None:
        return Grid(values, None, _spacing(first), modality, stack=True, notes=notes)
    tilt = np.degrees(np.arccos(np.clip(abs(stack.step @ first.place.normal) / np.linalg.norm(stack.step), 0, 1)))
    if tilt > TILT:
        note = f"slices are shifted along the stack (gantry tilt, {tilt:.1f} degrees), and so is the affine"
        notes = (*notes, note)
    return Grid(values.transpose(2, 1, 0, *range(3, values.ndim)), stack_affine(stack), None, modality, notes=notes)


def find_stack(path: Path, series: str | int | None = None) -> tuple[Stack, tuple[str, ...]]:
    """The frames that `read_dicom` reads, in the order of their slices, and notes on what was left out; same errors, but for
    pixels that cannot be decoded."""
    files = images_in(path) if path.is_dir() else [open_dicom(path)]
    return choose(path, stacks_of(_frames(files)), series)


def _frames(files: Sequence[DicomFile]) -> list[Frame]:
    frames = []
    for file in files:
        with one_error(file.path, "a header as DICOM has it"):
            check_pixel_data(file)  # before a frame is made for each that the header claims
            frames += frames_of(file)
    return frames


def _spacing(frame: Frame) -> tuple[float, float] | None:
    """(row, column) in mm, of the patient or else of the detector."""
    spacing = frame.spacing
    if spacing is None:
        spacing = numbers(frame.file.dataset, "ImagerPixelSpacing", 2)
    return None if spacing is None or spacing.min() <= 0 else (float(spacing[0]), float(spacing[1]))
