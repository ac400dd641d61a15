"""Places and boxes against SimpleITK and counting, on volumes that lie as they like; label maps against other readers."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import nrrd as pynrrd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from MIMOLib import nrrd
from MIMOLib.errors import MimoError
from MIMOLib.geometry import Grid, box_corners, box_of, common_point

LPS = np.diag([-1.0, -1, 1, 1])


@st.composite
def volumes(draw: st.DrawFn) -> tuple[sitk.Image, Grid]:
    """A volume of SimpleITK in any place, and its grid; its axes may be left-handed."""
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3))
    a, b, c = (np.radians(draw(st.integers(-180, 180))) for _ in range(3))
    about_x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    about_y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    about_z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    turned = np.array(about_x) @ about_y @ about_z @ np.diag([1, 1, draw(st.sampled_from([1, -1]))])
    image = sitk.Image([int(n) for n in shape], sitk.sitkUInt8)
    image.SetDirection(turned.ravel().tolist())
    image.SetSpacing(draw(st.tuples(*[st.integers(1, 24).map(lambda n: n / 4)] * 3)))
    image.SetOrigin(draw(st.tuples(*[st.integers(-300, 300).map(float)] * 3)))
    affine = np.eye(4)
    affine[:3, :3] = turned @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return image, Grid(shape, LPS @ affine)


@given(volumes(), st.tuples(*[st.floats(-0.49, 1.48)] * 3))
@settings(max_examples=60, deadline=None)
def test_a_place_is_the_voxel_that_itk_says(volume: tuple[sitk.Image, Grid], inside: tuple[float, ...]) -> None:
    image, grid = volume
    index = np.clip(np.multiply(inside, np.subtract(grid.shape, 1)), -0.49, np.subtract(grid.shape, 0.51))
    x, y, z = image.TransformContinuousIndexToPhysicalPoint(index.tolist())
    near = abs(index - np.floor(index) - 0.5).min() > 1e-6  # between two voxels either is right
    if near:
        assert grid.voxel((-x, -y, z)) == list(image.TransformPhysicalPointToIndex((x, y, z)))
        assert grid.nearest((-x, -y, z)) == grid.voxel((-x, -y, z))
    np.testing.assert_allclose(grid.ras(index), (-x, -y, z), atol=1e-6)
    assert grid.voxel_ml == pytest.approx(np.prod(image.GetSpacing()) / 1000)


@given(volumes(), st.tuples(*[st.floats(1.1, 50)] * 3), st.tuples(*[st.booleans()] * 3))
@settings(max_examples=30, deadline=None)
def test_a_place_outside_is_refused(
    volume: tuple[sitk.Image, Grid], beyond: tuple[float, ...], below: tuple[bool, ...]
) -> None:
    _, grid = volume
    ends = np.subtract(grid.shape, 1)
    place = grid.ras(np.where(below, -np.array(beyond), ends + beyond))
    with pytest.raises(MimoError, match="outside the volume"):
        grid.voxel(place)
    assert grid.nearest(place) == np.where(below, 0, ends).tolist()


@given(volumes(), st.tuples(*[st.floats(-3, 11)] * 6))
@settings(max_examples=60, deadline=None)
def test_a_box_holds_the_voxels_whose_middles_it_holds(
    volume: tuple[sitk.Image, Grid], ends: tuple[float, ...]
) -> None:
    _, grid = volume
    low, high = np.minimum(ends[:3], ends[3:]), np.maximum(ends[:3], ends[3:])
    if np.abs([*low - np.rint(low), *high - np.rint(high)]).min() < 1e-4:
        return  # an edge on a middle
    held = [v for v in itertools.product(*map(range, grid.shape)) if (low <= v).all() and (v <= high).all()]
    corners = [grid.ras(np.where(c, high, low)) for c in np.ndindex(2, 2, 2)]
    if held:
        box = grid.box(corners)
        assert box == [*np.min(held, axis=0), *np.max(held, axis=0) + 1]
        assert len(held) == np.prod(np.subtract(box[3:], box[:3]))
    elif (np.ceil(low) <= np.floor(high)).all():  # it holds middles, but none of the volume's
        with pytest.raises(MimoError, match="outside the volume"):
            grid.box(corners)


def test_a_flat_box_is_one_voxel_thick() -> None:
    grid = Grid((9, 9, 9), np.diag([1.0, 2, 3, 1]))
    assert grid.box([grid.ras((2, 2, 4.3)), grid.ras((6, 5, 4.3))]) == [2, 2, 4, 7, 6, 5]


@given(st.tuples(*[st.floats(0.5, 50)] * 3), volumes())
@settings(max_examples=30, deadline=None)
def test_corners_tell_the_box(size: tuple[float, ...], volume: tuple[sitk.Image, Grid]) -> None:
    box_to_ras = volume[1].affine / [*np.linalg.norm(volume[1].affine[:3, :3], axis=0), 1]
    corners = box_corners(size, box_to_ras)
    found, matrix = box_of(corners)
    np.testing.assert_allclose(found, size, rtol=1e-6)
    np.testing.assert_allclose(matrix, box_to_ras, atol=1e-6)


@given(volumes(), st.tuples(*[st.floats(-100, 100)] * 3))
@settings(max_examples=30, deadline=None)
def test_three_views_meet_in_a_point(volume: tuple[sitk.Image, Grid], point: tuple[float, ...]) -> None:
    """Whichever place of its plane a view has in its middle."""
    _, grid = volume
    views = []
    for axis in range(3):
        view = grid.affine[:, [*np.roll([0, 1, 2], 2 - axis), 3]].copy()
        view[:3, 3] = np.array(point) + view[:3, 0] * 3 - view[:3, 1]
        views.append(view)
    np.testing.assert_allclose(common_point(views), point, atol=1e-6)
    assert common_point([views[0], views[0], views[1]]) is None
    assert common_point(views[:2]) is None


@given(volumes(), st.sampled_from(["uint8", "uint16", "int16", "float32"]), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_what_is_written_lies_where_itk_reads_it(volume: tuple[sitk.Image, Grid], kind: str, seed: int) -> None:
    import tempfile

    image, grid = volume
    voxels = np.random.default_rng(seed).integers(0, 200, grid.shape).astype(kind)
    data = nrrd.write(voxels, grid)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "volume.nrrd"
        file.write_bytes(data)
        read = sitk.ReadImage(str(file))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read).T, voxels)
    for corner in np.ndindex(2, 2, 2):
        index = [int(c * (n - 1)) for c, n in zip(corner, grid.shape)]
        there, here = read.TransformIndexToPhysicalPoint(index), image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(there, here, atol=1e-4)
    if kind.startswith("uint"):
        back, where = nrrd.read(data)
        np.testing.assert_array_equal(back, voxels)
        assert where.same(grid)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_what_itk_writes_is_read(tmp_path: Path, compressed: bool, kind: type) -> None:
    voxels = np.arange(4 * 3 * 2).reshape(4, 3, 2).astype(kind)
    image = sitk.GetImageFromArray(voxels.T)
    image.SetOrigin((1, 2, 3))
    image.SetSpacing((0.5, 2, 3))
    sitk.WriteImage(image, str(tmp_path / "label.nrrd"), compressed)
    labels, grid = nrrd.read((tmp_path / "label.nrrd").read_bytes())
    np.testing.assert_array_equal(labels, voxels)
    assert grid.same(Grid((4, 3, 2), LPS @ [[0.5, 0, 0, 1], [0, 2, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]]))


def test_a_label_in_ras_lies_where_pynrrd_says(tmp_path: Path) -> None:
    header = {"space": "right-anterior-superior", "space directions": np.diag([1, 2, 3]), "space origin": [4, 5, 6]}
    pynrrd.write(str(tmp_path / "label.nrrd"), np.ones((2, 3, 4), np.uint8), header, index_order="F")
    _, grid = nrrd.read((tmp_path / "label.nrrd").read_bytes())
    assert grid.ras((1, 1, 1)) == [5, 7, 9]


@pytest.mark.parametrize("cut", [0, 3, 40, 200, -5])
def test_a_label_that_is_none_is_refused(cut: int) -> None:
    data = nrrd.write(np.ones((3, 3, 3), np.uint8), Grid((3, 3, 3), np.eye(4)))
    with pytest.raises(MimoError, match="label map"):
        nrrd.read(data[:cut])
    with pytest.raises(MimoError, match="label map"):
        nrrd.read(io.BytesIO(b"\x1f\x8b" + data).read())


def test_colours_cannot_be_sent() -> None:
    with pytest.raises(MimoError, match="no colours"):
        nrrd.write(np.zeros((2, 2, 2, 3), np.uint8), Grid((2, 2, 2), np.eye(4)))


def test_a_volume_without_extent_is_refused() -> None:
    with pytest.raises(MimoError, match="span a space"):
        Grid((3, 3, 3), np.diag([1.0, 1, 0, 1]))


@pytest.mark.parametrize(("moved", "same"), [(0.0, True), (0.05, True), (0.3, False)])
def test_grids_are_the_same_within_a_tenth_of_a_voxel(moved: float, same: bool) -> None:
    affine = np.diag([1.0, 1, 1, 1])
    affine[0, 3] = moved
    assert Grid((4, 4, 4), np.eye(4)).same(Grid((4, 4, 4), affine)) is same
    assert not Grid((4, 4, 4), np.eye(4)).same(Grid((4, 4, 5), np.eye(4)))
