"""Phantom patients as a viewer's folder of studies: volumes as NIfTI, one as a DICOM series, and pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import OutputError
from ..files import atomic_folder, output_errors
from .writer import write_phantom


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
