"""A mask that no one can misplace: 1,500 random files, a random pixel of what is shown, and the libraries that wrote the file say
which voxel that is and what it holds."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from scipy.spatial.transform import Rotation

from monai_mimo.transforms import MedicalImage

PLANES = ("axial", "coronal", "sagittal")
# Where slices, rows and columns of each plane go to: of axial ones to the head, to the back and to the left.
TOWARDS = {"axial": ("S", "P", "L"), "coronal": ("P", "I", "L"), "sagittal": ("L", "I", "P")}
AXIS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all files."""
    return tmp_path_factory.mktemp("random")


def random_files(count: int) -> settings:
    """As many examples, the same each time."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=checks)


@st.composite
def directions(draw: st.DrawFn, shear: bool) -> np.ndarray:
    """Three axes in space with their spacings: in any order, either way, oblique by up to 40 degrees, sheared by up to 20."""
    order = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
    axes = np.eye(3)[:, order] * signs
    turn = Rotation.from_euler("zyx", draw(st.tuples(*[st.integers(-20, 20)] * 3)), degrees=True).as_matrix()
    axes = turn @ axes
    if shear and draw(st.booleans()):
        axes[:, 2] += np.tan(np.radians(draw(st.integers(-20, 20)))) * axes[:, draw(st.sampled_from((0, 1)))]
    return axes * draw(st.tuples(*[st.floats(0.3, 6.0)] * 3))


@st.composite
def places(draw: st.DrawFn, shear: bool) -> np.ndarray:
    """Voxel indices to RAS millimetres."""
    affine = np.eye(4)
    affine[:3, :3] = draw(directions(shear))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-300, 300)] * 3))
    return affine


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(2, 9)] * 3)


def voxels(shape: tuple[int, ...], dtype: np.dtype, seed: int) -> np.ndarray:
    """Values that are all different, in any order."""
    values = np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape)
    return (values % 256 if dtype.itemsize == 1 else values).astype(dtype)


def draw_pixel(image: MedicalImage, data: st.DataObject) -> tuple[int, int, int]:
    """A slice, a row and a column of what is shown."""
    h, w = image.size
    assert torch.from_numpy(image.slice(0)).shape == (h, w, 3)  # PyTorch takes no array that runs backwards in memory
    return (
        data.draw(st.integers(0, image.n_slices - 1), label="slice"),
        data.draw(st.integers(0, h - 1), label="row"),
        data.draw(st.integers(0, w - 1), label="column"),
    )


def save_pixel(image: MedicalImage, pixel: tuple[int, int, int], out: Path) -> None:
    mask = np.zeros(image.size, np.uint8)
    mask[pixel[1:]] = 3
    image.save_mask(image.to_file_grid({pixel[0]: mask}), out)


def check_directions(image: MedicalImage) -> None:
    """Slices, rows and columns run as the plane says: each axis of the file is taken for that of the patient which it is closest
    to, and runs the right way."""
    steps = image.slices_affine[:3, :3] / np.linalg.norm(image.slices_affine[:3, :3], axis=0)
    for step, towards in zip(steps.T, TOWARDS[image.plane]):
        axis, sign = AXIS[towards]
        assert step[axis] * sign > 0.3


@random_files(600)
@given(
    affine=places(shear=True),
    shape=shapes(),
    dtype=st.sampled_from(["u1", "i1", "<i2", ">i2", "u2", "i4", ">f4", "f8"]),
    scale=st.sampled_from([(1, 0), (1, -1024), (0.5, 3), (-2, 0.25), (0, 0)]),
    kind=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
    form=st.sampled_from(["sform", "qform", "both"]),
    unit=st.sampled_from([(2, 1.0), (0, 1.0), (3, 0.001), (1, 1000.0)]),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
    plane=st.sampled_from(PLANES),
    data=st.data(),
)
def test_nifti(folder: Path, affine, shape, dtype, scale, kind, form, unit, suffix, plane, data) -> None:
    path, out = folder / f"a{suffix}", folder / f"mask{suffix}"
    values = voxels(shape, np.dtype(dtype), seed=len(dtype) + shape[0])
    file = kind(values, None, dtype=values.dtype)
    file.header["scl_slope"], file.header["scl_inter"] = scale
    if form != "sform":
        affine = orthogonal(affine)  # a qform can say no other
        file.header.set_qform(affine, 1)
    if form != "qform":
        file.header.set_sform(affine, 2)
    file.header["xyzt_units"] = unit[0]
    header = type(file.header)(file.header.binaryblock, check=False)
    raw = kind(values, None, dtype=values.dtype).to_bytes()
    size = int(header["sizeof_hdr"])
    header["vox_offset"], header["magic"] = size + 4, type(header)(raw[:size], check=False)["magic"]
    write(path, header.binaryblock + b"\0" * 4 + values.astype(header.get_data_dtype()).tobytes(order="F"))

    truth = nib.load(path)
    stored = np.asanyarray(truth.dataobj)
    image = MedicalImage.open(path, plane=plane)
    factor = np.diag([unit[1]] * 3 + [1.0])
    np.testing.assert_allclose(image.affine, factor @ truth.affine, rtol=1e-5, atol=1e-4 * unit[1])
    check_directions(image)
    pixel = draw_pixel(image, data)
    save_pixel(image, pixel, out)
    written = nib.load(out)
    marked = np.asarray(written.dataobj)
    [voxel] = np.argwhere(marked)
    assert (marked.shape, marked[tuple(voxel)]) == (shape, 3)
    assert stored[tuple(voxel)] == pytest.approx(float(image.frames[pixel]), rel=1e-6)
    np.testing.assert_allclose(written.affine, truth.affine, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(
        image.slices_affine @ [*pixel, 1], factor @ truth.affine @ [*voxel, 1], rtol=1e-3, atol=1e-3
    )


@random_files(400)
@given(
    affine=places(shear=False),
    shape=shapes(),
    dtype=st.sampled_from(["u1", "i1", "i2", "u2", "i4", "f4", "f8"]),
    suffix=st.sampled_from([".mha", ".mhd", ".nrrd", ".nhdr"]),
    packed=st.booleans(),
    channels=st.sampled_from([1, 1, 1, 2]),
    plane=st.sampled_from(PLANES),
    data=st.data(),
)
def test_nrrd_and_meta_image(folder: Path, affine, shape, dtype, suffix, packed, channels, plane, data) -> None:
    path, out = folder / f"a{suffix}", folder / "drawn.nii.gz"  # ITK would read mask.nii for mask.nii.gz
    values = voxels(shape, np.dtype(dtype), seed=len(dtype) + shape[0])
    planes = np.stack([values[::-1]] * (channels - 1) + [values], axis=-1)
    file = sitk.GetImageFromArray(
        planes.transpose(2, 1, 0, 3)[..., 0] if channels == 1 else planes.transpose(2, 1, 0, 3), channels > 1
    )
    lps = np.diag([-1.0, -1, 1, 1]) @ orthogonal(affine)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    file.SetSpacing(spacing.tolist())
    file.SetOrigin(lps[:3, 3].tolist())
    file.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    sitk.WriteImage(file, str(path), useCompression=packed)

    image = MedicalImage.open(path, plane=plane, channel=1 if channels == 2 else None)
    check_directions(image)
    pixel = draw_pixel(image, data)
    save_pixel(image, pixel, out)
    written = sitk.ReadImage(str(out))
    [voxel] = np.argwhere(sitk.GetArrayFromImage(written).T).tolist()
    truth = sitk.ReadImage(str(path))
    index = truth.TransformPhysicalPointToIndex(written.TransformIndexToPhysicalPoint(voxel))
    held = truth[index] if channels == 1 else truth[index][1]
    assert (list(index), written.GetSize()) == (voxel, shape)
    assert held == image.frames[pixel]
    point = np.array(truth.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
    np.testing.assert_allclose((image.slices_affine @ [*pixel, 1])[:3], point, rtol=1e-5, atol=1e-4)


@random_files(500)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"]),
    kind=st.sampled_from(["PNG", "JPEG", "TIFF", "BMP"]),
    turn=st.integers(0, 9),
    data=st.data(),
)
def test_pictures(folder: Path, size, mode, kind, turn, data) -> None:
    kind = fitting(kind, mode)
    path, out = folder / f"a.{kind.lower()}", folder / "mask.png"
    path = path.with_suffix({"jpeg": ".jpg", "tiff": ".tif"}.get(kind.lower(), f".{kind.lower()}"))
    rng = np.random.default_rng(size[0] * 13 + size[1])
    if mode == "I;16":
        picture = Image.fromarray(rng.integers(0, 65536, size).astype(np.uint16))
    elif mode == "F":
        picture = Image.fromarray(rng.normal(size=size).astype(np.float32))
    else:
        picture = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).convert(mode)
        if mode in ("LA", "RGBA"):
            picture.putalpha(Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = turn
    picture.save(path, kind, **({} if kind == "BMP" else {"exif": exif}))

    with Image.open(path) as opened:
        if kind == "TIFF":  # PIL itself lays the rows of some turned TIFFs wrongly
            picture.getexif()[0x0112] = turn
        seen = ImageOps.exif_transpose(picture if kind == "TIFF" else opened)
        truth = np.asarray(seen if mode in ("I;16", "F") else seen.convert("RGB"))
    image = MedicalImage.open(path)
    assert (image.size, image.n_slices) == (truth.shape[:2], 1)
    pixel = draw_pixel(image, data)
    if mode in ("I;16", "F"):
        assert image.frames[pixel] == truth[pixel[1:]]
    else:
        assert image.slice()[pixel[1:]].tolist() == truth[pixel[1:]].tolist()
    save_pixel(image, pixel, out)
    marked = np.asarray(Image.open(out))
    assert marked.shape == truth.shape[:2]
    assert np.argwhere(marked).tolist() == [list(pixel[1:])]


def fitting(kind: str, mode: str) -> str:
    """A format that can hold the mode."""
    holds = {
        "JPEG": ("L", "RGB", "CMYK"),
        "BMP": ("1", "L", "P", "RGB"),
        "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    }
    return kind if mode in holds.get(kind, (mode,)) else "TIFF"


def orthogonal(affine: np.ndarray) -> np.ndarray:
    """With the closest axes that are at right angles."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    u, _, v = np.linalg.svd(affine[:3, :3] / spacing)
    out = affine.copy()
    out[:3, :3] = u @ v * spacing
    return out


def write(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
