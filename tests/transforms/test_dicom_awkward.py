"""Kinds of DICOM files that were read wrongly or in part: the true answer, or one error that names the file."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit

from monai_mimo.errors import InputError
from monai_mimo.transforms.reading import read_grid

from .dicom_files import AXIAL, dicom_file, save, sequence, series
from .test_dicom_pixels import coded, compressed, ybr

RNG = np.random.default_rng(3)
SMALL = RNG.integers(0, 200, (8, 6)).astype(np.uint16)
COLOUR = RNG.integers(0, 256, (8, 6, 3), dtype=np.uint8)


def shown(folder: Path, **options: object) -> list[float]:
    """The value of each slice of a `series`."""
    return read_grid(folder, **options).values[0, 0].tolist()


def last_file(folder: Path) -> Path:
    """That of the last slice."""
    return max(folder.iterdir(), key=lambda f: pydicom.dcmread(f).ImagePositionPatient[2])


@pytest.mark.parametrize("kept", [0, 60, 131])
@pytest.mark.parametrize("name", ["cut.dcm", "CUT.DCM", "cut.ima"])
def test_a_cut_file_is_no_missing_slice(tmp_path: Path, kept: int, name: str) -> None:
    """The series would still be regular without it."""
    folder = series(tmp_path / "s", [0, 1, 2, 3])
    last = last_file(folder)
    data = last.read_bytes()[:kept]
    last.unlink()
    (folder / name).write_bytes(data)
    with pytest.raises(InputError, match=name):
        read_grid(folder)


@pytest.mark.parametrize("name", ["a.dcm.gz", "A.IMA.ZIP"])
def test_a_packed_file_is_no_missing_slice(tmp_path: Path, name: str) -> None:
    folder = series(tmp_path / "s", [0, 1, 2, 3])
    last = last_file(folder)
    (folder / name).write_bytes(gzip.compress(last.read_bytes()))
    last.unlink()
    with pytest.raises(InputError, match=name):
        read_grid(folder)


def test_stray_files_and_folders_in_a_series(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", [0, 1, 2, 3])
    for name, data in (
        ("README", b"text"),
        ("Thumbs.db", b""),
        (".DS_Store", b"\0"),
        ("a.png", b"\x89PNG"),
        ("x.json", b"{}"),
    ):
        (folder / name).write_bytes(data)
    series(folder / "inner", [0, 1])
    assert shown(folder) == [0, 1, 2, 3]
    with pytest.raises(InputError, match=r"no DICOM file, but 1 folder \(s\)"):
        read_grid(tmp_path)


@pytest.mark.parametrize("lost", [["PixelData"], ["PixelData", "Rows"], ["Rows"], ["Columns"]])
def test_a_slice_without_pixels_is_no_missing_slice(tmp_path: Path, lost: list[str]) -> None:
    folder = series(tmp_path / "s", [0, 1, 2, 3])
    last = last_file(folder)
    ds = pydicom.dcmread(last)
    for name in lost:
        delattr(ds, name)
    save(ds, last)
    with pytest.raises(InputError, match=last.name):
        read_grid(folder)


@pytest.mark.parametrize("bare", [1, 2, 4])
def test_files_without_a_preamble_are_read(tmp_path: Path, bare: int) -> None:
    folder = series(tmp_path / "s", [0, 1, 2, 3])
    for file in sorted(folder.iterdir())[:bare]:
        file.write_bytes(file.read_bytes()[132:])
    assert shown(folder) == [0, 1, 2, 3]


@pytest.mark.parametrize("modality", ["SEG", "SR", "PR", "RTSTRUCT", "RTDOSE"])
def test_other_objects_in_the_folder_are_no_images(tmp_path: Path, modality: str) -> None:
    folder = series(tmp_path / "s", [0, 1, 2, 3])
    dicom_file(folder / "other.dcm", SMALL, position=(0, 0, 4), series="9", Modality=modality)
    assert shown(folder) == [0, 1, 2, 3]
    for file in folder.iterdir():
        if file.name != "other.dcm":
            file.unlink()
    with pytest.raises(InputError, match=f"no DICOM image, only {modality}"):
        read_grid(folder)


@pytest.mark.parametrize("kind", ["double", "no orientation", "gap"])
def test_a_series_is_chosen_beside_one_that_cannot_be_read(tmp_path: Path, kind: str) -> None:
    folder = series(tmp_path / "s", [0, 1, 2, 3])
    orientation = (0, 0, 0, 0, 0, 0) if kind == "no orientation" else AXIAL
    for number, depth in enumerate([0, 1, 5] if kind == "gap" else [0, 0, 0]):
        dicom_file(folder / f"x{number}.dcm", SMALL, position=(0, 0, depth), orientation=orientation, series="9")
    assert shown(folder, series="1.2.3") == [0, 1, 2, 3]
    with pytest.raises(InputError, match="2 DICOM series"):
        read_grid(folder)
    with pytest.raises(InputError):
        read_grid(folder, series="9")


@pytest.mark.parametrize("jitter", [1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("middle", [0.001, 0.003, 0.7])
def test_directions_and_spacings_that_are_rounded_are_the_same(tmp_path: Path, jitter: float, middle: float) -> None:
    angles = np.arcsin(middle) + jitter * np.array([1, -1, 1, -1])
    folder = tmp_path / "s"
    folder.mkdir()
    for number, angle in enumerate(angles):
        direction = (np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0)
        spacing = [0.70005 * (1 + jitter * (-1) ** number)] * 2
        pixels = np.full((8, 6), number, np.uint16)
        dicom_file(folder / f"{number}.dcm", pixels, position=(0, 0, number), orientation=direction, spacing=spacing)
    assert shown(folder) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("depths", "headers", "stacks"),
    [
        ([0, 1, 2] * 4, {"EchoTime": [1, 1, 1, 2, 2, 2] * 2, "TemporalPositionIdentifier": [1] * 6 + [2] * 6}, 4),
        ([0, 1, 2, 0.3, 1.3, 2.3], {"AcquisitionNumber": [1, 1, 1, 2, 2, 2]}, 2),
        ([0, 1, 2, 10, 11, 12], {"StackID": ["1", "1", "1", "2", "2", "2"]}, 2),
        ([0, 0, 0], {"TriggerTime": [0, 40, 80]}, 3),
    ],
)
def test_stacks_are_told_apart_by_what_makes_them_regular(
    tmp_path: Path, depths: list[float], headers: dict[str, list], stacks: int
) -> None:
    folder = series(tmp_path / "s", depths, **headers)
    with pytest.raises(InputError, match=f"{stacks} stacks of 1 DICOM series"):
        read_grid(folder)
    found = [read_grid(folder, series=n).values for n in range(stacks)]
    assert sorted(v for values in found for v in np.unique(values).tolist()) == list(range(len(depths)))


def test_what_no_header_explains_is_not_divided(tmp_path: Path) -> None:
    times = [f"12000{n}" for n in range(5)]
    with pytest.raises(InputError, match="several of them at 2 mm"):
        read_grid(series(tmp_path / "s", [0, 1, 2, 3, 2], AcquisitionTime=times))


@pytest.mark.parametrize("shift", [30.0, 300.0])
@pytest.mark.parametrize("count", [2, 4])
def test_a_jump_sideways_is_no_tilt(tmp_path: Path, shift: float, count: int) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    for number in range(count):
        dicom_file(folder / f"{number}.dcm", SMALL, position=(number * shift, 0, 2 * number))
    with pytest.raises(InputError, match="sideways"):
        read_grid(folder)


def test_a_mosaic_is_no_slice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mosaic"):
        read_grid(series(tmp_path / "s", [0, 1, 2], ImageType="ORIGINAL\\PRIMARY\\M\\MOSAIC"))


@pytest.mark.parametrize("lost", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_a_slice_without_a_place_is_told(tmp_path: Path, lost: str) -> None:
    folder = series(tmp_path / "s", [0, 1, 2, 3])
    last = last_file(folder)
    ds = pydicom.dcmread(last)
    delattr(ds, lost)
    save(ds, last)
    with pytest.raises(InputError, match=f"1 x 6 x 8 CT without {lost}"):
        read_grid(folder)
    assert shown(folder, series=0) == [0, 1, 2] or shown(folder, series=1) == [0, 1, 2]


@pytest.mark.parametrize("orientation", [(0, 0, 0, 0, 0, 0), (1, 0, 0, 1, 0, 0), None])
def test_a_single_picture_needs_no_place(tmp_path: Path, orientation: tuple | None) -> None:
    dicom_file(tmp_path / "a.dcm", SMALL, orientation=orientation, spacing=(2, 3))
    grid = read_grid(tmp_path / "a.dcm")
    np.testing.assert_array_equal(grid.values, SMALL)
    assert grid.spacing_mm == (2, 3)


def test_pet_keeps_its_values_also_as_monochrome1(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", [0, 1, 2], RescaleSlope=[0.5, 2, 3], Modality="PT")
    for file in folder.iterdir():
        ds = pydicom.dcmread(file)
        ds.PhotometricInterpretation = "MONOCHROME1"
        save(ds, file)
    assert shown(folder) == [0, 2, 6]


def test_values_that_stand_in_the_upper_bits(tmp_path: Path) -> None:
    dicom_file(tmp_path / "a.dcm", SMALL << 4, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(read_grid(tmp_path / "a.dcm").values, SMALL)


def test_large_values_do_not_wrap(tmp_path: Path) -> None:
    pixels = np.full((8, 6), 3_000_000_000, np.uint32)
    dicom_file(tmp_path / "a.dcm", pixels, RescaleSlope=1, RescaleIntercept=-5)
    assert np.unique(read_grid(tmp_path / "a.dcm").values).tolist() == [2_999_999_995]


@pytest.mark.parametrize("modality", ["CT", "PT"])
def test_a_table_for_display_never_changes_quantities(tmp_path: Path, modality: str) -> None:
    lut = sequence(LUTDescriptor=[256, 0, 16], LUTData=np.arange(256, dtype="<u2").tobytes())
    dicom_file(tmp_path / "a.dcm", SMALL, VOILUTSequence=lut, Modality=modality)
    with pytest.raises(InputError, match="VOI LUT"):
        read_grid(tmp_path / "a.dcm")


def test_a_table_for_display_of_a_volume_is_applied(tmp_path: Path) -> None:
    lut = sequence(LUTDescriptor=[4, 0, 16], LUTData=np.array([5, 50, 500, 5000], "<u2").tobytes())
    assert shown(series(tmp_path / "s", [0, 1, 2, 3], VOILUTSequence=lut, Modality="MR")) == [5, 50, 500, 5000]


def test_colours_of_twelve_bits(tmp_path: Path) -> None:
    header = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    data = (COLOUR.astype("<u2") << 4).tobytes()
    dicom_file(tmp_path / "a.dcm", SMALL, PhotometricInterpretation="RGB", **{**header, "PixelData": data})
    np.testing.assert_array_equal(read_grid(tmp_path / "a.dcm").values, COLOUR)


def test_colours_that_are_called_subsampled_and_are_not(tmp_path: Path) -> None:
    dicom_file(tmp_path / "a.dcm", ybr(COLOUR), PhotometricInterpretation="YBR_FULL_422")
    assert abs(read_grid(tmp_path / "a.dcm").values.astype(int) - COLOUR).max() <= 3


def test_a_palette_of_bytes_in_words(tmp_path: Path) -> None:
    table = RNG.integers(0, 256, (256, 3))
    lookup: dict[str, object] = {}
    for name, channel in zip(("Red", "Green", "Blue"), table.T):
        lookup[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        lookup[f"{name}PaletteColorLookupTableData"] = channel.astype("<u2").tobytes()
    pixels = SMALL.astype(np.uint8)
    dicom_file(tmp_path / "a.dcm", pixels, PhotometricInterpretation="PALETTE COLOR", **lookup)
    np.testing.assert_array_equal(read_grid(tmp_path / "a.dcm").values, table[pixels])


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_a_jfif_picture_has_its_colours_whatever_the_header_calls_them(tmp_path: Path, kind: str) -> None:
    smooth = np.asarray(Image.fromarray(COLOUR).resize((32, 32), Image.Resampling.BILINEAR))
    data = coded(Image.fromarray(smooth), "JPEG", quality=98, subsampling=0)
    compressed(tmp_path / "a.dcm", smooth, data, JPEGBaseline8Bit, PhotometricInterpretation=kind)
    assert abs(read_grid(tmp_path / "a.dcm").values.astype(int) - smooth).mean() < 4


def enhanced(path: Path, depths: list[float], *items: dict) -> Dataset:
    """Frame n holds n and has the functional groups `items[n]`."""
    pixels = np.stack([np.full((8, 6), n, np.uint16) for n in range(len(depths))])
    ds = dicom_file(path, pixels, position=None, Modality="MR")
    ds.PerFrameFunctionalGroupsSequence = pydicom.Sequence(
        sequence(PlanePositionSequence=sequence(ImagePositionPatient=[0, 0, depth]), **item)[0]
        for depth, item in zip(depths, items or [{}] * len(depths))
    )
    save(ds, path)
    return ds


def test_frames_that_are_sorted_the_other_way_stay_as_they_are_counted(tmp_path: Path) -> None:
    enhanced(tmp_path / "a.dcm", [6, 4, 2, 0])
    grid = read_grid(tmp_path / "a.dcm")
    assert grid.values[0, 0].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(grid.affine, [[-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -2, 6], [0, 0, 0, 1]])


def test_echoes_of_an_enhanced_file(tmp_path: Path) -> None:
    items = [{"MREchoSequence": sequence(EffectiveEchoTime=10.0 * (1 + n % 2))} for n in range(6)]
    enhanced(tmp_path / "a.dcm", [0, 0, 2, 2, 4, 4], *items)
    with pytest.raises(InputError, match="EffectiveEchoTime 10; 1: 3 x 6 x 8 MR, EffectiveEchoTime 20"):
        read_grid(tmp_path / "a.dcm")
    assert shown(tmp_path / "a.dcm", series=1) == [1, 3, 5]


def test_a_dimension_of_any_kind_tells_stacks_apart(tmp_path: Path) -> None:
    items = [{"FrameContentSequence": sequence(DimensionIndexValues=[1 + n // 3, 1 + n % 3])} for n in range(6)]
    ds = enhanced(tmp_path / "a.dcm", [0, 2, 4] * 2, *items)
    pointers = [sequence(DimensionIndexPointer=tag)[0] for tag in (0x00189079, 0x00200032)]
    ds.DimensionIndexSequence = pydicom.Sequence(pointers)
    save(ds, tmp_path / "a.dcm")
    with pytest.raises(InputError, match="2 stacks"):
        read_grid(tmp_path / "a.dcm")
    assert shown(tmp_path / "a.dcm", series=1) == [3, 4, 5]


@pytest.mark.parametrize("between", [3.0, -3.0])
def test_nuclear_medicine_lies_where_its_detector_says(tmp_path: Path, between: float) -> None:
    pixels = np.stack([np.full((8, 6), n, np.uint16) for n in range(4)])
    header = {"SpacingBetweenSlices": between, "SliceVector": [1, 2, 3, 4], "FrameIncrementPointer": 0x00540080}
    place = sequence(ImagePositionPatient=[1, 2, 5], ImageOrientationPatient=list(AXIAL))
    ds = dicom_file(tmp_path / "a.dcm", pixels, position=None, orientation=None, Modality="NM", **header)
    ds.DetectorInformationSequence = place
    save(ds, tmp_path / "a.dcm")
    grid = read_grid(tmp_path / "a.dcm")
    for k in range(4):
        where = grid.affine @ [0, 0, grid.values[0, 0].tolist().index(k), 1]
        np.testing.assert_allclose(where[:3], [-1, -2, 5 + between * k])
