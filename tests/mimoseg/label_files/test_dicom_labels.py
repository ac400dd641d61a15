"""DICOM SEGs of every kind, drawn here: each segment whole and on its voxels, or one error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixel_data_handlers.util import pack_bits
from pydicom.uid import RLELossless

from monai_mimo.errors import DataError
from monai_mimo.mimoseg.label_files import read_masks
from monai_mimo.mimoseg.sources.cases import Case, Label, Reader
from monai_mimo.phantom.writer import write_series
from monai_mimo.transforms import MedicalImage

from ...fuzzing import hold
from ...transforms.dicom_files import dicom_file, save, sequence

SHAPE = (9, 7, 5)  # of the image, [column, row, slice]
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
RNG = np.random.default_rng(4)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    affine = np.array([[-2.0, 0, 0, 5], [0, -1.5, 0, 6], [0, 0, 3, -7], [0, 0, 0, 1]])
    write_series(tmp_path / "ct", RNG.integers(-500, 500, SHAPE), affine, "P", 0)
    return tmp_path / "ct"


def write_seg(
    path: Path,
    segments: Mapping[str, np.ndarray],
    kind: str = "BINARY",
    flipped: bool = False,
    greatest: int = 255,
    dtype: Any = np.uint8,
) -> Dataset:
    """A SEG of values [column, row, slice] on the voxels of `image`, with a frame for each slice that is not empty, in random
    order. A label map has the segments in one frame, of which the later ones count.

    Args:
        flipped: rows and columns of the frames run the other way.
    """
    planes: list[tuple[int, int, np.ndarray]] = []
    for number, values in enumerate(segments.values(), start=1):
        planes += [(number, k, values[:, :, k].T) for k in range(SHAPE[2]) if values[:, :, k].any()]
    if kind == "LABELMAP":
        united = np.zeros(SHAPE, dtype)
        for number, values in enumerate(segments.values(), start=1):
            united[values > 0] = number
        planes = [(0, k, united[:, :, k].T) for k in range(SHAPE[2])]
    planes = [planes[n] for n in RNG.permutation(len(planes))]
    frames = np.stack([plane[::-1, ::-1] if flipped else plane for _, _, plane in planes]).astype(dtype)
    orientation = [-1, 0, 0, 0, -1, 0] if flipped else [1, 0, 0, 0, 1, 0]
    first = [-5 + 2 * (SHAPE[0] - 1), -6 + 1.5 * (SHAPE[1] - 1)] if flipped else [-5, -6]
    groups = []
    for number, k, _ in planes:
        [group] = sequence(PlanePositionSequence=sequence(ImagePositionPatient=[*first, -7 + 3 * k]))
        if number:
            group.SegmentIdentificationSequence = sequence(ReferencedSegmentNumber=number)
        groups.append(group)
    ds = dicom_file(path, frames, Modality="SEG", position=None, orientation=None, spacing=None)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SEG
    ds.SegmentationType, ds.MaximumFractionalValue = kind, greatest
    ds.SegmentSequence = pydicom.Sequence(
        sequence(SegmentNumber=number, SegmentLabel=name)[0] for number, name in enumerate(segments, start=1)
    )
    ds.SharedFunctionalGroupsSequence = sequence(
        PixelMeasuresSequence=sequence(PixelSpacing=[1.5, 2]),
        PlaneOrientationSequence=sequence(ImageOrientationPatient=orientation),
    )
    ds.PerFrameFunctionalGroupsSequence = pydicom.Sequence(groups)
    if kind == "BINARY":
        ds.BitsAllocated = ds.BitsStored = 1
        ds.HighBit = 0
        bits = pack_bits((frames > 0).astype(np.uint8).ravel())
        ds.PixelData = bits + b"\0" * (len(bits) % 2)
    save(ds, path)
    return ds


def blocks(*places: Sequence[int]) -> dict[str, np.ndarray]:
    """A block at each place (x0, x1, y0, y1, z0, z1), called a, b, ..."""
    out = {}
    for name, (x0, x1, y0, y1, z0, z1) in zip("abcdef", places):
        out[name] = np.zeros(SHAPE, np.uint8)
        out[name][x0:x1, y0:y1, z0:z1] = 1
    return out


OVERLAPPING = [
    blocks((1, 6, 1, 5, 0, 3), (4, 8, 3, 6, 1, 4)),  # partly
    blocks((1, 8, 1, 6, 0, 5), (3, 5, 2, 4, 1, 3)),  # one in the other
    blocks((1, 6, 1, 5, 0, 3), (1, 6, 1, 5, 0, 3), (5, 7, 4, 6, 2, 5)),  # two alike, and a third
    blocks((2, 4, 2, 4, 1, 2)),
]


def read(image: Path, seg: Path, *names: str | int) -> dict[str, np.ndarray]:
    labels = {str(name): Label(seg, name, Reader("dicom_seg")) for name in names}
    opened = MedicalImage.open(image)
    found = read_masks(Case("s", "p", "CT", image, labels), opened)
    return {name: np.stack([masks[n] for n in range(opened.n_slices)]) for name, masks in found.items()}


def check(image: Path, seg: Path, expected: Mapping[str, np.ndarray]) -> None:
    found, display = read(image, seg, *expected), MedicalImage.open(image).to_display
    for name, mask in expected.items():
        np.testing.assert_array_equal(found[name], display(mask > 0))


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("segments", OVERLAPPING)
def test_segments_that_overlap_are_whole(tmp_path: Path, image: Path, segments: dict, flipped: bool) -> None:
    write_seg(tmp_path / "seg.dcm", segments, flipped=flipped)
    check(image, tmp_path / "seg.dcm", segments)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("greatest", [255, 100, 1])
@pytest.mark.parametrize("segments", OVERLAPPING[:3])
def test_fractional_segments_are_cut_at_a_half(
    tmp_path: Path, image: Path, segments: dict, greatest: int, packed: bool
) -> None:
    """Values just below the half are outside, and from there on inside, whatever else there is."""
    half = -(-greatest // 2)
    values = {}
    for name, mask in segments.items():
        inside, outside = RNG.integers(half, greatest + 1, SHAPE), RNG.integers(0, half, SHAPE)
        values[name] = np.where(mask > 0, inside, outside)
    ds = write_seg(tmp_path / "seg.dcm", values, "FRACTIONAL", greatest=greatest)
    if packed:
        ds.compress(RLELossless, encoding_plugin="pydicom")  # GDCM ends the process where frames are odd
        save(ds, tmp_path / "seg.dcm")
    check(image, tmp_path / "seg.dcm", segments)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("flipped", [False, True])
def test_label_maps(tmp_path: Path, image: Path, dtype: type, flipped: bool) -> None:
    segments = blocks((1, 3, 1, 5, 0, 3), (4, 8, 3, 6, 1, 4), (3, 4, 0, 2, 2, 5))
    write_seg(tmp_path / "seg.dcm", segments, "LABELMAP", flipped, dtype=dtype)
    check(image, tmp_path / "seg.dcm", segments)


def test_two_segments_of_one_name_are_united_and_told_apart_by_number(tmp_path: Path, image: Path) -> None:
    segments = OVERLAPPING[0]
    ds = write_seg(tmp_path / "seg.dcm", segments)
    ds.SegmentSequence[1].SegmentLabel = "A"
    save(ds, tmp_path / "seg.dcm")
    check(image, tmp_path / "seg.dcm", {"a": segments["a"] | segments["b"]})
    found = read(image, tmp_path / "seg.dcm", 2)["2"]
    np.testing.assert_array_equal(found, MedicalImage.open(image).to_display(segments["b"] > 0))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            lambda ds: setattr(ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0], "PixelSpacing", [3, 4]),
            "beside",
        ),
        (lambda ds: delattr(ds, "SegmentSequence"), "SegmentSequence"),
        (lambda ds: ds.PerFrameFunctionalGroupsSequence.pop(), "headers of frames"),
        (lambda ds: delattr(ds, "PixelData"), "without pixels"),
        (lambda ds: setattr(ds, "PixelData", b"\0\0"), "truncated"),
        (lambda ds: delattr(ds, "SharedFunctionalGroupsSequence"), "SharedFunctionalGroupsSequence|PlaneOrientation"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, image: Path, change: Any, found: str) -> None:
    ds = write_seg(tmp_path / "seg.dcm", OVERLAPPING[0])
    change(ds)
    save(ds, tmp_path / "seg.dcm")
    with pytest.raises(Exception, match=found) as error:
        read(image, tmp_path / "seg.dcm", "a")
    assert type(error.value).__name__ in ("InputError", "DataError")
    assert "seg.dcm" in str(error.value)


def test_frames_without_a_place_have_no_segments(tmp_path: Path) -> None:
    dicom_file(tmp_path / "us.dcm", np.zeros((5, 7, 9), np.uint8), position=None, orientation=None, Modality="US")
    write_seg(tmp_path / "seg.dcm", OVERLAPPING[0])
    with pytest.raises(DataError, match="no place"):
        read(tmp_path / "us.dcm", tmp_path / "seg.dcm", "a")


def test_damaged_segs(tmp_path: Path, image: Path) -> None:
    seeds = {}
    for name, kind in (("binary.dcm", "BINARY"), ("fractional.dcm", "FRACTIONAL"), ("map.dcm", "LABELMAP")):
        ds = write_seg(tmp_path / name, OVERLAPPING[1], kind)
        if kind == "FRACTIONAL":
            ds.compress(RLELossless, encoding_plugin="pydicom")  # GDCM ends the process where frames are odd
            save(ds, tmp_path / name)
        seeds[name] = (tmp_path / name).read_bytes()
    opened = MedicalImage.open(image)

    def look(path: Path) -> None:
        case = Case("s", "p", "CT", image, {"a": Label(path, "a", Reader("dicom_seg"))})
        assert read_masks(case, opened)["a"][0].shape == opened.size

    assert 60 < hold(seeds, 300, tmp_path, look, header=2400) < 290
