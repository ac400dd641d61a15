"""Our reader inside MONAI's `LoadImaged`, against MONAI's own readers where these read the file too."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, ThreadDataLoader
from monai.transforms import Compose, LoadImaged, Orientationd
from PIL import Image

from monai_mimo.transforms import MedicalImage, MedicalImageReader

from ..monailabel_app.make_dicom import write_series

AFFINE = np.array([[0, -1.5, 0, 10], [2, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1.0]])


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(-900, 900, (6, 5, 4)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / "volume.nii.gz")
    return tmp_path / "volume.nii.gz"


def loaded(path: Path, reader: object) -> dict:
    return LoadImaged("image", reader=reader, ensure_channel_first=True)({"image": str(path)})


def test_a_volume_is_what_nibabel_makes_of_it(volume: Path) -> None:
    ours, theirs = (loaded(volume, reader)["image"] for reader in (MedicalImageReader, "NibabelReader"))
    assert ours.shape == (1, 6, 5, 4)
    assert torch.equal(ours.as_tensor(), theirs.as_tensor())
    assert torch.allclose(ours.affine, theirs.affine)
    turned = [Orientationd("image", "RAS", labels=None)({"image": image})["image"] for image in (ours, theirs)]
    assert torch.equal(*(image.as_tensor() for image in turned))
    assert torch.allclose(*(image.affine for image in turned))


@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3)])
def test_a_picture_is_upright_with_its_colours_first(shape: tuple[int, ...], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    image = loaded(tmp_path / "picture.png", MedicalImageReader)["image"]
    expected = pixels[None] if len(shape) == 2 else pixels.transpose(2, 0, 1)
    assert np.array_equal(image.numpy(), expected)


def test_a_dicom_series_is_read_as_mimo_reads_it(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-900, 900, (4, 6, 5)).astype(np.int16)
    write_series(tmp_path / "series", values, AFFINE, range(4))
    image, ours = loaded(tmp_path / "series", MedicalImageReader)["image"], MedicalImage.open(tmp_path / "series")
    assert image.shape[1:] == ours.shape
    assert np.allclose(image.affine, ours.affine)
    assert image.meta["modality"] == ours.modality


@pytest.mark.parametrize("loader", [DataLoader, ThreadDataLoader])
def test_a_cached_set_by_monais_loaders(loader: type, volume: Path) -> None:
    chain = Compose([LoadImaged("image", reader=MedicalImageReader, ensure_channel_first=True)])
    data = CacheDataset([{"image": str(volume)}] * 3, chain, num_workers=0, progress=False)
    [batch] = loader(data, batch_size=3, num_workers=0)
    assert batch["image"].shape == (3, 1, 6, 5, 4)
