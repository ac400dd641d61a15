"""Files that cannot be used give one clear error."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from monai_mimo.errors import InputError
from monai_mimo.phantom.writer import write_series
from monai_mimo.transforms import read_grid


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """One good file of each kind."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "good.png")
    Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "good.jpg")
    nib.save(nib.Nifti1Image(rng.random((8, 8, 8)).astype(np.float32), np.eye(4)), tmp_path / "good.nii")
    nib.save(nib.Nifti1Image(rng.random((8, 8, 8)).astype(np.float32), np.eye(4)), tmp_path / "good.nii.gz")
    write_series(tmp_path / "series", rng.integers(-900, 900, (16, 16, 4)), np.eye(4), "X", 0)
    lowest = min((tmp_path / "series").iterdir(), key=lambda f: float(pydicom.dcmread(f).ImagePositionPatient[2]))
    lowest.rename(tmp_path / "good.dcm")
    return tmp_path


def fails(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read_grid(path)
    text = str(error.value)
    assert path.name in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", ["good.png", "good.jpg", "good.nii", "good.nii.gz", "good.dcm"])
def test_whole_empty_and_cut(files: Path, name: str) -> None:
    whole = (files / name).read_bytes()
    assert read_grid(files / name).values.size > 0
    (files / name).write_bytes(whole[: len(whole) * 3 // 5])
    fails(files / name)
    (files / name).write_bytes(b"")
    assert "empty" in fails(files / name)
    (files / name).unlink()
    assert "no such file" in fails(files / name)


@pytest.mark.parametrize("name", ["notes.txt", "notes.png", "notes.nii.gz", "notes.dcm"])
def test_not_an_image(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("These are notes, not an image. " * 20)
    fails(tmp_path / name)


@pytest.mark.parametrize(("value", "shown"), [(np.nan, -5), (-np.inf, -5), (np.inf, 9)])
def test_values_that_are_not_finite(tmp_path: Path, value: float, shown: float) -> None:
    values = np.zeros((4, 4, 4), np.float32)
    values[0, 0, 0], values[1, 1, 1], values[1, 2, 3] = -5, 9, value
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    grid = read_grid(tmp_path / "a.nii.gz")
    values[1, 2, 3] = shown
    np.testing.assert_array_equal(grid.values, values)
    assert grid.not_finite == 1
    assert "1 of 64 values are NaN or infinite" in grid.notes[0]
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), value, np.float32), np.eye(4)), tmp_path / "none.nii.gz")
    assert "NaN or infinite values only" in fails(tmp_path / "none.nii.gz")


def test_four_dimensions(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 3), np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    assert "3-D" in fails(tmp_path / "a.nii.gz")


def test_folders(files: Path) -> None:
    assert read_grid(files / "series").values.shape == (16, 16, 3)
    (files / "empty").mkdir()
    assert "no DICOM file" in fails(files / "empty")
    write_series(files / "other", np.zeros((16, 16, 2)), np.eye(4), "Y", 0)
    for file in (files / "other").iterdir():
        file.rename(files / "series" / f"other-{file.name}")
    assert "2 DICOM series" in fails(files / "series")
