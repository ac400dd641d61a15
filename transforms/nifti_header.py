"""Where the voxels of a NIfTI file are, from its header, and headers of masks on them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ..errors import InputError

TO_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: not told, metre, millimetre, micron
UNIT_NAMES = {1: "metres", 3: "micrometres"}
FLAT = 1e-4  # axes whose unit vectors span less than this volume lie in a plane


def parse_header(path: Path, data: bytes, pair: bool) -> Any:
    """The header in the first bytes of a file, as nibabel has it, with the small faults mended that nibabel mends too.

    Raises:
        InputError: there is none.
    """
    size = next((n for n in (348, 540) for end in ("little", "big") if int.from_bytes(data[:4], end) == n), None)
    if size is None or len(data) < size:
        raise InputError(path, "no NIfTI header", "348 or 540 in its first bytes, and a header as long")
    one, two = (
        (nib.nifti1.Nifti1PairHeader, nib.nifti2.Nifti2PairHeader) if pair else (nib.Nifti1Header, nib.Nifti2Header)
    )
    order = ">" if int.from_bytes(data[:4], "big") == size else "<"
    header = (one if size == 348 else two)(data[:size], endianness=order, check=False)
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1
    header["pixdim"][1:4] = abs(header["pixdim"][1:4])
    offset = float(header["vox_offset"])
    if not math.isfinite(offset) or offset < 0:
        raise InputError(path, f"voxels at byte {offset:g}", "a place in the file")
    if not pair and offset < size:
        header["vox_offset"] = size + 4
    return header


def affine_mm(path: Path, header: Any) -> tuple[np.ndarray, list[str]]:
    """Voxel indices to RAS millimetres [4, 4] of a header, and what was odd about it.

    Raises:
        InputError: sform, qform and voxel sizes cannot be used.
    """
    notes = []
    for name, matrix in (("sform", _sform(header)), ("qform", _qform(header))):
        if matrix is None:
            continue
        if is_affine(matrix):
            break
        notes.append(f"the {name} of the header is singular and not used")
    else:
        matrix = header.get_base_affine()
        if not is_affine(matrix):
            sizes = [float(size) for size in header["pixdim"][1:4]]
            raise InputError(path, f"no usable sform or qform, and voxel sizes {sizes}", "a place for its voxels")
        notes.append("the header has no usable sform or qform: right and left are not told, and taken as nibabel does")
    unit = int(header["xyzt_units"]) & 7
    if unit not in TO_MM:
        raise InputError(path, f"unit of length {unit}", "0, or metre, millimetre or micron (1 to 3)")
    if unit in UNIT_NAMES:
        notes.append(f"lengths are in {UNIT_NAMES[unit]} and become millimetres")
    return scaled(matrix, TO_MM[unit]), notes


def is_affine(matrix: np.ndarray) -> bool:
    """Whether it sends voxels to places in space: finite, and not flat."""
    if not np.isfinite(matrix).all():
        return False
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    return bool(sizes.min() > 0 and abs(np.linalg.det(matrix[:3, :3] / sizes)) > FLAT)


def scaled(affine: np.ndarray, factor: float) -> np.ndarray:
    """An affine in another unit of length."""
    return np.diag([factor, factor, factor, 1.0]) @ affine


def mask_image(header: Any, array: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """A mask [x, y, z] as NIfTI with the header of the file that it lies on: its dimensions, unit, sform and qform, so that every
    program lays it where it lays that file. A singular form is replaced.

    Args:
        affine: of the file, as of `affine_mm`.
    """
    sform, qform = _sform(header), _qform(header)
    header = header.copy()
    header.extensions.clear()
    header.set_data_dtype(array.dtype)
    header.set_slope_inter(1, 0)
    header["intent_code"], header["cal_min"], header["cal_max"] = 0, 0, 0
    image_class = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    image = image_class(array.reshape(array.shape[: min(3, len(header.get_data_shape()))]), None, header)
    if qform is not None and not is_affine(qform):
        for name in ("qform_code", "quatern_b", "quatern_c", "quatern_d"):
            image.header[name] = 0
    forms = [form for form in (sform, qform) if form is not None]
    if not all(map(is_affine, forms)):
        unit = TO_MM[int(header["xyzt_units"]) & 7]
        image.header.set_sform(scaled(affine, 1 / unit), code=int(header["sform_code"]) or 1)
    return image


def _sform(header: Any) -> np.ndarray | None:
    matrix, code = header.get_sform(coded=True)
    return matrix if code else None


def _qform(header: Any) -> np.ndarray | None:
    """Zeros where it cannot be computed."""
    try:
        matrix, code = header.get_qform(coded=True)
    except ValueError:  # quaternions that are none
        return np.zeros((4, 4))
    return matrix if code else None
