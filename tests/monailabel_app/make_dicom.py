"""DICOM files for tests, written by pydicom: a series in any orientation, one file with many frames, a radiograph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, ENHANCED_CT, DX, US = (f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in ("2", "2.1", "1.1.1", "6.1"))


def dataset(kind: str, modality: str, values: np.ndarray) -> FileDataset:
    """The attributes that all share; `values` [..., row, column] are whole numbers."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = kind, meta.MediaStorageSOPInstanceUID, modality
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3.1", "1.2.3.2", "1.2.3.3"
    ds.PatientName, ds.PatientID, ds.StudyDate, ds.StudyTime = "SECRET^NAME", "SECRET-ID", "20200101", "120000"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.Rows, ds.Columns = values.shape[-2:]
    ds.SeriesNumber, ds.InstanceNumber = 1, 1
    ds.PixelData = values.astype("<i2").tobytes()
    return ds


def axes(affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Of RAS voxels [i, j, k]: the LPS affine, spacings, and ImageOrientationPatient."""
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    return lps, spacing, [*(lps[:3, 0] / spacing[0]), *(lps[:3, 1] / spacing[1])]


def decimal(values: Any) -> list[str]:
    """DICOM's decimal strings have 16 characters at most."""
    return [f"{float(v):.10f}"[:16] for v in values]


def write_series(folder: Path, values: np.ndarray, affine: np.ndarray, order: Any) -> None:
    """[i, j, k] as one file for each k, whose names follow `order` and not the places."""
    folder.mkdir(parents=True)
    lps, spacing, orientation = axes(affine)
    for name, k in enumerate(order):
        ds = dataset(CT, "CT", values[:, :, k].T)
        ds.InstanceNumber = name + 1
        ds.ImagePositionPatient = decimal(lps[:3, 3] + lps[:3, 2] * k)
        ds.ImageOrientationPatient = decimal(orientation)
        ds.PixelSpacing = decimal([spacing[1], spacing[0]])
        ds.SliceThickness = decimal([spacing[2]])[0]
        ds.save_as(folder / f"{name:03d}.dcm", write_like_original=False)


def write_frames(file: Path, values: np.ndarray, affine: np.ndarray) -> None:
    """[i, j, k] as one enhanced CT file with a frame for each k."""
    lps, spacing, orientation = axes(affine)
    ds = dataset(ENHANCED_CT, "CT", values.transpose(2, 1, 0))
    ds.NumberOfFrames = values.shape[2]
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = decimal([spacing[1], spacing[0]])
    measures.SliceThickness = measures.SpacingBetweenSlices = decimal([spacing[2]])[0]
    plane.ImageOrientationPatient = decimal(orientation)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in range(values.shape[2]):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = decimal(lps[:3, 3] + lps[:3, 2] * k)
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    ds.save_as(file, write_like_original=False)


def write_radiograph(file: Path, values: np.ndarray, inverted: bool = False) -> None:
    """[row, column] as a digital radiograph, bright as it is or, with MONOCHROME1, dark where values are high."""
    ds = dataset(DX, "DX", values)
    del ds.FrameOfReferenceUID
    ds.ImagerPixelSpacing = ["0.2", "0.1"]
    if inverted:
        ds.PhotometricInterpretation = "MONOCHROME1"
    ds.save_as(file, write_like_original=False)


def write_ultrasound(file: Path, pixels: np.ndarray) -> None:
    """Row and column as one picture, in a study of its own."""
    ds = dataset(US, "US", pixels)
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.PatientID = "1.2.4.1", "1.2.4.2", "SECRET-ID-2"
    del ds.FrameOfReferenceUID
    ds.PixelRepresentation = 0
    ds.save_as(file, write_like_original=False)
