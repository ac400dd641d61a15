"""DICOM series and multi-frame files are read as their own headers say, or refused in one line."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from monai_mimo.errors import InputError
from monai_mimo.transforms import MedicalImage
from monai_mimo.transforms.reading import read_grid

from .dicom_files import AXIAL, dicom_file, save, sequence, series

NUMBERS = itertools.count()


def test_a_regular_series_is_a_volume(tmp_path: Path) -> None:
    grid = read_grid(series(tmp_path / "s", [0, 2, 4, 6]))
    assert grid.values.shape == (6, 8, 4)
    assert grid.values[0, 0].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(grid.affine, np.diag([-1, -1, 2, 1]))
    assert grid.modality == "CT"


@pytest.mark.parametrize(
    ("depths", "found"),
    [
        ([0, 2, 4, 6, 14, 16, 18], "0, 2, 4, 6, 14, 16, 18 mm"),
        ([0, 1, 2.2, 3], "0, 1, 2.2, 3 mm"),
        ([10, 8, 6, 3], "3, 6, 8, 10 mm"),
        ([0, 2, 2, 4], "several of them at 2 mm"),
        ([0, 0, 0], "several of them at 0 mm"),
    ],
)
def test_irregular_places_are_told(tmp_path: Path, depths: list[float], found: str) -> None:
    with pytest.raises(InputError, match=found) as error:
        read_grid(series(tmp_path / "s", depths))
    assert str(tmp_path / "s") in str(error.value)


@pytest.mark.parametrize("header", ["SliceThickness", "SliceLocation", "SeriesDescription", "ProtocolName", "KVP"])
def test_headers_that_do_not_matter_split_nothing(tmp_path: Path, header: str) -> None:
    values = ["1", "2", "1.5", "3", "1"]
    grid = read_grid(series(tmp_path / "s", [0, 1, 2, 3, 4], **{header: values}))
    assert grid.values[0, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("EchoTime", [10, 10, 10, 80, 80, 80]),
        ("TemporalPositionIdentifier", [1, 1, 1, 2, 2, 2]),
        ("AcquisitionNumber", [1, 1, 1, 2, 2, 2]),
        ("DiffusionBValue", [0.0, 0.0, 0.0, 1000.0, 1000.0, 1000.0]),
    ],
)
def test_stacks_at_the_same_places_are_listed_and_chosen(tmp_path: Path, header: str, values: list) -> None:
    folder = series(tmp_path / "s", [0, 1, 2, 0, 1, 2], **{header: values})
    listed = rf"2 stacks of 1 DICOM series \(0: 3 x 6 x 8 CT, {header} .*; 1: 3 x 6 x 8 CT, {header} .*\)"
    with pytest.raises(InputError, match=listed):
        read_grid(folder)
    found = {tuple(read_grid(folder, series=n).values[0, 0].tolist()) for n in (0, "1")}
    assert found == {(0, 1, 2), (3, 4, 5)}
    with pytest.raises(InputError, match="series '2'"):
        read_grid(folder, series=2)


def test_two_series_of_a_folder_are_listed_and_chosen(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", [0, 1, 2])
    for number, depth in enumerate([0, 5]):
        dicom_file(folder / f"x{number}.dcm", np.full((8, 6), 40, np.uint16), position=(0, 0, depth), series="9.9")
    with pytest.raises(InputError, match="2 stacks of 2 DICOM series"):
        read_grid(folder)
    assert read_grid(folder, series="9.9").values.shape == (6, 8, 2)
    assert MedicalImage.open(folder, series="1.2.3").n_slices == 3


def test_a_localizer_is_left_out_and_said(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", [0, 1, 2])
    kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    pixels = np.zeros((20, 20), np.uint16)
    dicom_file(folder / "scout.dcm", pixels, orientation=(0, 1, 0, 0, 0, -1), ImageType=kind)
    grid = read_grid(folder)
    assert grid.values.shape == (6, 8, 3)
    assert grid.notes == ("1 localizer image left out",)


def test_slices_of_other_size_or_direction_are_no_part_of_a_stack(tmp_path: Path) -> None:
    for name, changes in (
        ("size", {}),
        ("direction", {"orientation": (0, 1, 0, 0, 0, -1)}),
        ("spacing", {"spacing": (1, 2)}),
    ):
        folder = series(tmp_path / name, [0, 1, 2])
        shape = (9, 6) if name == "size" else (8, 6)
        dicom_file(folder / "x.dcm", np.zeros(shape, np.uint16), **{"position": (0, 0, 3), **changes})
        with pytest.raises(InputError, match="2 stacks of 1 DICOM series"):
            read_grid(folder)


def test_a_gantry_tilt_becomes_a_sheared_affine(tmp_path: Path) -> None:
    folder = tmp_path / "tilt"
    folder.mkdir()
    for number in range(4):
        dicom_file(folder / f"{number}.dcm", np.full((8, 6), number, np.uint16), position=(0, 0.5 * number, 2 * number))
    grid = read_grid(folder)
    np.testing.assert_allclose(grid.affine, [[-1, 0, 0, 0], [0, -1, -0.5, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    assert "tilt, 14.0 degrees" in grid.notes[0]


@pytest.mark.parametrize(
    ("slopes", "intercepts"), [([0.1, 0.5, 2, 1], [0] * 4), ([1] * 4, [0.5, 0, 0, 0]), ([1, 1, 1, 1], [-1024, 0, 5, 9])]
)
def test_each_slice_has_its_own_rescale(tmp_path: Path, slopes: list[float], intercepts: list[float]) -> None:
    folder = series(tmp_path / "s", [0, 1, 2, 3], RescaleSlope=slopes, RescaleIntercept=intercepts)
    values = read_grid(folder).values
    np.testing.assert_allclose(values[0, 0], np.arange(4) * slopes + np.array(intercepts), rtol=1e-6)
    whole = all(s == 1 for s in slopes) and all(float(i).is_integer() for i in intercepts)
    assert values.dtype.kind == ("i" if whole else "f")


def test_one_image_twice_is_refused(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", [0, 1, 2])
    (folder / "copy.dcm").write_bytes((folder / "000.dcm").read_bytes())
    with pytest.raises(InputError, match="with one SOPInstanceUID"):
        read_grid(folder)


def multiframe(path: Path, depths: list[float], **changes: object) -> Dataset:
    """An enhanced CT whose frames lie at these depths; frame n holds n, and is rescaled by n + 1."""
    pixels = np.stack([np.full((8, 6), n, dtype=np.uint16) for n in range(len(depths))])
    ds = dicom_file(path, pixels, position=None, orientation=None, spacing=None)
    ds.SharedFunctionalGroupsSequence = sequence(
        PixelMeasuresSequence=sequence(PixelSpacing=[0.5, 0.25]),
        PlaneOrientationSequence=sequence(ImageOrientationPatient=list(AXIAL)),
    )
    groups = []
    for number, depth in enumerate(depths):
        [group] = sequence(
            PlanePositionSequence=sequence(ImagePositionPatient=[1.0, 2.0, float(depth)]),
            PixelValueTransformationSequence=sequence(RescaleSlope=number + 1, RescaleIntercept=0),
            FrameContentSequence=sequence(**{name: value[number] for name, value in changes.items()}),
        )
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = pydicom.Sequence(groups)
    save(ds, path)
    return ds


def test_frames_of_an_enhanced_image_lie_where_they_say(tmp_path: Path) -> None:
    multiframe(tmp_path / "m.dcm", [0, 6, 3, 9])
    grid = read_grid(tmp_path / "m.dcm")
    assert grid.values[0, 0].tolist() == [0, 2 * 3, 1 * 2, 3 * 4]  # by place, each with its own slope
    np.testing.assert_allclose(grid.affine, [[-0.25, 0, 0, -1], [0, -0.5, 0, -2], [0, 0, 3, 0], [0, 0, 0, 1]])
    multiframe(tmp_path / "gap.dcm", [0, 3, 6, 12])
    with pytest.raises(InputError, match="0, 3, 6, 12 mm"):
        read_grid(tmp_path / "gap.dcm")


def test_stacks_of_an_enhanced_image_are_chosen(tmp_path: Path) -> None:
    multiframe(tmp_path / "m.dcm", [0, 3, 0, 3], StackID=["1", "1", "2", "2"])
    with pytest.raises(InputError, match="2 stacks"):
        read_grid(tmp_path / "m.dcm")
    assert read_grid(tmp_path / "m.dcm", series=1).values[0, 0].tolist() == [2 * 3, 3 * 4]


def test_a_cine_is_a_stack_of_pictures(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
    dicom_file(tmp_path / "us.dcm", pixels, position=None, orientation=None, spacing=None, Modality="US")
    grid = read_grid(tmp_path / "us.dcm")
    assert grid.stack
    assert grid.affine is None
    np.testing.assert_array_equal(grid.values, pixels)
    np.testing.assert_array_equal(MedicalImage.open(tmp_path / "us.dcm").slice(3), pixels[3])


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ({"RescaleSlope": 0}, "RescaleSlope 0"),
        ({"BitsStored": 18}, "BitsStored 18"),
        ({"BitsAllocated": 12}, "BitsAllocated 12"),
        ({"Rows": None}, "no Rows"),
        ({"PixelData": b"\0\0"}, "truncated"),
        ({"NumberOfFrames": 9000}, "truncated"),
        ({"SamplesPerPixel": 4}, "4 samples"),
    ],
)
def test_headers_that_cannot_be_are_refused(tmp_path: Path, header: dict, found: str) -> None:
    dicom_file(tmp_path / "a.dcm", np.zeros((8, 6), np.uint16), **header)
    with pytest.raises(InputError, match=found):
        read_grid(tmp_path / "a.dcm")


def rotation(axis: list[float], angle: float) -> np.ndarray:
    """Rodrigues' formula."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


@settings(max_examples=110, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1))
def test_a_mask_lands_on_the_voxel_that_was_meant(tmp_path: Path, seed: int) -> None:
    """Random directions, spacings, places, types, slopes and names of files; what is shown at a pixel is the voxel that pydicom
    finds at that place in space, and a mask drawn there comes back to it. About 600 files in all."""
    rng = np.random.default_rng(seed)
    count, rows, columns = rng.integers(3, 9), rng.integers(3, 9), rng.integers(3, 9)
    matrix = rotation(rng.normal(size=3).tolist(), rng.uniform(0, np.pi))
    spacing, step = rng.uniform(0.3, 4, 2).round(4), rng.uniform(0.3, 6)
    shear = rng.uniform(-0.2, 0.2, 2) * (rng.random() < 0.3)
    direction = matrix @ np.array([*shear, rng.choice([-1, 1])]) * step
    origin = rng.uniform(-200, 200, 3)
    dtype = rng.choice([np.uint8, np.uint16, np.int16])
    folder = tmp_path / f"s{next(NUMBERS)}"
    folder.mkdir()
    truth: dict[tuple[int, ...], float] = {}
    for number, name in enumerate(rng.permutation(count).tolist()):
        pixels = rng.integers(0, 200, (rows, columns)).astype(dtype)
        slope = float(rng.choice([1, 1, 0.5, 3.25])) if seed % 2 else 1.0
        intercept = float(rng.integers(-100, 100)) if seed % 3 else 0.0
        place = origin + number * direction
        dicom_file(
            folder / f"{name}.dcm",
            pixels,
            position=place,
            orientation=(*matrix[:, 0], *matrix[:, 1]),
            spacing=spacing,
            RescaleSlope=slope,
            RescaleIntercept=intercept,
        )
        for row, column in np.ndindex(rows, columns):
            point = place + matrix[:, 0] * spacing[1] * column + matrix[:, 1] * spacing[0] * row
            truth[tuple(np.rint(point * 20).astype(int))] = float(pixels[row, column]) * slope + intercept
    image = MedicalImage.open(folder, plane=str(rng.choice(["axial", "coronal", "sagittal"])))
    shown = int(rng.integers(image.n_slices))
    mask = np.zeros(image.size, dtype=bool)
    y, x = (int(rng.integers(n)) for n in image.size)
    mask[y, x] = True
    back = image.to_file_grid({shown: mask})
    [voxel] = np.argwhere(back)
    lps = (image.affine @ np.array([*voxel, 1]))[:3] * (-1, -1, 1)
    value = float(image.grid.values[tuple(voxel)])
    assert image.frames[shown][y, x] == image.grid.values[tuple(voxel)]
    near = [
        truth[key]
        for key in itertools.product(*((int(v) - 1, int(v), int(v) + 1) for v in np.rint(lps * 20)))
        if key in truth
    ]
    assert any(abs(value - other) < 1e-3 for other in near), (lps, value, near)
