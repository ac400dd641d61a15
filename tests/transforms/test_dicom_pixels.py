"""Values and colours of DICOM files, each beside what pydicom or numpy makes of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

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
