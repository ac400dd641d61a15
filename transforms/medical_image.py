"""A medical image as its user sees it, whatever file it came from, and the way back to the file's own voxels."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..errors import InputError, OutputError
from ..files import atomic_file, output_errors
from .grid import Grid
from .reading import NIFTI, PAIRS, has_suffix, read_grid
from .window import limits, to_grey

if TYPE_CHECKING:
    import nibabel as nib

# nibabel is imported where a volume needs it: it is slow to import, and pictures do without.

# From LPS axes (towards left, posterior, superior) to slices, rows and columns of each plane; true axes are flipped.
PLANES = {
    "axial": ((2, 1, 0), (False, False, False)),
    "coronal": ((1, 2, 0), (False, True, False)),
    "sagittal": ((0, 2, 1), (False, True, False)),
}
PNG, TIFF = (".png",), (".tif", ".tiff")


class MedicalImage:
    """Slices in display orientation.

    A picture is its own pixel grid, and the pages of a TIFF are slices in their order. A volume is flipped and permuted, never
    resampled, to the closest LPS orientation; an axial slice then shows rows towards posterior and columns towards the
    patient's left, as radiology does. Slices are numbered from inferior (axial), anterior (coronal) or right (sagittal). A
    volume that is one slice thick is shown in the plane of that slice, whatever plane is asked for.

    Attributes:
        frames: [n, h, w] or [n, h, w, 3], the file's values.
        is_volume: whether there are slices to choose from, in space or the pages of a file.
        spacing_mm: (row, column) or none.
        notes: what was odd about the file and what was made of it, a line for each.
    """

    def __init__(
        self,
        grid: Grid,
        path: Path,
        plane: str = "axial",
        modality: str | None = None,
        window: tuple[float, float] | None = None,
    ) -> None:
        self.path, self._grid, self._modality, self._window = path, grid, modality, window
        self.is_volume = grid.affine is not None or grid.stack
        self.plane = plane if grid.affine is None else self._plane_of_one_slice() or plane
        self.notes = list(grid.notes)
        self.frames = self.to_display(grid.values)
        if grid.affine is None:
            self.spacing_mm = grid.spacing_mm
        else:
            from nibabel.affines import voxel_sizes

            order, _ = PLANES[self.plane]
            spacing = voxel_sizes(grid.affine)[np.argsort(self._orientation()[:, 0])]
            self.spacing_mm = (float(spacing[order[1]]), float(spacing[order[2]]))

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        plane: str = "axial",
        modality: str | None = None,
        channel: int | None = None,
        window: tuple[float, float] | None = None,
        series: str | int | None = None,
    ) -> MedicalImage:
        """Read a picture, a volume, a DICOM file, or a folder with one DICOM series (see `read_grid` for the errors).

        Args:
            channel: which one of a 4-D file.
            window: (level, width) of the grey values, instead of the rule of the modality.
            series: which stack of a DICOM folder that holds several.
        """
        if plane not in PLANES:
            raise InputError("plane", repr(plane), f"one of {', '.join(PLANES)}")
        return cls(read_grid(path, channel, series), Path(path), plane, modality, window)

    @cached_property
    def modality(self) -> str | None:
        """As given, or from a DICOM header, or "CT" for a volume with values below -300, or none."""
        modality = self._modality or self._grid.modality
        return "CT" if modality is None and self.affine is not None and self._grid.values.min() < -300 else modality

    @property
    def grid(self) -> Grid:
        """What the file holds, for another view of it."""
        return self._grid

    @property
    def n_slices(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of a slice."""
        return self.frames.shape[1], self.frames.shape[2]

    @property
    def affine(self) -> np.ndarray | None:
        """Voxel indices of the file to RAS millimetres; none for a picture."""
        return self._grid.affine

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the file's voxels [x, y, z], of pages [n, h, w], or of a picture's upright pixels [h, w]."""
        return self._grid.values.shape[:3] if self.is_volume else self._grid.values.shape[:2]

    @property
    def slices_affine(self) -> np.ndarray:
        """Indices (slice, row, column) to RAS millimetres, of a volume."""
        shape = self._grid.values.shape[:3]
        to_file = np.zeros((4, 4))
        to_file[3, 3] = 1
        for position, (axis, backwards) in enumerate(self.axes):
            to_file[axis, position] = -1 if backwards else 1
            to_file[axis, 3] = shape[axis] - 1 if backwards else 0
        assert self._grid.affine is not None
        return self._grid.affine @ to_file

    @property
    def is_stack(self) -> bool:
        """Whether the slices are pages of a file, without a place in space."""
        return self._grid.stack

    @property
    def axes(self) -> tuple[tuple[int, bool], ...]:
        """Which axis of the file runs along slices, rows and columns, and whether backwards.

        Voxel v of a file's axis of length n is at v, or backwards at n - 1 - v. Of a picture, the slices' axis is -1 and
        the file's axes are (rows, columns).
        """
        if self.affine is None:
            return tuple((axis, False) for axis in ((0, 1, 2) if self.is_stack else (-1, 0, 1)))
        order, flips = PLANES[self.plane]
        to_lps = self._orientation()
        axes = [int(np.flatnonzero(to_lps[:, 0] == lps)[0]) for lps in order]
        return tuple((axis, bool(to_lps[axis, 1] < 0) != flip) for axis, flip in zip(axes, flips))

    def slice(self, number: int | None = None) -> np.ndarray:
        """One slice as it is shown: uint8 [h, w, 3], windowed by modality.

        Raises:
            InputError: a volume of several slices without a number, or a number that it does not have.
        """
        shown = self.grey_or_rgb(self.check_slice(number))
        return np.repeat(shown[..., None], 3, axis=2) if shown.ndim == 2 else shown

    def grey_or_rgb(self, number: int) -> np.ndarray:
        """One slice as it is shown: uint8 [h, w], or [h, w, 3] in colour, row by row in memory. Only this slice is windowed."""
        frame = self.frames[number]
        return frame.copy() if frame.dtype == np.uint8 else np.ascontiguousarray(to_grey(frame, *self._limits))

    @cached_property
    def _limits(self) -> tuple[float, float]:
        return limits(self.frames, self.modality, self._window)

    def to_display(self, array: np.ndarray) -> np.ndarray:
        """An array on the voxels of the file, [x, y, z] or [x, y, z, 3] -> slices in display orientation, as a view."""
        if self._grid.affine is None:
            return array if self.is_stack else array[None]
        from nibabel.orientations import apply_orientation

        order, flips = PLANES[self.plane]
        turned = apply_orientation(array, self._orientation())
        return _flip(turned.transpose(*order, *range(3, array.ndim)), flips)

    def check_slice(self, number: int | None) -> int:
        """`number`, or 0 where there is but one slice.

        Raises:
            InputError: see `slice`.
        """
        if number is None and self.n_slices > 1:
            raise InputError(self.path, "a volume and no slice", f"a slice from 0 to {self.n_slices - 1}")
        if not 0 <= (number or 0) < self.n_slices:
            raise InputError(self.path, f"slice {number}", f"a slice from 0 to {self.n_slices - 1}")
        return number or 0

    def to_file_grid(self, masks: dict[int, np.ndarray]) -> np.ndarray:
        """Masks or label maps [h, w] by slice -> one array, of their type, on the voxels of the file."""
        dtype = np.result_type(np.uint8, *(m.dtype for m in masks.values() if m.dtype != bool))
        frames = np.zeros(self.frames.shape[:3], dtype=dtype)
        for number, mask in masks.items():
            frames[number] = mask
        if self.affine is None:
            return frames if self.is_stack else frames[0]
        from nibabel.orientations import apply_orientation

        order, flips = PLANES[self.plane]
        lps = _flip(frames, flips).transpose(np.argsort(order))
        return apply_orientation(lps, self._orientation(back=True))

    def save_mask(self, array: np.ndarray, out: str | Path) -> None:
        """Write an array on the file's voxels: NIfTI with the geometry of the file for a volume, TIFF for pages, and PNG for a
        picture, upright.

        Raises:
            OutputError: the name does not fit, or it cannot be written; then nothing is left.
        """
        out = Path(out)
        kind, suffixes = (
            ("picture", PNG) if not self.is_volume else ("stack", TIFF) if self.is_stack else ("volume", NIFTI)
        )
        if not has_suffix(out, suffixes):
            raise OutputError(out, f"the mask of a {kind}", f"a name in {suffixes}")
        with output_errors(out), atomic_file(out) as new:
            if self.affine is not None:
                self._nifti(array).to_filename(new)
            elif self.is_stack:
                first, *others = [Image.fromarray(page) for page in array]
                first.save(new, save_all=True, append_images=others)
            else:
                Image.fromarray(array).save(new)

    def _nifti(self, array: np.ndarray) -> nib.Nifti1Image:
        import nibabel as nib

        from .nifti import is_nifti_pair, nifti_mask

        if has_suffix(self.path, NIFTI) or (has_suffix(self.path, PAIRS) and is_nifti_pair(self.path)):
            return nifti_mask(self.path, array)
        return nib.Nifti1Image(array, self.affine)

    def _orientation(self, back: bool = False) -> np.ndarray:
        from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

        file, display = io_orientation(self._grid.affine), axcodes2ornt("LPS")
        return ornt_transform(display, file) if back else ornt_transform(file, display)

    def _plane_of_one_slice(self) -> str | None:
        """The plane of the only slice of a volume; none where it has several slices, whichever way one looks."""
        thin = [axis for axis, size in enumerate(self._grid.values.shape[:3]) if size == 1]
        if len(thin) != 1:
            return None
        lps = int(self._orientation()[thin[0], 0])
        return next(plane for plane, (order, _) in PLANES.items() if order[0] == lps)


def _flip(array: np.ndarray, flips: tuple[bool, ...]) -> np.ndarray:
    return array[tuple(np.s_[::-1] if flip else np.s_[:] for flip in flips)]
