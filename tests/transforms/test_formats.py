"""MetaImage, NRRD, Analyze and NIfTI of many kinds: the same voxels at the same place in space."""

from __future__ import annotations

import gzip
from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monai_mimo.errors import InputError
from monai_mimo.transforms import MedicalImage, read_grid

SHAPE = (7, 6, 5)
VOXELS = np.random.default_rng(0).integers(-900, 900, SHAPE).astype(np.int16)


def affine() -> np.ndarray:
    """Oblique, RAS."""
    out = np.eye(4)
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    out[:3, :3] = turn @ np.diag([1.5, 2.0, 3.0])
    out[:3, 3] = (-20, 10, 5)
    return out


def write_itk(path: Path, voxels: np.ndarray, ras: np.ndarray) -> Path:
    """By ITK itself, which holds voxels as [z, y, x] and places in LPS."""
    image = itk.image_from_array(np.ascontiguousarray(voxels.T))
    lps = np.diag([-1.0, -1, 1, 1]) @ ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(lps[:3, :3] / spacing))
    itk.imwrite(image, str(path))
    return path


@pytest.mark.parametrize("name", ["a.mhd", "a.mha", "a.nrrd"])
def test_itk_formats(tmp_path: Path, name: str) -> None:
    path = write_itk(tmp_path / name, VOXELS, affine())
    grid = read_grid(path)
    np.testing.assert_array_equal(grid.values, VOXELS)
    np.testing.assert_allclose(grid.affine, affine(), atol=1e-5)
    nib.save(nib.Nifti1Image(VOXELS, affine()), tmp_path / "a.nii.gz")
    same = MedicalImage.open(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(MedicalImage.open(path).frames, same.frames)


@pytest.mark.parametrize("name", ["a.hdr", "a.img"])
def test_analyze(tmp_path: Path, name: str) -> None:
    """Analyze holds no place in space; voxels and their size are all there is."""
    image = nib.AnalyzeImage(VOXELS, np.diag([-1.5, 2, 3, 1]))
    image.to_filename(tmp_path / "a.img")
    grid = read_grid(tmp_path / name)
    np.testing.assert_array_equal(grid.values, VOXELS)
    np.testing.assert_allclose(np.linalg.norm(grid.affine[:3, :3], axis=0), [1.5, 2, 3])


def test_a_mask_may_be_cut_off(tmp_path: Path) -> None:
    path = write_itk(tmp_path / "a.mha", VOXELS, affine())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"a\.mha"):
        read_grid(path)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", ">f8", "u1"])
def test_nifti(tmp_path: Path, kind: type, suffix: str, dtype: str) -> None:
    voxels = VOXELS.clip(0, 255) if dtype == "u1" else VOXELS
    image = kind(voxels.astype(dtype), affine())
    image.header.set_data_dtype(dtype)
    nib.save(image, tmp_path / f"a{suffix}")
    grid = read_grid(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(grid.values, voxels)
    assert grid.values.dtype.isnative
    np.testing.assert_allclose(grid.affine, nib.load(tmp_path / f"a{suffix}").affine)


@pytest.mark.parametrize(("slope", "intercept", "kind"), [(1, -1024, "i"), (0.5, 3, "f"), (2, 0, "f")])
def test_scaled_values(tmp_path: Path, slope: float, intercept: float, kind: str) -> None:
    image = nib.Nifti1Image(VOXELS, affine())
    image.header.set_slope_inter(slope, intercept)
    nib.save(image, tmp_path / "a.nii.gz")
    header = nib.load(tmp_path / "a.nii.gz")
    grid = read_grid(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(grid.values, header.get_fdata(), rtol=1e-6)
    assert grid.values.dtype.kind == kind or header.dataobj.slope == 1


def test_a_name_that_promises_gzip(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VOXELS, affine()), tmp_path / "a.nii")
    (tmp_path / "a.nii").rename(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(read_grid(tmp_path / "b.nii.gz").values, VOXELS)


def test_a_damaged_byte_is_noticed(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VOXELS, affine()), tmp_path / "a.nii")
    packed = bytearray(gzip.compress((tmp_path / "a.nii").read_bytes()))
    packed[-6] ^= 1  # of the checksum
    (tmp_path / "a.nii.gz").write_bytes(bytes(packed))
    with pytest.raises(InputError):
        read_grid(tmp_path / "a.nii.gz")


def test_channels(tmp_path: Path) -> None:
    both = np.stack([VOXELS, VOXELS + 1], axis=-1)
    nib.save(nib.Nifti1Image(both, affine()), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image(both[..., None, :], affine()), tmp_path / "b.nii.gz")
    nib.save(nib.Nifti1Image(VOXELS[..., None, None], affine()), tmp_path / "one.nii.gz")
    for name in ("a.nii.gz", "b.nii.gz"):
        for channel in (0, 1):
            np.testing.assert_array_equal(read_grid(tmp_path / name, channel).values, VOXELS + channel)
        for wrong in (None, 2, -1):
            with pytest.raises(InputError, match="channel"):
                read_grid(tmp_path / name, wrong)
    np.testing.assert_array_equal(read_grid(tmp_path / "one.nii.gz").values, VOXELS)


def test_channels_of_an_itk_file(tmp_path: Path) -> None:
    both = np.stack([VOXELS, VOXELS + 1], axis=-1)
    itk.imwrite(itk.image_from_array(np.ascontiguousarray(both.T)), str(tmp_path / "a.nrrd"))
    for channel in (0, 1):
        np.testing.assert_array_equal(read_grid(tmp_path / "a.nrrd", channel).values, VOXELS + channel)


@pytest.mark.parametrize("suffix", [".tif", ".bmp", ".TIFF"])
def test_pictures(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(MedicalImage.open(tmp_path / f"a{suffix}").slice(), pixels)


def test_a_window_of_the_case(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VOXELS, np.eye(4)), tmp_path / "a.nii.gz")
    image = MedicalImage.open(tmp_path / "a.nii.gz", modality="CT", window=(-600, 1500))
    expected = np.clip((VOXELS[::-1, ::-1, 2].T + 1350.0) / 1500, 0, 1) * 255
    np.testing.assert_allclose(image.slice(2)[..., 0], expected, atol=0.51)
