"""An image as a viewer counts it, voxels [i, j, k], and as the model sees it, slices with pixels (x, y)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import aff2axcodes

from monai_mimo.errors import InputError
from monai_mimo.transforms import MedicalImage
from monai_mimo.transforms.reading import VOLUMES, has_suffix

from .request_limits import Limits

THICK = 1.3  # slices that are so many times thicker than pixels are the ones that were acquired
PLANE_OF = {"I": "axial", "S": "axial", "A": "coronal", "P": "coronal", "L": "sagittal", "R": "sagittal"}


@dataclass(frozen=True)
class StudyImage:
    """An opened image.

    A voxel [i, j, k] is what ITK, Slicer and OHIF call so: the axes of the file, fastest first. For a picture i is the column
    and j the row; k is 0.

    Attributes:
        key: of the file as it was when it was opened.
        shown: its slices, in display orientation.
    """

    key: tuple[str, str, int]
    path: Path
    shown: MedicalImage

    @property
    def nbytes(self) -> int:
        """Memory of the voxels."""
        return int(self.shown.frames.nbytes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        shape = self.shown.shape
        return (shape[0], shape[1], shape[2]) if self.shown.is_volume else (shape[1], shape[0], 1)

    @property
    def slice_axis(self) -> int:
        """Which of i, j, k (0, 1, 2) counts the slices."""
        return self.shown.axes[0][0] if self.shown.is_volume else 2

    def place(self, voxel: tuple[int, int, int]) -> tuple[int, int, int]:
        """Voxel (i, j, k) -> (slice, x, y).

        Raises:
            InputError: it lies outside the image.
        """
        if not all(0 <= v < n for v, n in zip(voxel, self.shape)):
            found, (i, j, k) = f"voxel {list(voxel)}", self.shape
            raise InputError("prompt", found, f"i in 0..{i - 1}, j in 0..{j - 1} and k in 0..{k - 1}")
        if not self.shown.is_volume:
            return 0, voxel[0], voxel[1]
        number, row, column = (self.shape[a] - 1 - voxel[a] if back else voxel[a] for a, back in self.shown.axes)
        return number, column, row

    def voxel(self, number: int, x: int, y: int) -> tuple[int, int, int]:
        """The inverse of `place`."""
        if not self.shown.is_volume:
            return x, y, 0
        voxel = [0, 0, 0]
        for (axis, back), v in zip(self.shown.axes, (number, y, x)):
            voxel[axis] = self.shape[axis] - 1 - v if back else v
        return voxel[0], voxel[1], voxel[2]

    def box(self, low: tuple[int, int, int], high: tuple[int, int, int]) -> tuple[tuple[int, int], tuple[int, ...]]:
        """Voxels low..high, both inside -> the slices (first, last) and the box (x0, y0, x1, y1), inclusive-exclusive."""
        a, b = self.place(low), self.place(high)
        (n0, n1), (x0, x1), (y0, y1) = (sorted(pair) for pair in zip(a, b))
        return (n0, n1), (x0, y0, x1 + 1, y1 + 1)

    def number_of(self, index: int) -> int:
        """An index along `slice_axis` of the file -> the slice as it is shown.

        Raises:
            InputError: there is no such slice.
        """
        voxel = [0, 0, 0]
        voxel[self.slice_axis] = index
        if not 0 <= index < self.shape[self.slice_axis]:
            raise InputError("slice", str(index), f"0 to {self.shape[self.slice_axis] - 1}")
        return self.place((voxel[0], voxel[1], voxel[2]))[0]

    def index_of(self, number: int) -> int:
        """The inverse of `number_of`."""
        return self.voxel(number, 0, 0)[self.slice_axis]

    def to_voxels(self, masks: dict[int, np.ndarray]) -> np.ndarray:
        """Label maps [h, w] by slice -> [i, j, k]."""
        array = self.shown.to_file_grid(masks)
        return array if self.shown.is_volume else array.T[..., None]

    @property
    def affine(self) -> np.ndarray | None:
        """Voxel [i, j, k] to RAS millimetres; none for a picture without one."""
        return self.shown.affine


def open_study_image(path: Path, plane: str, limits: Limits) -> StudyImage:
    """Read an image.

    Args:
        plane: axial, coronal, sagittal, or auto: the one in which it was acquired. That of a DICOM series is its images'; that
            of another volume is across its thickest spacing, or axial when the spacings are alike.

    Raises:
        InputError: it cannot be read, or is too large.
    """
    limits.check_file(path)
    status = path.stat()
    image = MedicalImage.open(path, plane="axial" if plane == "auto" else plane)
    limits.check_voxels(int(np.prod(image.shape)))
    if plane == "auto" and image.affine is not None:
        wanted = acquired_plane(image.affine, is_series=not has_suffix(path, VOLUMES))
        if wanted != "axial":
            image = MedicalImage(image.grid, path, wanted)
    return StudyImage((str(path), image.plane, status.st_mtime_ns), path, image)


def acquired_plane(affine: np.ndarray, is_series: bool) -> str:
    """See `open_study_image`."""
    spacing = voxel_sizes(affine)
    axis = 2 if is_series else int(np.argmax(spacing))
    if not is_series and spacing[axis] < THICK * spacing.min():
        return "axial"
    return PLANE_OF[aff2axcodes(affine)[axis]]
