"""`mimo phantom`: a labelled set of all eight modalities as a hospital or a challenge would hand it over,
a CT volume also as the DICOM series that a scanner would export.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from tqdm import tqdm

from ..errors import InputError, OutputError
from ..files import atomic_folder, digest, output_errors, write_json
from .draw_pictures import DRAW, Rng
from .draw_volumes import CT_LABELS, MR_LABELS, PET_LABELS, PhantomVolume, draw_ct, draw_mr, draw_pet

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


PHANTOM_VOLUMES: dict[str, tuple[Callable[[Rng], PhantomVolume], dict[int, str]]] = {
    "CT": (draw_ct, CT_LABELS),
    "MR": (draw_mr, MR_LABELS),
    "PET": (draw_pet, PET_LABELS),
}
PICTURES_PER_PATIENT = 2
ORIENTATIONS = ("RAS", "LPS", "LAS", "RPS", "PIR")  # as files come; every second patient has plain RAS
JPEG = {"dermoscopy", "endoscopy"}  # the other pictures are PNG, as far as their scanners would write that


def write_phantom(out: str | Path, patients: int = 24, seed: int = 0, progress: bool = True) -> Path:
    """Write OUT/phantom.json and one folder for each modality; the same seed gives the same bytes.

    Args:
        out: a folder that does not exist yet, or is empty.
        patients: for each modality. Each has one volume, or two pictures.

    Raises:
        InputError: fewer than one patient.
        OutputError: `out` exists or cannot be written.
    """
    out = Path(out)
    if patients < 1:
        raise InputError("--patients", str(patients), "1 or more")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(out, "an existing path", "a new folder for the phantom")
    modalities: dict[str, Any] = {}
    cases: list[dict[str, Any]] = []
    with output_errors(out), atomic_folder(out) as new:
        with tqdm(
            total=(len(PHANTOM_VOLUMES) + len(DRAW)) * patients, desc="phantom", unit="patient", disable=not progress
        ) as bar:
            for number, modality in enumerate([*PHANTOM_VOLUMES, *DRAW]):
                layout = "volume" if modality in PHANTOM_VOLUMES else "masks"
                modalities[modality] = {"folder": modality.lower(), "layout": layout}
                if modality in PHANTOM_VOLUMES:
                    modalities[modality]["labels"] = {str(v): name for v, name in PHANTOM_VOLUMES[modality][1].items()}
                for patient in range(patients):
                    rng = np.random.default_rng([seed, number, patient])
                    write = write_volume if modality in PHANTOM_VOLUMES else write_pictures
                    cases += write(new, modality, patient, rng, seed)
                    bar.update()
        about = {
            "name": "phantom",
            "description": "Synthetic phantom images of eight modalities, drawn by monai-mimo; not of any person.",
            "version": 1,
            "seed": seed,
            "modalities": modalities,
            "cases": cases,
        }
        write_json(new / "phantom.json", about)
    return out


def write_volume(root: Path, modality: str, patient: int, rng: Rng, seed: int) -> list[dict[str, Any]]:
    """One patient's volume and label map; the second CT patient is a DICOM series."""
    volume = PHANTOM_VOLUMES[modality][0](rng)
    name = f"phantom-{modality.lower()}-{patient + 1:03d}"
    folder = root / modality.lower() / name
    as_dicom = modality == "CT" and patient == 1
    orientation = "LPS" if as_dicom else "RAS" if patient % 2 == 0 else ORIENTATIONS[patient // 2 % len(ORIENTATIONS)]
    affine = world_affine(volume, rng, oblique=patient % 3 == 2)
    values, labels, affine = reorient(volume, affine, orientation)
    if as_dicom:
        write_series(folder / "dicom", values, affine, f"CT-{patient + 1:03d}", seed)
    else:
        save_nifti(values, affine, folder / "image.nii.gz")
    save_nifti(labels, affine, folder / "labels.nii.gz")
    image = folder / ("dicom" if as_dicom else "image.nii.gz")
    return [case_of(root, modality, name, image, str((folder / "labels.nii.gz").relative_to(root)))]


def write_pictures(root: Path, modality: str, patient: int, rng: Rng, seed: int) -> list[dict[str, Any]]:
    """One patient's pictures, each with one mask file for each entity that it shows."""
    name = f"phantom-{modality.lower()}-{patient + 1:03d}"
    folder = root / modality.lower() / name
    folder.mkdir(parents=True)
    cases = []
    for number in range(1, PICTURES_PER_PATIENT + 1):
        pixels, masks = DRAW[modality](rng)
        image = folder / f"image_{number}{'.jpg' if modality in JPEG else '.png'}"
        Image.fromarray(pixels).save(image, quality=92)
        labels: dict[str, str | None] = {}
        for entity, mask in masks.items():
            labels[entity] = None
            if mask is not None:
                file = folder / f"image_{number}_{entity.replace(' ', '-')}.png"
                Image.fromarray(mask.astype(np.uint8) * 255).save(file)
                labels[entity] = str(file.relative_to(root))
        cases.append(case_of(root, modality, name, image, labels))
    return cases


def case_of(root: Path, modality: str, patient: str, image: Path, label: Any) -> dict[str, Any]:
    """One entry of phantom.json."""
    return {"modality": modality, "patient": patient, "image": str(image.relative_to(root)), "label": label}


def world_affine(volume: PhantomVolume, rng: Rng, oblique: bool) -> np.ndarray:
    """RAS voxels to millimetres, about the middle of the volume; an oblique one is turned by 5 to 15 degrees."""
    linear = np.diag(volume.spacing_mm)
    if oblique:
        a, b = np.radians(rng.uniform(5, 15, size=2) * rng.choice([-1, 1], size=2))
        around_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        around_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
        linear = around_x @ around_z @ linear
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = -linear @ (np.array(volume.values.shape) - 1) / 2
    return affine


def reorient(volume: PhantomVolume, affine: np.ndarray, codes: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same voxels in another order of axes, with the affine that keeps each where it is."""
    change = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    values, labels = (apply_orientation(array, change) for array in (volume.values, volume.labels))
    return values, labels, affine @ inv_ornt_aff(change, volume.values.shape)


def save_nifti(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    """Write .nii.gz without a time stamp."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", compresslevel=3, fileobj=raw, mtime=0) as file:
        file.write(image.to_bytes())


def write_studies(out: str | Path, patients: int = 2, seed: int = 0) -> Path:
    """Write OUT/phantom-ct-001.nii.gz, OUT/phantom-ct-002 (a DICOM series), OUT/phantom-x-ray-001.png and so on, without labels.

    Args:
        out: a folder that does not exist yet.
        patients: of each modality; the second CT is the DICOM series.

    Raises:
        OutputError: `out` exists, or cannot be written.
    """
    out = Path(out)
    if out.exists():
        raise OutputError(out, "an existing path", "a new folder for the studies")
    with output_errors(out), atomic_folder(out) as studies:
        phantom = write_phantom(studies / "phantom", patients, seed, progress=False)
        for patient in sorted(p for p in phantom.glob("*/*") if p.is_dir()):
            for image in (patient / "image.nii.gz", patient / "dicom", *patient.glob("image_1.*")):
                if image.exists():
                    ending = "" if image.is_dir() else "".join(image.suffixes)
                    shutil.move(image, studies / f"{patient.name}{ending}")
        shutil.rmtree(phantom)
    return out
