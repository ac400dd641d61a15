"""Real images: what they look like to the reader and the builder. Skipped where MIMO_REAL_DATA does not lead to them."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import numpy as np
import pydicom
import pytest

from monai_mimo.mimoseg.builder.plan import split_patients
from monai_mimo.mimoseg.sources.cases import SourceSpec
from monai_mimo.mimoseg.sources.discover import discover, open_source
from monai_mimo.mimoseg.sources.read_case import read_case
from monai_mimo.transforms import MedicalImage

DATA = Path(os.environ.get("MIMO_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA} (set MIMO_REAL_DATA)")

CASES = {
    "chest_xray_lung": ("X-ray", 300, {"lung"}),
    "ct_liver": ("CT", 225, {"liver"}),
    "endoscopy_polyp": ("endoscopy", 500, {"polyp"}),
    "ultrasound_nerve": ("ultrasound", 719, {"nerve"}),
    "Task04_Hippocampus": ("MR", 200, {"anterior hippocampus", "posterior hippocampus"}),
}


def test_labelled_sets_are_found_and_the_rest_is_named() -> None:
    """Every folder of `DATA` is a set with labels, except the DICOM series, which have none."""
    found, skipped = discover(DATA)
    folders = {folder.name for folder in DATA.iterdir() if folder.is_dir() and not folder.name.startswith(".")}
    assert {spec.name for spec in found} == folders - {"dicom_brain_mr"}
    assert set(CASES) <= {spec.name for spec in found}
    assert skipped == [("dicom_brain_mr", "no known layout")]


@pytest.mark.parametrize("name", CASES)
def test_cases_are_read(name: str) -> None:
    modality, count, labels = CASES[name]
    source = open_source(SourceSpec(name, DATA / name))
    assert len(source.cases) == count
    assert {c.modality for c in source.cases} == {modality}
    assert {label for c in source.cases for label in c.labels} == labels
    for case in islice(source.cases, 0, None, max(1, count // 8)):
        for shown in read_case(case, 3):
            assert shown.encoded
            for mask in shown.masks.values():
                assert mask.shape == shown.size
                assert mask.any()


def test_frames_of_one_ultrasound_patient_stay_together() -> None:
    cases = open_source(SourceSpec("ultrasound_nerve", DATA / "ultrasound_nerve")).cases
    patients = {c.patient for c in cases}
    assert len(patients) == 37
    splits = split_patients(patients, (0.8, 0.1, 0.1))
    assert set(splits.values()) == {"train", "validation", "test"}


def test_dicom_series_have_their_own_geometry() -> None:
    series = sorted({p.parent for p in (DATA / "dicom_brain_mr").rglob("*.dcm")})
    assert len(series) == 3
    for folder in series:
        headers = [pydicom.dcmread(f) for f in folder.glob("*.dcm")]
        image = MedicalImage.open(folder)
        assert image.modality == "MR"
        assert np.prod(image.frames.shape) == len(headers) * headers[0].Rows * headers[0].Columns
        for header in headers[:5]:  # the affine puts each slice's first pixel where its header does
            index = np.linalg.solve(image.affine, [*(np.array(header.ImagePositionPatient) * [-1, -1, 1]), 1])
            np.testing.assert_allclose(index, index.round(), atol=0.02)
            i, j, k = index[:3].round().astype(int)
            stored = header.pixel_array[0, 0] * float(header.get("RescaleSlope", 1)) + float(
                header.get("RescaleIntercept", 0)
            )
            assert image._grid.values[i, j, k] == pytest.approx(stored)
