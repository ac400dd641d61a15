"""NIfTI files as people have them: what the header says about place, unit, values and dimensions, or one error."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_mimo.errors import InputError
from monai_mimo.transforms import MedicalImage, read_grid
from monai_mimo.transforms.nifti import nifti_geometry

SHAPE = (12, 10, 6)
VOXELS = np.random.default_rng(0).integers(-900, 900, SHAPE).astype(np.int16)
AFFINE = np.array([[-2.0, 0, 0, 11], [0, 1.5, 0, -7], [0, 0, 3, 5], [0, 0, 0, 1]])  # orthogonal: a qform can say it
ZERO, FLAT = np.zeros((4, 4)), np.array([[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]])


def write(path: Path, values: np.ndarray = VOXELS, affine: np.ndarray = AFFINE, kind: type = nib.Nifti1Image, **fields):
    """A file with a sform and a qform of `affine`, and then `fields` of its header as given."""
    image = kind(values, affine, dtype=values.dtype)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    data = image.to_bytes()
    size = int(image.header["sizeof_hdr"])
    header = type(image.header)(data[:size], check=False)
    for name, value in fields.items():
        header[name] = value
    data = header.binaryblock + data[size:]
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


def rows(matrix: np.ndarray) -> dict:
    return {f"srow_{axis}": row for axis, row in zip("xyz", matrix)}


def refused(path: Path, *texts: str) -> None:
    with pytest.raises(InputError) as error:
        read_grid(path)
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)
    for text in texts:
        assert text in str(error.value)


@pytest.mark.parametrize("sform", [ZERO, FLAT, np.full((4, 4), np.nan), np.diag([1.0, 0, 1, 1])])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_the_qform_where_the_sform_is_singular(tmp_path: Path, sform: np.ndarray, suffix: str, kind: type) -> None:
    path = write(tmp_path / f"a{suffix}", kind=kind, **rows(sform))
    grid = read_grid(path)
    np.testing.assert_array_equal(grid.values, VOXELS)
    np.testing.assert_allclose(grid.affine, AFFINE, atol=1e-5)
    assert "sform" in grid.notes[0]


@pytest.mark.parametrize("fields", [{"quatern_b": 9.0}, {"pixdim": [1, 0, 0, 0, 1, 1, 1, 1]}])
def test_the_sform_whatever_the_qform(tmp_path: Path, fields: dict) -> None:
    np.testing.assert_allclose(read_grid(write(tmp_path / "a.nii", **fields)).affine, AFFINE)


def test_the_qform_where_there_is_no_sform(tmp_path: Path) -> None:
    grid = read_grid(write(tmp_path / "a.nii", sform_code=0, **rows(np.eye(4))))
    np.testing.assert_allclose(grid.affine, AFFINE, atol=1e-5)
    assert not grid.notes


def test_voxel_sizes_where_there_is_neither(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz", sform_code=0, qform_code=0)
    grid = read_grid(path)
    np.testing.assert_allclose(grid.affine, nib.load(path).affine)
    np.testing.assert_allclose(np.linalg.norm(grid.affine[:3, :3], axis=0), [2, 1.5, 3])
    assert "right and left are not told" in grid.notes[0]


def test_no_place_at_all(tmp_path: Path) -> None:
    fields = {"pixdim": [1, 0, 1, 1, 1, 1, 1, 1], "qform_code": 0, **rows(ZERO)}
    refused(write(tmp_path / "a.nii", **fields), "no usable sform or qform", "[0.0, 1.0, 1.0]")


@pytest.mark.parametrize(("code", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (2 | 8, 1), (3 | 16, 0.001)])
def test_units_of_length(tmp_path: Path, code: int, factor: float) -> None:
    path = write(tmp_path / "a.nii", xyzt_units=code)
    image = MedicalImage.open(path)
    np.testing.assert_allclose(image.affine, np.diag([factor, factor, factor, 1]) @ AFFINE, rtol=1e-5)
    assert image.spacing_mm == pytest.approx((1.5 * factor, 2 * factor))
    assert len(image.notes) == (factor != 1)
    shape, affine = nifti_geometry(path)
    assert shape == SHAPE
    np.testing.assert_allclose(affine, image.affine)


def test_a_unit_that_is_none(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.nii", xyzt_units=5), "unit of length 5")


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (0, 5), (np.nan, 0), (1, -1024), (0.25, 3), (-2, 0.5)])
def test_whole_numbers_with_slope_and_intercept(tmp_path: Path, dtype: str, slope: float, intercept: float) -> None:
    values = VOXELS.clip(0, 100) if dtype[-2:] in ("u1", "i1") or "u" in dtype else VOXELS
    path = write(tmp_path / "a.nii.gz", values.astype(dtype), scl_slope=slope, scl_inter=intercept)
    grid = read_grid(path)
    np.testing.assert_allclose(grid.values, nib.load(path).get_fdata(), rtol=1e-6)
    assert grid.values.dtype.isnative
    if slope == 1 and grid.values.dtype.kind != "f":
        np.testing.assert_array_equal(grid.values, nib.load(path).get_fdata())


def test_whole_numbers_of_32_bits_keep_their_digits(tmp_path: Path) -> None:
    values = np.array([2**31 - 1, 16_777_217, 0, -5], np.int32).reshape(4, 1, 1)
    path = write(tmp_path / "a.nii", np.tile(values, (1, 3, 2)), scl_slope=1, scl_inter=10)
    np.testing.assert_array_equal(read_grid(path).values[:, 0, 0], values.ravel().astype(np.int64) + 10)


@pytest.mark.parametrize("alpha", [False, True])
def test_colours(tmp_path: Path, alpha: bool) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (*SHAPE, 4 if alpha else 3), dtype=np.uint8)
    names = "RGBA" if alpha else "RGB"
    values = np.ascontiguousarray(colours).view([(name, "u1") for name in names])[..., 0]
    image = MedicalImage.open(write(tmp_path / "a.nii.gz", values, np.diag([2.0, 1.5, 3, 1])))
    np.testing.assert_array_equal(image.grid.values, colours[..., :3])
    np.testing.assert_array_equal(image.slice(4), colours[::-1, ::-1, 4, :3].transpose(1, 0, 2))  # RAS: backwards
    assert image.slice(4).flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_values_by_magnitude(tmp_path: Path, dtype: type) -> None:
    values = (VOXELS + 1j * VOXELS[::-1]).astype(dtype)
    grid = read_grid(write(tmp_path / "a.nii", values))
    np.testing.assert_allclose(grid.values, np.abs(values), rtol=1e-6)
    assert "magnitude" in grid.notes[0]


@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 1), (12, 10, 1, 1), (12, 10, 1, 1, 1)])
def test_a_file_of_two_dimensions_is_one_slice(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = write(tmp_path / "a.nii.gz", VOXELS[..., 0].reshape(shape))
    image = MedicalImage.open(path)
    assert image.frames.shape == (1, 10, 12)
    np.testing.assert_array_equal(image.frames[0], VOXELS[:, ::-1, 0].T)  # LAS
    assert image.slice().shape == (10, 12, 3)  # without a number, as there is but one
    mask = np.zeros((10, 12), np.uint8)
    mask[2, 3] = 1
    image.save_mask(image.to_file_grid({0: mask}), tmp_path / "mask.nii.gz")
    written = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
    assert written.shape == shape[:3]
    assert np.argwhere(written)[0][:2].tolist() == [3, 10 - 1 - 2]
    np.testing.assert_array_equal(MedicalImage.open(tmp_path / "mask.nii.gz").frames[0], mask)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_slice_is_shown_in_its_own_plane(tmp_path: Path, axis: int) -> None:
    values = VOXELS.take([3], axis=axis)
    image = MedicalImage.open(write(tmp_path / "a.nii", values), plane="axial")
    assert (image.n_slices, image.plane) == (1, ("sagittal", "coronal", "axial")[axis])
    assert sorted(image.size) == sorted(n for n in values.shape if n > 1)


def test_a_vector_of_values_needs_a_channel(tmp_path: Path) -> None:
    values = np.stack([VOXELS, VOXELS + 1, VOXELS + 2], axis=-1)
    for shape in ((*SHAPE, 3), (*SHAPE, 1, 3), (*SHAPE, 1, 1, 3), (*SHAPE, 3, 1)):
        path = write(tmp_path / "a.nii", values.reshape(shape), intent_code=1007)
        np.testing.assert_array_equal(read_grid(path, 2).values, VOXELS + 2)
        refused(path, "the channel to take, 0 to 2")
    refused(write(tmp_path / "a.nii", values.reshape(12, 10, 6, 3, 1).repeat(2, axis=4)), "[12, 10, 6, 3, 2]")


@pytest.mark.parametrize(("degrees", "oblique"), [(30, 0.1), (60, 0.3), (75, 0.0)])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_sheared_axes(tmp_path: Path, degrees: float, oblique: float, plane: str) -> None:
    """A drawn pixel is at the voxel that it shows, and in the file at the same place in space."""
    affine = AFFINE.copy()
    affine[1, 2] = 3 * np.tan(np.radians(90 - degrees))  # as of a tilted gantry
    affine[:3, :3] = np.array([[1, oblique, 0], [-oblique, 1, 0], [0, 0, 1]]) @ affine[:3, :3]
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(VOXELS, affine), path)
    image = MedicalImage.open(path, plane=plane)
    mask = np.zeros(image.size, np.uint8)
    mask[1, 2] = 1
    image.save_mask(image.to_file_grid({3: mask}), tmp_path / "mask.nii.gz")
    written = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(written.affine, affine, atol=1e-4)
    [place] = np.argwhere(np.asarray(written.dataobj))
    assert VOXELS[tuple(place)] == image.frames[3, 1, 2]
    np.testing.assert_allclose(image.slices_affine @ [3, 1, 2, 1], affine @ [*place, 1], atol=1e-4)


@pytest.mark.parametrize(
    "fields",
    [
        rows(ZERO),
        {"qform_code": 0},
        {"sform_code": 0},
        {"sform_code": 0, "qform_code": 0},
        {"xyzt_units": 3},
        {"xyzt_units": 1, **rows(FLAT)},
        {"quatern_b": 9.0, "descrip": b"x"},
        {"scl_slope": 2.0, "cal_max": 5, "intent_code": 1007},
    ],
)
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_mask_lies_where_its_image_lies(tmp_path: Path, fields: dict, kind: type) -> None:
    path = write(tmp_path / "a.nii.gz", kind=kind, **fields)
    image = MedicalImage.open(path)
    drawn = np.zeros(image.size, np.uint8)
    drawn[4, 5] = 7
    image.save_mask(image.to_file_grid({2: drawn}), tmp_path / "mask.nii.gz")
    written = nib.load(tmp_path / "mask.nii.gz")
    assert isinstance(written, kind)
    assert written.get_data_dtype() == np.uint8
    [place] = np.argwhere(np.asarray(written.dataobj))
    assert np.asarray(written.dataobj)[tuple(place)] == 7
    assert image.grid.values[tuple(place)] == image.frames[2, 4, 5]
    again = MedicalImage.open(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(again.affine, image.affine, rtol=1e-5, atol=1e-6)
    if not any(name.startswith(("srow", "quatern")) for name in fields):  # kept as they are
        for form in ("sform", "qform"):
            mine, theirs = (getattr(i.header, f"get_{form}")(coded=True) for i in (written, nib.load(path)))
            assert mine[1] == theirs[1]
            assert mine[1] == 0 or np.allclose(mine[0], theirs[0])
    assert written.header["xyzt_units"] == nib.load(path).header["xyzt_units"]


@pytest.mark.parametrize("order", ["<", ">"])
def test_pairs(tmp_path: Path, order: str) -> None:
    header = nib.nifti1.Nifti1PairHeader(endianness=order)
    image = nib.Nifti1Pair(VOXELS, AFFINE, header)
    image.header.set_data_dtype(f"{order}i2")
    image.to_filename(tmp_path / "a.hdr")
    for name in ("a.hdr", "a.img"):
        opened = MedicalImage.open(tmp_path / name)
        np.testing.assert_array_equal(opened.grid.values, VOXELS)
        np.testing.assert_allclose(opened.affine, AFFINE, atol=1e-5)
    opened.save_mask((VOXELS > 0).astype(np.uint8), tmp_path / "mask.nii")
    np.testing.assert_allclose(nib.load(tmp_path / "mask.nii").affine, AFFINE, atol=1e-5)


def test_gzip_in_parts_and_under_another_name(tmp_path: Path) -> None:
    data = write(tmp_path / "a.nii").read_bytes()
    (tmp_path / "parts.nii.gz").write_bytes(gzip.compress(data[:500]) + gzip.compress(data[500:]))
    (tmp_path / "packed.nii").write_bytes(gzip.compress(data))
    for name in ("parts.nii.gz", "packed.nii"):
        np.testing.assert_array_equal(read_grid(tmp_path / name).values, VOXELS)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("shape", [(32_000, 32_000, 32_000), (4000, 4000, 40)])
def test_more_voxels_than_the_file_can_hold(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    refused(write(tmp_path / f"a{suffix}", dim=[3, *shape, 1, 1, 1, 1]), f"{2 * np.prod(shape, dtype=np.int64)}")


@pytest.mark.parametrize(
    "fields", [{"dim": [3, 12, -10, 6, 1, 1, 1, 1]}, {"dim": [1, 12, 1, 1, 1, 1, 1, 1]}, {"datatype": 1}]
)
def test_headers_that_hold_no_volume(tmp_path: Path, fields: dict) -> None:
    refused(write(tmp_path / "a.nii", **fields))
