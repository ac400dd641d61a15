"""One thing in space, read from many files: where it shows up, and the way back to the file's voxels."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from PIL import Image

from monai_mimo.errors import InputError, OutputError
from monai_mimo.phantom.writer import write_series
from monai_mimo.transforms import MedicalImage

CODES = ["RAS", "LPS", "LAS", "PIR", "SAL", "IPL", "RPI"]
SHAPE = (7, 9, 5)  # right, anterior, superior


def scene() -> np.ndarray:
    """Values in RAS order, all different, brighter towards the patient's right, front and head."""
    return np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)


def stored(codes: str, oblique: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The scene as a file with axes `codes` holds it: voxels and their affine."""
    turn = np.array([[np.cos(oblique), -np.sin(oblique), 0], [np.sin(oblique), np.cos(oblique), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([2.0, 3.0, 4.0])
    affine[:3, 3] = (-11, 5, 7)
    change = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    voxels = nib.orientations.apply_orientation(scene(), change)
    return voxels, affine @ inv_ornt_aff(change, SHAPE)


def save(folder: Path, codes: str, oblique: float = 0.0) -> Path:
    voxels, affine = stored(codes, oblique)
    nib.save(nib.Nifti1Image(voxels, affine), folder / f"{codes}.nii.gz")
    return folder / f"{codes}.nii.gz"


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("oblique", [0.0, 0.2])
def test_axial_shows_front_up_and_right_at_the_left(tmp_path: Path, codes: str, oblique: float) -> None:
    image = MedicalImage.open(save(tmp_path, codes, oblique))
    assert image.frames.shape == (5, 9, 7)
    assert image.spacing_mm == pytest.approx((3, 2))
    for k in range(5):
        # display row 0 is the most anterior one (last in RAS), column 0 the patient's right (last in RAS)
        np.testing.assert_array_equal(image.frames[k], scene()[::-1, ::-1, k].T)


@pytest.mark.parametrize("codes", CODES)
def test_coronal_and_sagittal(tmp_path: Path, codes: str) -> None:
    path = save(tmp_path, codes)
    coronal = MedicalImage.open(path, plane="coronal")
    assert coronal.frames.shape == (9, 5, 7)
    assert coronal.spacing_mm == pytest.approx((4, 2))
    np.testing.assert_array_equal(
        coronal.frames[0], scene()[::-1, -1, ::-1].T
    )  # most anterior, head up, right at the left
    sagittal = MedicalImage.open(path, plane="sagittal")
    assert sagittal.frames.shape == (7, 5, 9)
    assert sagittal.spacing_mm == pytest.approx((4, 3))
    np.testing.assert_array_equal(
        sagittal.frames[0], scene()[-1, ::-1, ::-1].T
    )  # most right, head up, front at the left


@pytest.mark.parametrize(("axis", "spacing"), [(0, (4, 3)), (1, (4, 2)), (2, (3, 2))])
def test_one_slice_has_the_spacing_of_the_plane_that_it_lies_in(tmp_path: Path, axis: int, spacing: tuple) -> None:
    shape = [6, 5, 7]
    shape[axis] = 1
    nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), np.diag([2, 3, 4, 1])), tmp_path / "a.nii")
    assert MedicalImage.open(tmp_path / "a.nii").spacing_mm == pytest.approx(spacing)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(CODES), st.sampled_from(["axial", "coronal", "sagittal"]), st.data())
def test_one_marked_pixel_comes_back_to_its_voxel(
    tmp_path_factory, codes: str, plane: str, data: st.DataObject
) -> None:
    """The voxel that a pixel was read from is the voxel that the mask of that pixel is written to."""
    image = MedicalImage.open(save(tmp_path_factory.mktemp("volume"), codes), plane=plane)
    n = data.draw(st.integers(0, image.n_slices - 1))
    h, w = image.size
    y, x = data.draw(st.integers(0, h - 1)), data.draw(st.integers(0, w - 1))
    mask = np.zeros((h, w), dtype=np.uint8)
    mask[y, x] = 3
    back = image.to_file_grid({n: mask})
    [place] = np.argwhere(back)
    assert back[tuple(place)] == 3
    assert stored(codes)[0][tuple(place)] == image.frames[n, y, x]


def test_saved_mask_keeps_the_geometry(tmp_path: Path) -> None:
    path = save(tmp_path, "PIR", 0.2)
    image = MedicalImage.open(path)
    mask = image.to_file_grid({2: np.eye(9, 7, dtype=np.uint8)})
    image.save_mask(mask, tmp_path / "mask.nii.gz")
    written = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(written.affine, nib.load(path).affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj), mask)
    again = MedicalImage.open(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(again.frames[2], np.eye(9, 7))


def test_a_dicom_series_and_its_nifti_look_the_same(tmp_path: Path) -> None:
    voxels, affine = stored("LPS", 0.2)
    write_series(tmp_path / "series", voxels, affine, "X", 0)
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "same.nii.gz")
    dicom, nifti = MedicalImage.open(tmp_path / "series"), MedicalImage.open(tmp_path / "same.nii.gz")
    assert dicom.modality == "CT"
    np.testing.assert_array_equal(dicom.frames, nifti.frames)
    np.testing.assert_allclose(dicom.affine, nifti.affine, atol=1e-4)
    assert dicom.spacing_mm == pytest.approx(nifti.spacing_mm, abs=1e-4)


def test_a_single_dicom_file_is_a_picture(tmp_path: Path) -> None:
    voxels, affine = stored("LPS")
    write_series(tmp_path / "series", voxels[..., :1], affine, "X", 0)
    [file] = (tmp_path / "series").iterdir()
    image = MedicalImage.open(file)
    assert not image.is_volume
    np.testing.assert_array_equal(image.frames[0], voxels[..., 0].T)
    assert image.spacing_mm == pytest.approx((3, 2))


def test_pictures_are_read_as_they_are(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (11, 17, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = MedicalImage.open(tmp_path / "a.png")
    np.testing.assert_array_equal(image.slice(), pixels)
    assert (image.size, image.is_volume, image.spacing_mm, image.modality) == ((11, 17), False, None, None)


def test_a_volume_needs_a_slice_that_it_has(tmp_path: Path) -> None:
    image = MedicalImage.open(save(tmp_path, "RAS"))
    for number in (None, -1, 5):
        with pytest.raises(InputError, match="from 0 to 4"):
            image.slice(number)


def test_mask_names_must_fit(tmp_path: Path) -> None:
    image = MedicalImage.open(save(tmp_path, "RAS"))
    with pytest.raises(OutputError):
        image.save_mask(np.zeros(SHAPE, np.uint8), tmp_path / "mask.png")
    with pytest.raises(OutputError):
        image.save_mask(np.zeros(SHAPE, np.uint8), tmp_path / "no" / "mask.nii.gz")
    assert [p.name for p in tmp_path.iterdir()] == ["RAS.nii.gz"]
