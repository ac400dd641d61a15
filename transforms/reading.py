"""Reading image files of any kind, with one error for each fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from monai.data import ITKReader
from pydicom.errors import InvalidDicomError

from ..errors import InputError
from .grid import Grid, only_finite
from .itk_volumes import read_itk_volume
from .nifti import is_nifti_pair, read_nifti
from .one_error import one_error
from .pictures import read_picture

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
NIFTI = (".nii", ".nii.gz")
ITK_VOLUMES = (".mhd", ".mha", ".nrrd", ".nhdr", ".hdr", ".img")  # MetaImage, NRRD, Analyze
PAIRS = (".hdr", ".img")
VOLUMES = NIFTI + ITK_VOLUMES
DICOM_MODALITIES = {
    "CT": "CT",
    "MR": "MR",
    "PT": "PET",
    "CR": "X-ray",
    "DX": "X-ray",
    "MG": "X-ray",
    "XA": "X-ray",
    "US": "ultrasound",
    "ES": "endoscopy",
    "OP": "fundus",
}


def has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether the name of `path` ends in one of `suffixes`, in any case."""
    return path.name.lower().endswith(suffixes)


def read_grid(path: str | Path, channel: int | None = None) -> Grid:
    """Read a picture, a volume in one file, a DICOM file, or a folder that holds one DICOM series.

    Args:
        channel: which one of a file with a fourth dimension.

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
        if path.is_dir():
            grid = _read_series(path)
        elif has_suffix(path, PICTURES):
            grid = read_picture(path)
        elif has_suffix(path, NIFTI) or (has_suffix(path, PAIRS) and is_nifti_pair(path)):
            grid = read_nifti(path, channel)
        elif has_suffix(path, ITK_VOLUMES):
            grid = read_itk_volume(path, channel)
        else:
            try:
                grid = _read_dicom(path)
            except InvalidDicomError as error:
                raise InputError(path, "a file of another kind", expected) from error
        if grid.values.size == 0:
            raise InputError(path, f"shape {list(grid.values.shape)}", "at least one pixel")
        return only_finite(path, grid)


def _read_dicom(path: Path) -> Grid:
    header = _check_dicom(path)
    values, affine = _read_itk(path)
    modality = DICOM_MODALITIES.get(str(header.get("Modality", "")))
    # ITK has turned a MONOCHROME1 image over already, so that high values are bright.
    colour = int(header.get("SamplesPerPixel", 1)) == 3
    if values.ndim == (4 if colour else 3) and values.shape[2] > 1:
        if colour:
            raise InputError(path, "a colour DICOM file with several frames", "one frame, or grey values")
        return Grid(values, affine, modality=modality)
    picture = np.swapaxes(values.reshape(values.shape[0], values.shape[1], -1), 0, 1)  # columns first -> rows first
    spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    spacing_mm = (float(spacing[0]), float(spacing[1])) if spacing else None
    return Grid(picture if colour else picture[..., 0], None, spacing_mm, modality)


def _read_series(folder: Path) -> Grid:
    headers = {}
    for file in sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith(".")):
        try:
            headers[file] = _check_dicom(file)
        except InvalidDicomError:
            continue  # DICOMDIR, notes and the like
    series = {str(h.get("SeriesInstanceUID")) for h in headers.values()}
    if len(series) != 1:
        found = "no DICOM file" if not headers else f"{len(series)} DICOM series"
        raise InputError(folder, found, "the files of one DICOM series")
    if len(headers) == 1:
        return _read_dicom(next(iter(headers)))
    values, affine = _read_itk(folder)
    modality = DICOM_MODALITIES.get(str(next(iter(headers.values())).get("Modality", "")))
    return Grid(values, affine, modality=modality)


def _read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    reader = ITKReader(affine_lps_to_ras=True)
    values, meta = reader.get_data(reader.read(str(path)))
    return values, np.asarray(meta["affine"], dtype=float)


def _check_dicom(path: Path) -> pydicom.Dataset:
    """The header of a DICOM file; ITK itself pads truncated pixels with zeros and says nothing.

    Raises:
        InvalidDicomError: it is no DICOM file.
        InputError: its pixels are missing or cut off.
    """
    dataset = pydicom.dcmread(path)
    if "PixelData" not in dataset:
        raise InputError(path, "a DICOM file without pixels", "an image")
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        frames, samples = int(dataset.get("NumberOfFrames", 1)), int(dataset.get("SamplesPerPixel", 1))
        needed = dataset.Rows * dataset.Columns * frames * samples * dataset.BitsAllocated // 8
        if len(dataset.PixelData) < needed:
            raise InputError(path, f"{len(dataset.PixelData)} bytes of pixels (truncated)", f"{needed}")
    del dataset.PixelData
    return dataset
