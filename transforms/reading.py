"""Reading files, with one error for each fault: pictures by PIL, NIfTI by nibabel, all else by ITK through MONAI's readers."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from isal import igzip
from monai.data import ITKReader, PILReader
from PIL import Image
from pydicom.errors import InvalidDicomError

from ..errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
NIFTI = (".nii", ".nii.gz")
ITK_VOLUMES = (".mhd", ".mha", ".nrrd", ".nhdr", ".hdr", ".img")  # MetaImage, NRRD, Analyze
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


@dataclass(frozen=True)
class Grid:
    """What a file holds.

    Attributes:
        values: a picture [h, w] or [h, w, 3], or a volume [x, y, z] in the order of the file's axes.
        affine: of a volume, voxel indices to RAS millimetres, [4, 4]; none for a picture.
        spacing_mm: (row, column) of a picture, when the file tells.
        modality: from a DICOM header.
    """

    values: np.ndarray
    affine: np.ndarray | None = None
    spacing_mm: tuple[float, float] | None = None
    modality: str | None = None


def has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether the name of `path` ends in one of `suffixes`, in any case."""
    return path.name.lower().endswith(suffixes)


def read_grid(path: str | Path, channel: int | None = None) -> Grid:
    """Read a picture, a volume in one file, a DICOM file, or a folder that holds one DICOM series.

    Args:
        channel: which one of a file with a fourth dimension.

    Raises:
        InputError: it is missing, may not be read, is empty, truncated, of another kind, has other dimensions, or holds
            values that are not finite.
    """
    path = Path(path)
    expected = (
        "a PNG, JPEG, BMP, TIFF, NIfTI, MetaImage, NRRD, Analyze or DICOM file, or a folder with one DICOM series"
    )
    try:
        if not path.exists():
            raise InputError(path, "no such file", expected)
        if path.is_file() and path.stat().st_size == 0:
            raise InputError(path, "an empty file", expected)
        if path.is_dir():
            grid = _read_series(path)
        elif has_suffix(path, PICTURES):
            grid = _read_picture(path)
        elif has_suffix(path, NIFTI):
            grid = _read_nifti(path, channel)
        elif has_suffix(path, ITK_VOLUMES):
            grid = _read_itk_volume(path, channel)
        else:
            grid = _read_dicom(path)
    except InputError:
        raise
    except InvalidDicomError as error:
        raise InputError(path, "a file of another kind", expected) from error
    except PermissionError as error:
        raise InputError(path, "a path that may not be read", "permission to read it") from error
    except Exception as error:  # each library has faults of its own for a damaged file, some of them a page long
        reason = f"{type(error).__name__}: {error}"[:300]
        raise InputError(path, f"a file that cannot be read ({reason})", expected) from error
    if grid.values.size == 0:
        raise InputError(path, f"shape {list(grid.values.shape)}", "at least one pixel")
    if grid.values.dtype.kind == "f" and not np.isfinite(grid.values).all():
        raise InputError(path, "NaN or infinite values", "finite values")
    return grid


def read_rgb(path: Path) -> np.ndarray:
    """The colours of a picture, uint8 [h, w, 3], also of one with a palette.

    Raises:
        InputError: as of `read_grid`.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # as above
        raise InputError(path, f"a file that cannot be read ({type(error).__name__}: {error})", "a picture") from error


def _read_picture(path: Path) -> Grid:
    image = PILReader(converter=_decoded).read(str(path))
    return Grid(np.asarray(image))


def _decoded(image: Image.Image) -> Image.Image:
    """Decode now, so that a truncated file fails here; bring colour to RGB and leave grey and label values as they are."""
    image.load()
    if image.mode in ("RGBA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        return image.convert("RGB")
    return image.convert("L") if image.mode in ("1", "LA") else image


def _read_nifti(path: Path, channel: int | None) -> Grid:
    """The voxels as they lie in the file (first axis fastest), without a copy. MONAI's reader would reorder them, and
    Python's gzip takes more than twice as long as igzip."""
    if has_suffix(path, (".gz",)):
        data = path.read_bytes()
        data = igzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        kind = nib.Nifti2Header if 540 in (int.from_bytes(data[:4], e) for e in ("little", "big")) else nib.Nifti1Header
        header = kind.from_fileobj(io.BytesIO(data[:1024]))
        offset = header.get_data_offset()
        values: np.ndarray = np.ndarray(header.get_data_shape(), header.get_data_dtype(), data, offset, order="F")
        affine = header.get_best_affine()
        scale, shift = header.get_slope_inter()
        slope, intercept = 1.0 if scale is None else scale, shift or 0.0
    else:
        image = nib.load(path)
        values, affine = np.asanyarray(image.dataobj.get_unscaled()), image.affine
        slope, intercept = image.dataobj.slope, image.dataobj.inter
    if slope == 1 and intercept == int(intercept) and values.dtype.kind in "iu":
        if intercept:
            values = values.astype(np.int32) + np.int32(intercept)
    elif (slope, intercept) != (1, 0):
        values = values.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    return Grid(_chosen(path, values, channel), np.asarray(affine, dtype=float))


def _read_itk_volume(path: Path, channel: int | None) -> Grid:
    values, affine = _read_itk(path)
    if values.ndim == 2:  # columns first
        spacing = np.linalg.norm(affine[:3, :2], axis=0)
        return Grid(values.T, None, (float(spacing[1]), float(spacing[0])))
    return Grid(_chosen(path, values, channel), affine)


def _chosen(path: Path, values: np.ndarray, channel: int | None) -> np.ndarray:
    """A volume [x, y, z] out of what may have further dimensions, of which all but one must be 1."""
    shape = list(values.shape)
    longer = [n for n in shape[3:] if n > 1]
    if len(longer) < 2:
        values = values.reshape(*shape[:3], *longer, order="A")
    if values.ndim == 3 and channel is None:
        return values
    if values.ndim != 4:
        raise InputError(path, f"a file of shape {shape}", "a 3-D volume" if channel is None else "four dimensions")
    if channel is None:
        raise InputError(path, f"a file of shape {shape}", "a 3-D volume, or the channel to take")
    if not 0 <= channel < values.shape[3]:
        raise InputError(path, f"{values.shape[3]} channels", f"a channel {channel}")
    return values[..., channel]


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
