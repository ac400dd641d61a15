"""A voxel that is painted, clicked and found again, through the HTTP API, wherever and however the file keeps it.

The stand-in for the model sees slices as the model does and finds what is brightest there, if the click hits it. Where the
reply's voxels lie is read by SimpleITK, which the app does not use.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.orientations import aff2axcodes
from PIL import Image

from monai_mimo.transforms import MedicalImage

from .conftest import BrightSpot, infer
from .make_dicom import write_frames, write_radiograph, write_series

SHAPE = (9, 7, 5)
CORNERS = [(0, 0, 0), (8, 6, 4), (8, 0, 2), (1, 5, 0)]


def affine_of(codes: str, spacing: tuple[float, float, float], oblique: bool) -> np.ndarray:
    """Voxel axes that run towards the directions of `codes`, tilted by about 20 degrees when oblique."""
    linear = np.zeros((3, 3))
    for axis, code in enumerate(codes):
        row = "LRPAIS".index(code) // 2
        linear[row, axis] = spacing[axis] * (1 if code in "RAS" else -1)
    if oblique:
        a, b = np.radians([20, -15])
        x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
        linear = x @ z @ linear
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, (-30.5, 12.25, 7)
    return affine


def painted(voxel: tuple[int, int, int]) -> np.ndarray:
    """Air with noise, and one voxel of bone: the values say CT, so the window does not depend on the other voxels."""
    values = np.random.default_rng(1).integers(-900, -400, SHAPE).astype(np.int16)
    values[voxel] = 1000
    return values


def read(data: bytes, folder: Path, suffix: str) -> sitk.Image:
    file = folder / f"reply{suffix}"
    file.write_bytes(data)
    return sitk.ReadImage(str(file))


def same_grid(a: sitk.Image, b: sitk.Image) -> None:
    """Equal size, and each corner at the same place in the patient."""
    assert a.GetSize() == b.GetSize()
    for corner in np.ndindex(2, 2, 2):
        index = [int(c * (n - 1)) for c, n in zip(corner, a.GetSize())]
        assert np.allclose(a.TransformIndexToPhysicalPoint(index), b.TransformIndexToPhysicalPoint(index), atol=1e-3)


def found(image: sitk.Image) -> list[tuple[int, ...]]:
    """The voxels [i, j, k] that are not 0."""
    return [tuple(map(int, v)) for v in np.argwhere(sitk.GetArrayFromImage(image).T)]


ORIENTATIONS = [
    ("RAS", (1, 1, 4), False),
    ("LPS", (1, 1.5, 4), False),
    ("LAS", (0.5, 0.5, 0.6), True),
    ("RPI", (2, 1, 5), True),
    ("PIR", (1, 1, 3), False),  # sagittal
    ("ASL", (1, 1.2, 3), True),
    ("RIA", (1, 1, 3), True),  # coronal
    ("LSP", (1, 1, 3), False),
    ("SRA", (5, 1, 1), True),  # the thick axis first
    ("IPL", (1, 1, 1), True),
]


@pytest.mark.parametrize(("codes", "spacing", "oblique"), ORIENTATIONS)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_volume(
    start: Callable[..., Any],
    tmp_path: Path,
    codes: str,
    spacing: tuple[float, float, float],
    oblique: bool,
    suffix: str,
) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    affine = affine_of(codes, spacing, oblique)
    assert "".join(aff2axcodes(affine)) == codes
    for number, corner in enumerate(CORNERS):
        nib.save(nib.Nifti1Image(painted(corner), affine), studies / f"case{number}.nii.gz")
    client = start(studies, BrightSpot())
    for number, corner in enumerate(CORNERS):
        source = sitk.ReadImage(str(studies / f"case{number}.nii.gz"))
        for plane in ("auto", ("axial", "coronal", "sagittal")[number % 3]):
            ask = {"foreground": [list(corner)], "plane": plane, "result_extension": suffix}
            said, data = infer(client, "mimo_click", f"case{number}", "all", **ask)
            reply = read(data, tmp_path, suffix)
            same_grid(reply, source)
            assert found(reply) == [corner]
            assert said["entities"][0]["box"] == [*corner, *(v + 1 for v in corner)]
            assert said["entities"][0]["slice"] == said["image"]["slice"] == corner[said["image"]["axis"]]
            assert said["entities"][0]["volume_mm3"] == pytest.approx(np.prod(spacing), abs=1e-3)


@pytest.mark.parametrize(("codes", "axis"), [("RAS", 2), ("PIR", 2), ("RIA", 2), ("SRA", 0)])
def test_plane_of_acquisition(start: Callable[..., Any], tmp_path: Path, codes: str, axis: int) -> None:
    """Slices are cut as they were acquired: across the thick axis."""
    studies = tmp_path / "studies"
    studies.mkdir()
    spacing = tuple(4.0 if a == axis else 1.0 for a in range(3))
    nib.save(nib.Nifti1Image(painted((1, 2, 3)), affine_of(codes, spacing, True)), studies / "case.nii.gz")  # type: ignore[arg-type]
    said = infer(start(studies, BrightSpot()), "mimo_click", "case", foreground=[[1, 2, 3]])
    assert said["image"]["axis"] == axis
    assert said["image"]["plane"] == {"S": "axial", "R": "sagittal", "A": "coronal"}[codes[axis]]


def test_header_is_kept(start: Callable[..., Any], tmp_path: Path) -> None:
    """Both forms of a NIfTI's geometry, also when they differ, come back as they were."""
    studies = tmp_path / "studies"
    studies.mkdir()
    image = nib.Nifti1Image(painted((0, 6, 4)), affine_of("LAS", (1, 1, 4), True))
    image.set_qform(affine_of("LAS", (1, 1, 4), False), 1)
    nib.save(image, studies / "case.nii.gz")
    data = infer(start(studies, BrightSpot()), "mimo_click", "case", "image", foreground=[[0, 6, 4]])
    (tmp_path / "reply.nii.gz").write_bytes(data)
    reply, source = nib.load(tmp_path / "reply.nii.gz"), nib.load(studies / "case.nii.gz")
    assert np.array_equal(reply.get_sform(), source.get_sform())
    assert np.array_equal(reply.get_qform(), source.get_qform())
    assert reply.get_data_dtype() == np.uint8


@pytest.mark.parametrize(
    ("roi", "hit"),
    [([0, 1, 5, 6, 4, 4], True), ([1, 0, 6, 5, 4, 4], True), ([1, 2, 5, 6, 4, 4], False), ([0, 0, 6, 6, 3, 5], None)],
)
def test_roi(start: Callable[..., Any], tmp_path: Path, roi: list[int], hit: bool | None) -> None:
    """Slicer's box: pairs in any order, both ends inside; one that leaves the image is refused."""
    studies = tmp_path / "studies"
    studies.mkdir()
    nib.save(nib.Nifti1Image(painted((0, 6, 4)), affine_of("LPS", (1, 1, 4), True)), studies / "case.nii.gz")
    client = start(studies, BrightSpot())
    if hit is None:
        response = client.post("/infer/mimo_click", params={"image": "case"}, data={"params": f'{{"roi": {roi}}}'})
        assert response.status_code == 400
        assert "k in 0..4" in response.json()["detail"]
    else:
        said = infer(client, "mimo_click", "case", roi=roi)
        assert [e["box"] for e in said["entities"]] == ([[0, 6, 4, 1, 7, 5]] if hit else [])


@pytest.mark.parametrize(
    ("bbox", "slice", "hit"), [([8, 0, 9, 1], 2, True), ([7, 0, 8, 1], 2, False), ([8, 0, 2, 9, 1, 3], None, True)]
)
def test_bbox(start: Callable[..., Any], tmp_path: Path, bbox: list[int], slice: int | None, hit: bool) -> None:
    """The panel's box: its ends are just outside."""
    studies = tmp_path / "studies"
    studies.mkdir()
    nib.save(nib.Nifti1Image(painted((8, 0, 2)), affine_of("RPI", (1, 1, 4), True)), studies / "case.nii.gz")
    said = infer(start(studies, BrightSpot()), "mimo_click", "case", bbox=bbox, slice=slice)
    assert [e["box"] for e in said["entities"]] == ([[8, 0, 2, 9, 1, 3]] if hit else [])


@pytest.mark.parametrize(("codes", "spacing", "oblique"), ORIENTATIONS)
def test_scribbles_and_the_slice_through_a_voxel(
    start: Callable[..., Any], tmp_path: Path, codes: str, spacing: tuple[float, float, float], oblique: bool
) -> None:
    """Painted voxels reach the pixels that show them, whichever axis the slices are cut across."""
    studies = tmp_path / "studies"
    studies.mkdir()
    corner = CORNERS[-1]
    beside = [[0, 0, 0]]
    assert tuple(beside[0]) != corner
    nib.save(nib.Nifti1Image(painted(corner), affine_of(codes, spacing, oblique)), studies / "case.nii.gz")
    client = start(studies, BrightSpot())
    for params, hit in (
        ({"foreground_scribble": [list(corner)]}, True),
        ({"foreground_scribble": beside}, False),
        ({"foreground_scribble": [list(corner)], "background_scribble": beside}, True),
        ({"background_scribble": [list(corner)], "question": "What?"}, False),
        ({"slice": list(corner), "question": "What?"}, True),
    ):
        said = infer(client, "mimo_ask", "case", **params)
        assert [e["box"] for e in said["entities"]] == ([[*corner, *(v + 1 for v in corner)]] if hit else []), params
    said = infer(client, "mimo_click", "case", foreground_scribble=[list(corner)], background_scribble=beside)
    elsewhere = said["image"]["slice"] != beside[0][said["image"]["axis"]]
    assert [w for w in said["warnings"] if "other slices" in w] == (
        ["1 of the prompts lie on other slices and were not used"] if elsewhere else []
    )


@pytest.mark.parametrize("codes", ["LPS", "LAS", "PIR", "PSL", "LIA", "RIP", "LPI"])
@pytest.mark.parametrize("oblique", [False, True])
def test_dicom_series(start: Callable[..., Any], tmp_path: Path, codes: str, oblique: bool) -> None:
    """Files in any order; voxels as ITK counts them, which sorts images along row x column."""
    studies = tmp_path / "studies"
    affine = affine_of(codes, (1, 1.5, 3), oblique)
    corner = (8, 0, 4)
    write_series(studies / "series", painted(corner), affine, np.random.default_rng(2).permutation(SHAPE[2]))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(studies / "series")))
    source = reader.Execute()
    [where] = found(source > 500)
    client = start(studies, BrightSpot())
    reply = read(infer(client, "mimo_click", "series", "image", foreground=[list(where)]), tmp_path, ".nrrd")
    same_grid(reply, source)
    assert found(reply) == [where]
    said = infer(client, "mimo_click", "series", foreground=[list(where)])
    assert said["image"]["axis"] == 2
    assert said["image"]["modality"] == "CT"
    # what 3D Slicer gets as the image has the same voxels
    converted = read(client.get("/datastore/image", params={"image": "series"}).content, tmp_path, ".nii.gz")
    same_grid(converted, source)
    assert found(converted > 500) == [where]


@pytest.mark.parametrize("codes", ["LPS", "PIR", "LIA"])
def test_frames_of_one_file(start: Callable[..., Any], tmp_path: Path, codes: str) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    write_frames(studies / "frames.dcm", painted((8, 0, 3)), affine_of(codes, (1, 1.5, 3), True))
    source = sitk.ReadImage(str(studies / "frames.dcm"))
    [where] = found(source > 500)
    reply = read(
        infer(start(studies, BrightSpot()), "mimo_click", "frames", "image", foreground=[list(where)]),
        tmp_path,
        ".nrrd",
    )
    same_grid(reply, source)
    assert found(reply) == [where]


@pytest.mark.parametrize("inverted", [False, True])
def test_radiograph(start: Callable[..., Any], tmp_path: Path, inverted: bool) -> None:
    """i is the column and j the row; a MONOCHROME1 image is bright where its values are low."""
    studies = tmp_path / "studies"
    studies.mkdir()
    values = np.random.default_rng(1).integers(400, 500, (7, 9)).astype(np.uint16)
    values[6, 2] = 0 if inverted else 4000
    write_radiograph(studies / "chest.dcm", values, inverted)
    client = start(studies, BrightSpot())
    reply = read(infer(client, "mimo_click", "chest", "image", foreground=[[2, 6, 0]]), tmp_path, ".nrrd")
    assert reply.GetSize() == (9, 7, 1)
    assert found(reply) == [(2, 6, 0)]
    assert reply.GetSpacing()[:2] == pytest.approx((0.1, 0.2))
    said = infer(client, "mimo_click", "chest", foreground=[[2, 6]])
    assert said["entities"][0]["box"] == [2, 6, 0, 3, 7, 1]
    assert said["image"] == {"shape": [9, 7, 1], "plane": "axial", "axis": 2, "slice": 0, "modality": "X-ray"}


def test_picture(start: Callable[..., Any], tmp_path: Path) -> None:
    """A PNG comes back as a PNG of the same size."""
    studies = tmp_path / "studies"
    studies.mkdir()
    pixels = np.zeros((7, 9, 3), dtype=np.uint8)
    pixels[6, 2] = 255
    Image.fromarray(pixels).save(studies / "picture.png")
    data = infer(start(studies, BrightSpot()), "mimo_click", "picture", "image", foreground=[[2, 6, 0]])
    labels = np.asarray(Image.open(io.BytesIO(data)))
    assert labels.shape == (7, 9)
    assert np.argwhere(labels).tolist() == [[6, 2]]


def test_prompts_of_other_slices(start: Callable[..., Any], tmp_path: Path) -> None:
    """The last positive point says which slice is meant; the others are named in a warning."""
    studies = tmp_path / "studies"
    studies.mkdir()
    nib.save(nib.Nifti1Image(painted((8, 0, 2)), affine_of("RAS", (1, 1, 4), False)), studies / "case.nii.gz")
    client = start(studies, BrightSpot())
    said = infer(client, "mimo_click", "case", foreground=[[1, 1, 0], [8, 0, 2]], background=[[4, 4, 1], [5, 5, 2]])
    assert said["image"]["slice"] == 2
    assert said["warnings"] == ["2 of the prompts lie on other slices and were not used"]
    assert [e["box"] for e in said["entities"]] == [[8, 0, 2, 9, 1, 3]]


@pytest.mark.parametrize("odd", [True, False])
def test_notes_of_the_reader(start: Callable[..., Any], tmp_path: Path, odd: bool) -> None:
    """What was odd about the file is in the reply, word for word as the reader says it; a plain file has no notes."""
    studies = tmp_path / "studies"
    studies.mkdir()
    image = nib.Nifti1Image(painted((1, 2, 3)), affine_of("RAS", (1, 1, 4), False))
    image.set_qform(image.affine, code=1)
    if odd:
        image.header["srow_x"] = image.header["srow_y"] = image.header["srow_z"] = 0
    path = studies / "case.nii.gz"
    path.write_bytes(gzip.compress(image.header.binaryblock + bytes(4) + image.dataobj.astype("<i2").tobytes("F")))
    said, _ = infer(start(studies, BrightSpot()), "mimo_click", "case", "all", foreground=[[1, 2, 3]])
    assert said["notes"] == MedicalImage.open(path).notes
    assert any("sform" in note for note in said["notes"]) is odd
