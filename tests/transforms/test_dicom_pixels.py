"""Values and colours of DICOM files, each beside what pydicom or numpy makes of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from monai_mimo.errors import InputError
from monai_mimo.transforms.reading import read_grid

from .dicom_files import dicom_file, save, sequence, series

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 4000, (8, 6)).astype(np.uint16)
COLOUR = np.kron(RNG.integers(0, 256, (4, 3, 3), dtype=np.uint8), np.ones((2, 2, 1), dtype=np.uint8))


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    indices = RNG.integers(0, 4, (8, 6)).astype(np.uint8)
    table = np.array([[0, 0, 0], [255, 0, 0], [10, 200, 30], [1, 2, 250]])
    lookup = {}
    for name, channel in zip(("Red", "Green", "Blue"), table.T):
        lookup[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        lookup[f"{name}PaletteColorLookupTableData"] = (channel.astype("<u2") << 8).tobytes()
    dicom_file(tmp_path / "p.dcm", indices, PhotometricInterpretation="PALETTE COLOR", Modality="US", **lookup)
    np.testing.assert_array_equal(read_grid(tmp_path / "p.dcm").values, table[indices])


def ybr(rgb: np.ndarray) -> np.ndarray:
    """DICOM PS3.3 C.7.6.3.1.2."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    return np.clip(np.rint(rgb @ matrix.T + [0, 128, 128]), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_colours_are_rgb_however_they_are_stored(tmp_path: Path, kind: str, planar: int) -> None:
    if kind == "YBR_FULL_422" and planar:
        pytest.skip("DICOM allows no planes of 422")
    stored = COLOUR if kind == "RGB" else ybr(COLOUR)
    data = (np.moveaxis(stored, 2, 0) if planar else stored).tobytes()
    if kind == "YBR_FULL_422":  # two luminances, and one pair of chrominances for both
        pairs = stored.reshape(-1, 2, 3)
        data = np.stack([pairs[:, 0, 0], pairs[:, 1, 0], pairs[:, 0, 1], pairs[:, 0, 2]], axis=1).tobytes()
    header = {"PhotometricInterpretation": kind, "PlanarConfiguration": planar, "PixelData": data}
    dicom_file(tmp_path / "c.dcm", COLOUR, **header)
    assert abs(read_grid(tmp_path / "c.dcm").values.astype(int) - COLOUR).max() <= 2


def test_monochrome1_is_turned_over(tmp_path: Path) -> None:
    dicom_file(tmp_path / "m.dcm", GREY, PhotometricInterpretation="MONOCHROME1", Modality="DX")
    values = read_grid(tmp_path / "m.dcm").values
    np.testing.assert_array_equal(values, 65535 - GREY.astype(int))
    dicom_file(
        tmp_path / "m.dcm", GREY, PhotometricInterpretation="MONOCHROME1", Modality="CR", BitsStored=12, HighBit=11
    )
    np.testing.assert_array_equal(read_grid(tmp_path / "m.dcm").values, 4095 - GREY.astype(int))


@pytest.mark.parametrize(("signed", "stored"), [(0, 12), (1, 12), (0, 16), (1, 16), (1, 10)])
def test_bits_above_the_values_are_no_part_of_them(tmp_path: Path, signed: int, stored: int) -> None:
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1)) if signed else (0, 2**stored)
    values = RNG.integers(low, high, (8, 6))
    junk = (RNG.integers(0, 16, (8, 6)) << stored) if stored < 16 else 0
    pixels = ((values & (2**stored - 1)) | junk).astype(np.uint16)
    header = {"BitsStored": stored, "HighBit": stored - 1, "PixelRepresentation": signed}
    dicom_file(tmp_path / "b.dcm", pixels, **header)
    np.testing.assert_array_equal(read_grid(tmp_path / "b.dcm").values, values)


@pytest.mark.parametrize("limit", [None, 20])
def test_padding_is_as_dark_as_the_darkest(tmp_path: Path, limit: int | None) -> None:
    folder = series(tmp_path / "s", [0, 1, 2], PixelPaddingValue=0, PixelPaddingRangeLimit=limit, RescaleIntercept=-10)
    for file in folder.iterdir():
        ds = pydicom.dcmread(file)
        pixels = np.full((8, 6), 100, dtype=np.uint16)
        pixels[0], pixels[1] = 0, 15
        ds.PixelData = pixels.tobytes()
        save(ds, file)
    values = read_grid(folder).values[0]  # rows of the first column
    assert set(values[0]) == ({90} if limit else {5})
    assert set(values[1]) == ({90} if limit else {5})
    assert set(values[2]) == {90}


def test_a_modality_lut_is_applied(tmp_path: Path) -> None:
    table = RNG.integers(0, 60000, 4096).astype(np.uint16)
    lut = sequence(LUTDescriptor=[4096, 0, 16], LUTData=table.tobytes(), ModalityLUTType="US")
    dicom_file(tmp_path / "l.dcm", GREY, ModalityLUTSequence=lut)
    np.testing.assert_array_equal(read_grid(tmp_path / "l.dcm").values, table[GREY])


def test_a_voi_lut_of_a_picture_is_applied(tmp_path: Path) -> None:
    table = np.sort(RNG.integers(0, 60000, 4096)).astype(np.uint16)
    lut = sequence(LUTDescriptor=[4096, 0, 16], LUTData=table.tobytes())
    dicom_file(tmp_path / "l.dcm", GREY, VOILUTSequence=lut, Modality="DX")
    np.testing.assert_array_equal(read_grid(tmp_path / "l.dcm").values, table[GREY])


def table(entries: np.ndarray, first: int, bits: int = 16, name: str = "SS") -> pydicom.Sequence:
    """A lookup table whose first entry is for the value `first`."""
    out = sequence(LUTData=entries.tobytes(), ModalityLUTType="US")
    out[0].add_new("LUTDescriptor", name, [len(entries), first, bits])
    return out


@pytest.mark.parametrize(("first", "name"), [(-1000, "SS"), (64536, "US")])
@pytest.mark.parametrize("kind", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_table_for_values_below_zero(tmp_path: Path, kind: str, first: int, name: str) -> None:
    """What is below and above the table gets its ends; the first value is often written as if it were unsigned."""
    pixels = RNG.integers(-1100, 1100, (8, 6)).astype(np.int16)
    entries = RNG.permutation(60000)[:2000].astype("<u2")
    dicom_file(tmp_path / "l.dcm", pixels, Modality="MR", **{kind: table(entries, first, name=name)})
    expected = entries[np.clip(pixels.astype(int) + 1000, 0, 1999)]
    np.testing.assert_array_equal(read_grid(tmp_path / "l.dcm").values, expected)


@pytest.mark.parametrize("first", [-1000, 64536])
def test_a_table_for_rescaled_values(tmp_path: Path, first: int) -> None:
    entries = RNG.permutation(60000)[:6000].astype("<u2")
    header = {"RescaleSlope": 1, "RescaleIntercept": -900, "Modality": "MR"}
    lut = table(entries, first, name="SS" if first < 0 else "US")
    dicom_file(tmp_path / "l.dcm", GREY, VOILUTSequence=lut, **header)
    np.testing.assert_array_equal(read_grid(tmp_path / "l.dcm").values, entries[GREY.astype(int) + 100])


@pytest.mark.parametrize("dtype", ["u1", "<u2"])
@pytest.mark.parametrize("count", [256, 255])
@pytest.mark.parametrize("inverse", [False, True])
def test_a_table_of_bytes(tmp_path: Path, dtype: str, count: int, inverse: bool) -> None:
    pixels = RNG.integers(0, count, (8, 6)).astype(np.uint8)
    entries = RNG.permutation(256)[:count].astype(dtype)
    lut = table(entries, 0, bits=8)
    if len(lut[0].LUTData) % 2:
        lut[0].LUTData += b"\0"
    kind = "MONOCHROME1" if inverse else "MONOCHROME2"
    dicom_file(tmp_path / "l.dcm", pixels, VOILUTSequence=lut, Modality="DX", PhotometricInterpretation=kind)
    expected = entries[pixels].astype(int)
    np.testing.assert_array_equal(read_grid(tmp_path / "l.dcm").values, 255 - expected if inverse else expected)


def test_a_table_that_is_too_short(tmp_path: Path) -> None:
    lut = table(np.arange(10, dtype="<u2"), 0)
    lut[0].LUTDescriptor = [300, 0, 16]
    dicom_file(tmp_path / "l.dcm", GREY, ModalityLUTSequence=lut)
    with pytest.raises(InputError, match="a table of 10 entries; expected 300"):
        read_grid(tmp_path / "l.dcm")


@pytest.mark.parametrize(
    ("bits", "count", "first"), [(8, 256, 0), (16, 4096, 0), (16, 65536, 0), (16, 100, 50), (16, 256, -10)]
)
def test_palettes_of_any_size(tmp_path: Path, bits: int, count: int, first: int) -> None:
    colours = RNG.integers(0, 2**bits, (count, 3))
    low, high, dtype = (-20, 100, np.int8) if first < 0 else (0, 200, np.uint8) if count < 300 else (0, 4000, np.uint16)
    pixels = RNG.integers(low, high, (8, 6)).astype(dtype)
    ds = dicom_file(tmp_path / "p.dcm", pixels, PhotometricInterpretation="PALETTE COLOR")
    for channel in range(3):
        ds.add_new(0x00281101 + channel, "SS" if first < 0 else "US", [count % 65536, first, bits])
        ds.add_new(0x00281201 + channel, "OW", colours[:, channel].astype("u1" if bits == 8 else "<u2").tobytes())
    save(ds, tmp_path / "p.dcm")
    expected = colours[np.clip(pixels.astype(int) - first, 0, count - 1)] >> (bits - 8)
    np.testing.assert_array_equal(read_grid(tmp_path / "p.dcm").values, expected)


def test_a_palette_in_segments(tmp_path: Path) -> None:
    """PS3.3 C.7.9.2: one entry of 0, and then a line up to the last."""
    pixels, lookup = RNG.integers(0, 256, (8, 6)).astype(np.uint8), {}
    for name, top in (("Red", 65535), ("Green", 30000), ("Blue", 0)):
        lookup[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        lookup[f"Segmented{name}PaletteColorLookupTableData"] = np.array([0, 1, 0, 1, 255, top], "<u2").tobytes()
    dicom_file(tmp_path / "p.dcm", pixels, PhotometricInterpretation="PALETTE COLOR", **lookup)
    expected = pixels[..., None] / 255 * [255.99, 30000 / 256, 0]
    assert abs(read_grid(tmp_path / "p.dcm").values - expected).max() < 1.01


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_transfer_syntaxes_without_a_codec(tmp_path: Path, syntax: str, dtype: type) -> None:
    pixels = RNG.integers(0, 200, (7, 5)).astype(dtype)
    ds = dicom_file(tmp_path / "a.dcm", pixels, RescaleIntercept=-3)
    ds.file_meta.TransferSyntaxUID = syntax
    big = syntax == ExplicitVRBigEndian
    data = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB" if pixels.itemsize == 1 and syntax != ImplicitVRLittleEndian else "OW"
    implicit = syntax == ImplicitVRLittleEndian
    if int(pydicom.__version__.split(".")[0]) < 3:
        ds.is_little_endian, ds.is_implicit_VR = not big, implicit
        save(ds, tmp_path / "a.dcm")
    else:
        about = {"little_endian": not big, "implicit_vr": implicit, "force_encoding": True}
        pydicom.dcmwrite(tmp_path / "a.dcm", ds, **about)
    np.testing.assert_array_equal(read_grid(tmp_path / "a.dcm").values, pixels.astype(int) - 3)


def coded(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return encapsulate([stream.getvalue()])


def compressed(path: Path, pixels: np.ndarray, data: bytes, syntax: str, **header: object) -> None:
    ds = dicom_file(path, pixels, **header)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = data
    ds["PixelData"].is_undefined_length = True
    save(ds, path)


def test_compressed_pixels_are_decoded(tmp_path: Path) -> None:
    grey = np.kron(RNG.integers(0, 256, (4, 4), dtype=np.uint8), np.ones((8, 8), dtype=np.uint8))
    compressed(tmp_path / "j.dcm", grey, coded(Image.fromarray(grey), "JPEG", quality=100), JPEGBaseline8Bit)
    assert abs(read_grid(tmp_path / "j.dcm").values.astype(int) - grey).max() <= 3
    compressed(tmp_path / "2.dcm", grey, coded(Image.fromarray(grey), "JPEG2000", irreversible=False), JPEG2000Lossless)
    np.testing.assert_array_equal(read_grid(tmp_path / "2.dcm").values, grey)
    ds = dicom_file(tmp_path / "r.dcm", GREY)
    ds.compress(RLELossless)
    save(ds, tmp_path / "r.dcm")
    np.testing.assert_array_equal(read_grid(tmp_path / "r.dcm").values, GREY)


def test_compressed_colours_are_rgb(tmp_path: Path) -> None:
    colour = np.kron(RNG.integers(0, 256, (2, 2, 3), dtype=np.uint8), np.ones((16, 16, 1), dtype=np.uint8))
    data = coded(Image.fromarray(colour), "JPEG", quality=100, subsampling=0)
    compressed(tmp_path / "j.dcm", colour, data, JPEGBaseline8Bit, PhotometricInterpretation="YBR_FULL_422")
    assert abs(read_grid(tmp_path / "j.dcm").values.astype(int) - colour).mean() <= 3


def test_what_cannot_be_decoded_names_its_codec(tmp_path: Path) -> None:
    compressed(tmp_path / "x.dcm", GREY, encapsulate([b"no codestream"]), JPEGLSLossless)
    with pytest.raises(InputError, match="JPEG-LS"):
        read_grid(tmp_path / "x.dcm")


def test_damaged_files_give_an_answer_or_one_error(tmp_path: Path) -> None:
    """1,700 files with bytes changed or cut off: an answer or an `InputError`, and never another exception."""
    whole = [tmp_path / name for name in ("grey.dcm", "colour.dcm")]
    dicom_file(whole[0], GREY, RescaleSlope=2, RescaleIntercept=-3, PixelPaddingValue=0)
    dicom_file(whole[1], COLOUR, PhotometricInterpretation="YBR_FULL")
    sources = [file.read_bytes() for file in whole]
    rng, answers = np.random.default_rng(7), 0
    broken = tmp_path / "broken.dcm"
    for number in range(1700):
        data = bytearray(sources[number % 2])
        if rng.random() < 0.2:
            data = data[: rng.integers(len(data))]
        for _ in range(rng.integers(1, 6)):
            if len(data) > 140:
                place = int(rng.integers(132, min(len(data), 1200)))
                data[place] = int(rng.integers(256))
        broken.write_bytes(bytes(data))
        try:
            read_grid(broken)
            answers += 1
        except InputError:
            pass
    assert 0 < answers < 1700
