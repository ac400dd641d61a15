"""A phantom CT volume as a DICOM series, the way a scanner would export it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from nibabel.affines import voxel_sizes
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from ..files import digest

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
INTERCEPT = -1024


def uid(*parts: object) -> str:
    """A UID that depends on `parts` alone (the 2.25 form of a hash)."""
    return f"2.25.{int(digest(repr(parts))[:30], 16)}"


def write_series(folder: Path, values: np.ndarray, affine: np.ndarray, name: str, seed: int) -> None:
    """Write values [x, y, z] in HU, one file for each z, in an order of names that is not the order of slices.

    Args:
        affine: voxel indices to RAS millimetres; DICOM has LPS.
        name: of the phantom patient.
    """
    folder.mkdir(parents=True)
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = voxel_sizes(affine)
    column_step, row_step, normal = (lps[:3, axis] / spacing[axis] for axis in range(3))
    numbers = np.random.default_rng(seed).permutation(values.shape[2])
    for number, z in enumerate(numbers.tolist()):
        instance = uid(seed, name, z)
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CT_IMAGE_STORAGE, instance
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = CT_IMAGE_STORAGE, instance
        ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(seed, name, "study"), uid(seed, name, "series")
        ds.FrameOfReferenceUID = uid(seed, name, "frame")
        ds.PatientName, ds.PatientID = f"PHANTOM^{name}", name
        ds.PatientBirthDate, ds.PatientSex = "", "O"
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20000101", "120000", "1", ""
        ds.ReferringPhysicianName = ""
        ds.Manufacturer, ds.Modality = "monai-mimo phantom", "CT"
        ds.StudyDescription, ds.SeriesDescription = "Phantom abdomen", "Phantom CT"
        ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        ds.SeriesNumber, ds.InstanceNumber = 1, z + 1
        ds.ImagePositionPatient = [f"{v:.6f}" for v in lps[:3, 3] + lps[:3, 2] * z]
        ds.ImageOrientationPatient = [f"{v:.8f}" for v in (*column_step, *row_step)]
        ds.PixelSpacing = [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"]
        ds.SliceThickness = f"{spacing[2]:.6f}"
        ds.SliceLocation = f"{normal @ lps[:3, 3] + spacing[2] * z:.6f}"
        ds.KVP, ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "120", INTERCEPT, 1, "HU"
        ds.WindowCenter, ds.WindowWidth = 40, 400
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.Columns, ds.Rows = values.shape[:2]
        ds.PixelData = (values[:, :, z].T.astype(np.int32) - INTERCEPT).clip(0).astype("<u2").tobytes()
        ds.save_as(folder / f"IM{number:04d}.dcm", **_file_format())


def _file_format() -> dict[str, bool]:
    """pydicom 3 renamed the argument that asks for a file with preamble and meta information."""

    return (
        {"enforce_file_format": True} if int(pydicom.__version__.split(".")[0]) >= 3 else {"write_like_original": False}
    )
