"""A folder of studies: pictures, volumes in one file, DICOM files, and folders with one DICOM series."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from monai_mimo.files import LEFTOVER, atomic_file

from .atomic import AtomicDatastore
from .request_limits import Limits
from .result import image_affine
from .study_image import open_study_image

IMAGE_PATTERNS = (
    "*.nii.gz",
    "*.nii",
    "*.nrrd",
    "*.mha",
    "*.mhd",
    "*.png",
    "*.jpg",
    "*.jpeg",
    "*.bmp",
    "*.tif",
    "*.tiff",
    "*.dcm",
)


class StudyFolder(AtomicDatastore):
    """Its images are the files directly in it, and each folder directly in it whose files are DICOM.

    Args:
        folder: of the studies. Labels go to `labels/` in it.
        limits: of what is converted for viewers.
    """

    def __init__(self, folder: str, limits: Limits, auto_reload: bool = True, read_only: bool = False) -> None:
        self._limits = limits
        self._converting = threading.Lock()
        super().__init__(folder, extensions=IMAGE_PATTERNS, auto_reload=auto_reload, read_only=read_only)

    def _list_files(self, path: str, patterns: Any) -> dict[str, str]:
        found = {name: name for name in super()._list_files(path, patterns) if not name.startswith(".")}
        if path == self._datastore.image_path():
            folders = [f for f in Path(path).iterdir() if f.name != "labels" and not f.name.startswith(LEFTOVER)]
            for folder in folders:
                if folder.is_dir() and is_series(folder):
                    found[folder.name] = folder.name
        return found

    def viewer_file(self, image_id: str) -> str:
        """A file that 3D Slicer reads as the image: the image itself, or for DICOM a NIfTI on the same voxels; "" if unknown."""
        path = Path(self.get_image_uri(image_id) or "/nowhere")
        if not path.exists():
            return ""
        if path.is_file() and path.suffix.lower() != ".dcm":
            return str(path)
        converted = Path(self._datastore_path) / ".converted" / f"{path.name}.nii.gz"
        with self._converting:
            if not converted.exists() or converted.stat().st_mtime < path.stat().st_mtime:
                converted.parent.mkdir(exist_ok=True)
                to_nifti(path, converted, self._limits)
        return str(converted)


def is_series(folder: Path) -> bool:
    """Whether one of the first files of a folder is DICOM."""
    for file in sorted(f for f in folder.iterdir() if f.is_file())[:3]:
        with open(file, "rb") as stream:
            if stream.read(132)[128:] == b"DICM":
                return True
    return False


def to_nifti(series: Path, out: Path, limits: Limits) -> None:
    """Write a DICOM series or file as NIfTI on the same voxels [i, j, k], as an atomic file."""
    image = open_study_image(series, "auto", limits)
    grid = image.shown.grid.values
    values = grid if image.shown.is_volume else np.swapaxes(grid, 0, 1)[:, :, None]
    if values.dtype == bool or values.dtype in (np.int64, np.uint64):
        values = values.astype(np.int32)
    with atomic_file(out) as new:
        nib.save(nib.Nifti1Image(values, image_affine(image)), new)
