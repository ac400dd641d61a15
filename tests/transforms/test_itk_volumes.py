"""MetaImage and NRRD files as people have them, written line by line; SimpleITK tells the truth where it knows it."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from monai_mimo.errors import InputError
from monai_mimo.transforms import MedicalImage, read_grid

RNG = np.random.default_rng(0)
VOXELS = RNG.integers(-900, 900, (5, 4, 3)).astype("<i2")
DIRECTIONS = "(2,0,0) (0,3,0) (0,0,4)"


def nrrd(path: Path, values: np.ndarray = VOXELS, **fields: str) -> Path:
    """A file of which `fields` are lines; "_" stands for a space in a name."""
    types = {"i2": "short", "u1": "uchar", "i1": "int8", "f4": "float", "f8": "double", "u8": "uint64", "u2": "ushort"}
    lines = {
        "type": types[values.dtype.str[1:]],
        "dimension": str(values.ndim),
        "sizes": " ".join(map(str, values.shape)),
        "encoding": "raw",
        "endian": "little",
        **{name.replace("_", " "): text for name, text in fields.items()},
    }
    header = "".join(f"{name}: {text}\n" for name, text in lines.items())
    path.write_bytes(f"NRRD0004\n{header}\n".encode() + values.tobytes(order="F"))
    return path


def meta(path: Path, values: np.ndarray = VOXELS, channels: int = 1, packed: bool = False, **fields: str) -> Path:
    """With several channels, these come first in `values`."""
    types = {"i2": "MET_SHORT", "u1": "MET_UCHAR", "i1": "MET_CHAR", "f4": "MET_FLOAT"}
    shape = values.shape if channels == 1 else values.shape[1:]
    data = values.tobytes(order="F")
    lines = {
        "ObjectType": "Image",
        "NDims": str(len(shape)),
        "BinaryData": "True",
        "CompressedData": str(packed),
        "DimSize": " ".join(map(str, shape)),
        "ElementNumberOfChannels": str(channels),
        "ElementType": types[values.dtype.str[1:]],
        **fields,
    }
    lines["ElementDataFile"] = fields.get("ElementDataFile", "LOCAL")
    header = "".join(f"{name} = {text}\n" for name, text in lines.items())
    path.write_bytes(header.encode() + (zlib.compress(data) if packed else data))
    return path


def truth(path: Path) -> np.ndarray:
    """Voxel indices to RAS, as SimpleITK places a volume."""
    image = sitk.ReadImage(str(path))
    origin = np.array(image.TransformIndexToPhysicalPoint((0, 0, 0)))
    steps = [
        np.array(image.TransformIndexToPhysicalPoint(tuple(np.eye(3, dtype=int)[n].tolist()))) - origin
        for n in range(3)
    ]
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = np.stack(steps, axis=1), origin
    return np.diag([-1.0, -1, 1, 1]) @ lps


def refused(path: Path, *texts: str) -> None:
    with pytest.raises(InputError) as error:
        read_grid(path)
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    for text in texts:
        assert text in str(error.value)


@pytest.mark.parametrize("space", ["right-anterior-superior", "left-posterior-superior", "LAS", "RAS"])
@pytest.mark.parametrize("directions", [DIRECTIONS, "(0,3,0) (0,0,4) (-2,0,0)", "(2,0,0) (1,3,0) (0,0.5,4)"])
def test_nrrd_spaces(tmp_path: Path, space: str, directions: str) -> None:
    path = nrrd(tmp_path / "a.nrrd", space=space, space_directions=directions, space_origin="(1,2,3)")
    grid = read_grid(path)
    np.testing.assert_array_equal(grid.values, VOXELS)
    np.testing.assert_allclose(grid.affine, truth(path), atol=1e-9)
    signs = {"right-anterior-superior": (1, 1), "RAS": (1, 1), "LAS": (-1, 1)}.get(space, (-1, -1))
    np.testing.assert_allclose(grid.affine[:3, 3], [signs[0] * 1, signs[1] * 2, 3])
    assert not grid.notes


@pytest.mark.parametrize(
    "fields", [{}, {"spacings": "2 3 4"}, {"space": "scanner-xyz", "space_directions": DIRECTIONS}]
)
def test_nrrd_without_axes_of_a_patient(tmp_path: Path, fields: dict) -> None:
    path = nrrd(tmp_path / "a.nrrd", **fields)
    grid = read_grid(path)
    np.testing.assert_allclose(grid.affine, truth(path))
    assert "names no axes of the patient" in grid.notes[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "1 2 3", "ElementSpacing": "2 3 4"},
        {"TransformMatrix": "0 1 0 0 0 1 1 0 0", "Offset": "1 2 3", "ElementSpacing": "2 3 4"},
        {"TransformMatrix": "1 0 0 0.6 0.8 0 0 0 1", "ElementSpacing": "2 3 4"},
        {"Position": "5 6 7", "Orientation": "-1 0 0 0 -1 0 0 0 1", "ElementSpacing": "2 3 4"},
        {"ElementSpacing": "2 -3 4"},
        {},
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_meta_image_places(tmp_path: Path, fields: dict, packed: bool) -> None:
    path = meta(tmp_path / "a.mha", packed=packed, **fields)
    grid = read_grid(path)
    np.testing.assert_array_equal(grid.values, VOXELS)
    np.testing.assert_allclose(grid.affine, truth(path), atol=1e-9)


@pytest.mark.parametrize(
    ("write", "fields"),
    [
        (nrrd, {"space": "LPS", "space_directions": "(2,0,0) (0,3,0) (0,3,0)"}),
        (nrrd, {"space": "LPS", "space_directions": "(0,0,0) (0,3,0) (0,0,4)"}),
        (nrrd, {"space": "LPS", "space_directions": "(nan,0,0) (0,3,0) (0,0,4)"}),
        (nrrd, {"spacings": "2 0 4"}),
        (meta, {"TransformMatrix": "1 0 0 0 1 0 0 1 0"}),
        (meta, {"TransformMatrix": "0 0 0 0 0 0 0 0 0"}),
        (meta, {"TransformMatrix": "1 0 0 1 0.000001 0 0 0 1"}),
        (meta, {"ElementSpacing": "2 0 4"}),
    ],
)
def test_axes_that_lie_in_a_plane(tmp_path: Path, write, fields: dict) -> None:
    refused(write(tmp_path / ("a.nrrd" if write is nrrd else "a.mha"), **fields))


@pytest.mark.parametrize(
    ("unit", "factor"), [("mm", 1), ("um", 0.001), ("micron", 0.001), ("cm", 10), ("m", 1000), ("", 1)]
)
def test_units_of_length(tmp_path: Path, unit: str, factor: float) -> None:
    units = " ".join([f'"{unit}"'] * 3)
    paths = [nrrd(tmp_path / "a.nrrd", space="LPS", space_directions=DIRECTIONS, space_units=units)]
    if unit in ("mm", "um", "cm"):
        paths.append(meta(tmp_path / "a.mha", ElementSpacing="2 3 4", DistanceUnits=unit))
    for path in paths:
        image = MedicalImage.open(path)
        np.testing.assert_allclose(image.affine[:3, :3], np.diag([-2, -3, 4]) * factor)
        assert image.spacing_mm == pytest.approx((3 * factor, 2 * factor))
        assert bool(image.notes) == (factor != 1)


@pytest.mark.parametrize("units", ['"furlong" "furlong" "furlong"', '"mm" "mm" "um"'])
def test_units_that_are_none(tmp_path: Path, units: str) -> None:
    refused(nrrd(tmp_path / "a.nrrd", space="LPS", space_directions=DIRECTIONS, space_units=units), "lengths in")


@pytest.mark.parametrize("dtype", ["<i2", "u1", "i1", "<f4", "<f8", "<u8", "<u2"])
def test_types_of_values(tmp_path: Path, dtype: str) -> None:
    values = VOXELS.clip(0, 100).astype(dtype) if dtype[-2:] in ("u1", "i1", "u8", "u2") else VOXELS.astype(dtype)
    grid = read_grid(nrrd(tmp_path / "a.nrrd", values, space="LPS", space_directions=DIRECTIONS))
    np.testing.assert_array_equal(grid.values, values)
    assert grid.values.dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("kind", ["nrrd", "mha"])
def test_colours(tmp_path: Path, channels: int, kind: str) -> None:
    values = RNG.integers(0, 256, (channels, 5, 4, 3), dtype=np.uint8)
    if kind == "nrrd":
        about = {"kinds": f"{'RGBA'[:channels]}-color domain domain domain", "space_directions": f"none {DIRECTIONS}"}
        path = nrrd(tmp_path / "a.nrrd", values, space="LPS", **about)
    else:
        path = meta(tmp_path / "a.mha", values, channels)
    image = MedicalImage.open(path)
    np.testing.assert_array_equal(image.slice(1), values[:3, :, :, 1].transpose(2, 1, 0))


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_list_of_values_needs_a_channel(tmp_path: Path, place: str) -> None:
    values = np.stack([VOXELS, VOXELS + 1], axis=0 if place == "first" else -1)
    kinds = ["list", "domain", "domain", "domain"] if place == "first" else ["domain", "domain", "domain", "list"]
    directions = f"none {DIRECTIONS}" if place == "first" else f"{DIRECTIONS} none"
    path = nrrd(tmp_path / "a.nrrd", values, kinds=" ".join(kinds), space="LPS", space_directions=directions)
    np.testing.assert_array_equal(read_grid(path, 1).values, VOXELS + 1)
    refused(path, "the channel to take, 0 to 1")
    vector = meta(tmp_path / "v.mha", np.stack([VOXELS, VOXELS + 1]), 2)
    np.testing.assert_array_equal(read_grid(vector, 1).values, VOXELS + 1)


def test_complex_values_by_magnitude(tmp_path: Path) -> None:
    values = RNG.random((2, 5, 4, 3)).astype("<f4")
    about = {"kinds": "complex domain domain domain", "space_directions": f"none {DIRECTIONS}"}
    grid = read_grid(nrrd(tmp_path / "a.nrrd", values, space="LPS", **about))
    np.testing.assert_allclose(grid.values, np.hypot(*values), rtol=1e-6)
    assert "magnitude" in grid.notes[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path: Path, value: float) -> None:
    values = VOXELS.astype("<f4")
    values[1, 2, 1] = value
    grid = read_grid(nrrd(tmp_path / "a.nrrd", values, space="LPS", space_directions=DIRECTIONS))
    others = np.delete(values.ravel(), np.ravel_multi_index((1, 2, 1), values.shape))
    assert grid.values[1, 2, 1] == (others.max() if value == np.inf else others.min())
    assert grid.not_finite == 1


def test_two_dimensions_are_a_picture(tmp_path: Path) -> None:
    plane = VOXELS[..., 0]
    for path in (
        nrrd(tmp_path / "a.nrrd", plane, spacings="2 3"),
        meta(tmp_path / "a.mha", plane, ElementSpacing="2 3"),
    ):
        image = MedicalImage.open(path)
        np.testing.assert_array_equal(image.frames[0], plane.T)
        assert (image.is_volume, image.spacing_mm) == (False, (3.0, 2.0))
    colours = RNG.integers(0, 256, (3, 5, 4), dtype=np.uint8)
    np.testing.assert_array_equal(MedicalImage.open(meta(tmp_path / "c.mha", colours, 3)).slice(), colours.T)


def test_values_that_want_to_be_rescaled(tmp_path: Path) -> None:
    refused(meta(tmp_path / "a.mha", ElementToIntensityFunctionSlope="2"), "ElementToIntensityFunction")


@pytest.mark.parametrize("sizes", ["5 4 4", "500 400 300", "40000 30000 20000"])
def test_more_voxels_than_the_file_holds(tmp_path: Path, sizes: str) -> None:
    refused(nrrd(tmp_path / "a.nrrd", sizes=sizes), "bytes")
    refused(meta(tmp_path / "a.mha", DimSize=sizes), "bytes")
    if len(sizes) > 12:
        refused(meta(tmp_path / "packed.mha", packed=True, DimSize=sizes), "at most")
        refused(nrrd(tmp_path / "packed.nrrd", encoding="gzip", sizes=sizes), "at most")


def test_voxels_in_a_file_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(VOXELS.tobytes(order="F"))
    path = meta(tmp_path / "a.mhd", ElementDataFile="a.raw")
    np.testing.assert_array_equal(read_grid(path).values, VOXELS)
    (tmp_path / "a.raw").write_bytes(VOXELS.tobytes(order="F")[:-2])
    refused(path, "118 bytes", "120")
    (tmp_path / "a.raw").unlink()
    refused(path, "no file 'a.raw' beside it")


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mhd", "a.nhdr", "a.hdr"])
def test_other_files_under_these_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"These are notes, not an image.\n" * 30)
    refused(tmp_path / name)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_mask_lies_where_its_image_lies(tmp_path: Path, plane: str) -> None:
    path = nrrd(tmp_path / "a.nrrd", space="RAS", space_directions="(0,3,1) (0,-1,3) (-2,0,0)", space_origin="(1,2,3)")
    image = MedicalImage.open(path, plane=plane)
    drawn = np.zeros(image.size, np.uint8)
    drawn[1, 2] = 1
    image.save_mask(image.to_file_grid({1: drawn}), tmp_path / "mask.nii.gz")
    mask, original = sitk.ReadImage(str(tmp_path / "mask.nii.gz")), sitk.ReadImage(str(path))
    [index] = np.argwhere(sitk.GetArrayFromImage(mask).T).tolist()
    place = mask.TransformIndexToPhysicalPoint(index)
    assert original[original.TransformPhysicalPointToIndex(place)] == image.frames[1, 1, 2]
    np.testing.assert_allclose(nib.load(tmp_path / "mask.nii.gz").affine, truth(path), atol=1e-5)
