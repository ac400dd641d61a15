"""2,100 damaged images: an answer, or one error."""

from __future__ import annotations

import gzip
import io
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from monai_mimo.errors import InputError
from monai_mimo.transforms import MedicalImage

from ..fuzzing import damaged, hold

RNG = np.random.default_rng(0)
VOXELS = RNG.integers(-900, 900, (9, 8, 7)).astype(np.int16)
COLOURS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def look(path: Path) -> None:
    image = MedicalImage.open(path)
    image.slice(image.n_slices // 2)
    if image.affine is not None:
        assert np.isfinite(image.slices_affine).all()
        assert image.to_file_grid({0: np.ones(image.size, np.uint8)}).shape == image.shape
    assert image.modality is None or isinstance(image.modality, str)


def nifti_seeds() -> dict[str, bytes]:
    plain = nib.Nifti1Image(VOXELS, np.diag([-2.0, 3, 4, 1])).to_bytes()
    colours = np.ascontiguousarray(RNG.integers(0, 255, (*VOXELS.shape, 3), dtype=np.uint8)).view(
        [(n, "u1") for n in "RGB"]
    )
    return {
        "a.nii": plain,
        "b.nii": nib.Nifti2Image(VOXELS.astype(np.float32), np.diag([2.0, 3, 4, 1])).to_bytes(),
        "c.nii": nib.Nifti1Image(colours[..., 0], np.eye(4)).to_bytes(),
        "d.nii": nib.Nifti1Image(VOXELS.astype(">c8"), np.eye(4)).to_bytes(),
        "e.nii.gz": gzip.compress(plain),
        "f.nii": nib.Nifti1Image(VOXELS[..., 0], np.eye(4)).to_bytes(),
    }


def picture_seeds() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    out = {}
    for name, mode, options in [
        ("a.png", "RGB", {"exif": exif}),
        ("b.png", "P", {"transparency": 3}),
        ("c.png", "LA", {}),
        ("d.jpg", "RGB", {"exif": exif}),
        ("e.jpg", "CMYK", {}),
        ("f.jpg", "L", {"progressive": True}),
        ("g.bmp", "P", {}),
        ("h.tif", "RGB", {"compression": "tiff_lzw"}),
        ("i.tif", "L", {"compression": "tiff_adobe_deflate"}),
        ("j.tif", "1", {"compression": "group4"}),
    ]:
        file = io.BytesIO()
        kind = {"jpg": "JPEG", "tif": "TIFF"}.get(name[2:], name[2:])
        Image.fromarray(COLOURS).convert(mode).save(file, kind, **options)
        out[name] = file.getvalue()
    for name, pages in (("k.tif", VOXELS), ("l.tif", COLOURS[..., 0]), ("m.tif", VOXELS[0].astype(np.float32))):
        file = io.BytesIO()
        tifffile.imwrite(file, pages, photometric="miniswhite" if name[0] == "l" else "minisblack")
        out[name] = file.getvalue()
    return out


def itk_seeds(folder: Path) -> dict[str, bytes]:
    image = sitk.GetImageFromArray(VOXELS)
    image.SetSpacing((2, 3, 4))
    out = {}
    for name, packed in (("a.mha", False), ("b.mha", True), ("c.nrrd", False), ("d.nrrd", True)):
        sitk.WriteImage(image, str(folder / name), useCompression=packed)
        out[name] = (folder / name).read_bytes()
    return out


def test_nifti(tmp_path: Path) -> None:
    assert 100 < hold(nifti_seeds(), 700, tmp_path, look) < 600


def test_headers_of_packed_nifti(tmp_path: Path) -> None:
    """Damaged before they are packed, so that gzip itself is whole."""
    plain, rng = nifti_seeds()["a.nii"], np.random.default_rng(1)
    opened = 0
    for number in range(200):
        path = tmp_path / f"{number}.nii.gz"
        path.write_bytes(gzip.compress(damaged(plain, rng, 348), 1))
        with suppress(InputError):
            look(path)
            opened += 1
    assert 20 < opened < 180


def test_pictures(tmp_path: Path) -> None:
    assert 100 < hold(picture_seeds(), 700, tmp_path, look) < 600


@pytest.mark.parametrize("text", [False, True])
def test_nrrd_and_meta_image(tmp_path: Path, text: bool) -> None:
    seeds = itk_seeds(tmp_path)
    assert 20 < hold(seeds, 250, tmp_path, look, text) < 240
