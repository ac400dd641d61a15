"""Reading image files of any kind, with one error for each fault.

Each reader is imported where its file comes: the libraries of volumes and DICOM are slow to import.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, one_error
from .grid import Grid, only_finite

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
NIFTI = (".nii", ".nii.gz")
ITK_VOLUMES = (".mhd", ".mha", ".nrrd", ".nhdr", ".hdr", ".img")  # MetaImage, NRRD, Analyze
PAIRS = (".hdr", ".img")
VOLUMES = NIFTI + ITK_VOLUMES


def has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether the name of `path` ends in one of `suffixes`, in any case."""
    return path.name.lower().endswith(suffixes)


def read_grid(path: str | Path, channel: int | None = None, series: str | int | None = None) -> Grid:
    """Read a picture, a volume in one file, a DICOM file, or a folder that holds one DICOM series.

    Args:
        channel: which one of a file with a fourth dimension.
        series: which stack of a DICOM folder or file that holds several, see `dicom_series.read_dicom`.

    Raises:
        InputError: it is missing, may not be read, is empty, truncated, of another kind, has other dimensions, or holds no
            finite value.
    """
    path = Path(path)
    expected = (
        "a PNG, JPEG, BMP, TIFF, NIfTI, MetaImage, NRRD, Analyze or DICOM file, or a folder with one DICOM series"
    )
    with one_error(path, expected):
        if not path.exists():
            raise InputError(path, "no such file", expected)
        if path.is_file() and path.stat().st_size == 0:
            raise InputError(path, "an empty file", expected)
        if path.is_dir() or not has_suffix(path, PICTURES + VOLUMES):
            from pydicom.errors import InvalidDicomError

            from .dicom_series import read_dicom

            try:
                grid = read_dicom(path, series)
            except InvalidDicomError as error:
                raise InputError(path, "a file of another kind", expected) from error
        elif has_suffix(path, PICTURES):
            from .pictures import read_picture

            grid = read_picture(path)
        else:
            from .itk_volumes import read_itk_volume
            from .nifti import is_nifti_pair, read_nifti

            nifti = has_suffix(path, NIFTI) or (has_suffix(path, PAIRS) and is_nifti_pair(path))
            grid = read_nifti(path, channel) if nifti else read_itk_volume(path, channel)
        if grid.values.size == 0:
            raise InputError(path, f"shape {list(grid.values.shape)}", "at least one pixel")
        return only_finite(path, grid)
