"""DICOM files: which of a folder are images, and their headers, read once, with one error for what is not as it should be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ..errors import InputError

NAMES = (".dcm", ".ima", ".dicom")  # a file that is called so, or packed, and is no DICOM is a fault
PACKED = (".gz", ".bz2", ".xz", ".zip")
# Objects of these modalities are about images, or about none.
NO_IMAGES = frozenset(
    ("SEG", "SR", "PR", "KO", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "REG", "DOC", "ECG", "AU", "FID", "PLAN")
)
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"  # a DICOMDIR
LARGE = 2048  # bytes
# What pydicom 2 does not know: how transfer syntaxes of a codec begin, its name, and what it takes to read them.
HIGH_THROUGHPUT = "1.2.840.10008.1.2.4.20"
OTHER_CODEC = "JPEG, JPEG-LS, JPEG 2000 or RLE: convert it"
NEWER = {
    HIGH_THROUGHPUT: ("High-Throughput JPEG 2000", "a decoder: pip install 'pydicom>=3' pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.4.11": ("JPEG XL", OTHER_CODEC),
    "1.2.840.10008.1.2.8.": ("deflated frames", OTHER_CODEC),
}


@dataclass
class DicomFile:
    """A file and what it holds. Whoever has taken the pixels may put a data set without them in its place.

    Attributes:
        decoded: a NumPy file with its pixels, where they were compressed and are no longer.
    """

    path: Path
    dataset: pydicom.Dataset
    decoded: Path | None = None

    def whole(self, name: str, default: int | None = None) -> int:
        """An attribute that is one whole number.

        Raises:
            InputError: it is something else, or missing and there is no default.
        """
        value = attribute(self.path, self.dataset, name)
        if value in (None, "") and default is not None:
            return default
        if isinstance(value, int | float) and float(value).is_integer():
            return int(value)
        found = f"no {name}" if value in (None, "") else f"{name} {value!r}"[:200]
        raise InputError(self.path, found, "one whole number")

    def text(self, name: str) -> str:
        """An attribute as text; "" if it is missing."""
        value = attribute(self.path, self.dataset, name)
        return "" if value is None else str(value)

    @property
    def syntax(self) -> UID:
        """How the pixels are encoded.

        Raises:
            InputError: in a way that is not known.
        """
        syntax = self.dataset.file_meta.TransferSyntaxUID
        if not syntax.is_transfer_syntax:
            for start, (codec, decoder) in NEWER.items():
                if syntax.startswith(start):
                    raise InputError(self.path, f"pixels compressed by {codec} ({syntax})"[:300], decoder)
            raise InputError(self.path, f"transfer syntax {str(syntax)[:80]!r}", "one of the DICOM standard")
        return syntax

    @property
    def compressed(self) -> bool:
        """Whether the pixels are."""
        return bool(self.syntax.is_encapsulated)


def attribute(path: Path, dataset: pydicom.Dataset, name: str) -> object:
    """The value of an attribute, or none. pydicom converts it only now.

    Raises:
        InputError: it cannot be converted.
    """
    try:
        return dataset.get(name)
    except Exception as error:
        raise InputError(path, f"a {name} that cannot be read ({error})"[:300], "what DICOM says of it") from error


def numbers(dataset: pydicom.Dataset, name: str, count: int) -> np.ndarray | None:
    """So many finite numbers, float64 [count]; none if the attribute is missing, empty or something else."""
    try:
        values = np.asarray(dataset.get(name), dtype=float).reshape(count)
    except (TypeError, ValueError, OverflowError, ArithmeticError):
        return None
    return values if np.isfinite(values).all() else None


def open_dicom(path: Path) -> DicomFile:
    """Read one file, also one without the preamble that files on disk should have. What is large stays in the file until it is
    asked for.

    Raises:
        InvalidDicomError: it is no DICOM file.
        InputError: it is damaged.
    """
    with open(path, "rb") as stream:
        head = stream.read(132)
    bare = head[128:] != b"DICM" and head[:2] in (b"\x08\x00", b"\x02\x00")
    try:
        dataset = pydicom.dcmread(path, defer_size=LARGE, force=bare)
        if bare and "SOPClassUID" not in dataset:
            raise InvalidDicomError
        if dataset.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            dataset = pydicom.dcmread(path)  # the places in the file are those before it was deflated
        if not dataset.file_meta.get("TransferSyntaxUID"):
            dataset.file_meta.TransferSyntaxUID = _syntax_as_read(dataset)
    except (InvalidDicomError, OSError):
        raise
    except Exception as error:
        raise InputError(
            path, f"a damaged DICOM file ({type(error).__name__}: {error})"[:300], "a whole one"
        ) from error
    return DicomFile(path, dataset)


def images_in(folder: Path) -> list[DicomFile]:
    """The images among the files of a folder, in the order of their names; hidden files, DICOMDIRs, other DICOM objects and
    files of other kinds are left aside.

    Raises:
        InputError: there is none; one is damaged; or a file is named as DICOM and is none.
    """
    images, others = [], set()
    for path in sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith(".")):
        try:
            file = open_dicom(path)
        except InvalidDicomError as error:
            empty = path.stat().st_size == 0
            suffix = path.suffix.lower()
            if suffix in PACKED and Path(path.stem).suffix.lower() in NAMES:
                raise InputError(path, f"a packed file ({suffix})", "DICOM files that are unpacked") from error
            if suffix in NAMES or (empty and not suffix.strip(".0123456789")):  # names may be UIDs, or have no suffix
                found = "an empty file" if empty else "a file of another kind"
                raise InputError(path, found, "a DICOM file, as its name says or its neighbours are") from error
            continue
        modality = file.text("Modality")
        if modality in NO_IMAGES or file.dataset.file_meta.get("MediaStorageSOPClassUID") == MEDIA_DIRECTORY:
            others.add(modality or "DICOMDIR")
        else:
            images.append(file)
    if not images:
        found = f"no DICOM image, only {', '.join(sorted(others))}" if others else "no DICOM file"
        inner = sorted(f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
        if inner:
            found += f", but {len(inner)} folder{'s' * (len(inner) > 1)} ({', '.join(inner)[:80]})"
        raise InputError(folder, found, "the files of one DICOM series")
    return images


def _syntax_as_read(dataset: pydicom.Dataset) -> UID:
    """Of a file that does not tell, as pydicom found it to be."""
    encoding = getattr(dataset, "original_encoding", None)  # pydicom 3
    implicit, little = encoding or (dataset.is_implicit_VR, dataset.is_little_endian)
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian
