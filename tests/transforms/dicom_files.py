"""DICOM files drawn for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

KINDS = {"CT": "1.2.840.10008.5.1.4.1.1.2", "US": "1.2.840.10008.5.1.4.1.1.6.1", "DX": "1.2.840.10008.5.1.4.1.1.1.1"}
AXIAL = (1, 0, 0, 0, 1, 0)


def dicom_file(
    path: Path,
    pixels: np.ndarray,
    *,
    position: Sequence[float] | None = (0, 0, 0),
    orientation: Sequence[float] | None = AXIAL,
    spacing: Sequence[float] | None = (1, 1),
    series: str = "1.2.3",
    **header: Any,
) -> FileDataset:
    """Write one image: pixels [rows, columns], [frames, rows, columns], or in colour with 3 at the end. A header of none is left
    out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = KINDS["CT"]
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    if int(pydicom.__version__.split(".")[0]) < 3:
        ds.is_little_endian, ds.is_implicit_VR = True, False
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.Modality = series, "1.2", "CT"
    colour = pixels.shape[-1] == 3 and pixels.dtype == np.uint8 and pixels.ndim > 2
    shape = pixels.shape[: -1 if colour else None]
    if len(shape) == 3:
        ds.NumberOfFrames = shape[0]
    ds.Rows, ds.Columns = shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
    if position is not None:
        ds.ImagePositionPatient = [float(v) for v in position]
    if orientation is not None:
        ds.ImageOrientationPatient = [float(v) for v in orientation]
    if spacing is not None:
        ds.PixelSpacing = [float(v) for v in spacing]
    ds.PixelData = pixels.tobytes()
    for name, value in header.items():
        if value is None and name in ds:
            delattr(ds, name)
        elif value is not None:
            setattr(ds, name, value)
    save(ds, path)
    return ds


def save(dataset: Dataset, path: Path) -> None:
    """pydicom 3 renamed the argument that asks for a file with preamble and meta information."""
    new = int(pydicom.__version__.split(".")[0]) >= 3
    dataset.save_as(path, **({"enforce_file_format": True} if new else {"write_like_original": False}))


def sequence(**values: Any) -> pydicom.Sequence:
    """A sequence of one item."""
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return pydicom.Sequence([item])


def series(folder: Path, depths: Sequence[float], **header: Any) -> Path:
    """Slices [8, 6] at these depths, with files in an order of their own; slice n holds the value n."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(np.random.default_rng(0).permutation(len(depths)).tolist()):
        one = {key: value[number] if isinstance(value, list) else value for key, value in header.items()}
        pixels = np.full((8, 6), number, dtype=np.uint16)
        dicom_file(folder / f"{name:03d}.dcm", pixels, **{"position": (0, 0, depths[number]), **one})
    return folder
