"""Compressed DICOM, as GDCM, Pillow and pydicom write it: the values that were compressed, or one error that names the codec."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless

from monai_mimo.errors import InputError
from monai_mimo.transforms import dicom_pixels
from monai_mimo.transforms.reading import read_grid

from .dicom_files import dicom_file, save, sequence
from .test_dicom_pixels import compressed

RNG = np.random.default_rng(5)
SHAPE = (32, 40)
SMOOTH = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)).resize(SHAPE[::-1], Image.Resampling.BILINEAR)
)
EXACT = (
    "JPEGLosslessProcess14",
    "JPEGLosslessProcess14_1",
    "JPEGLSLossless",
    "JPEGLSNearLossless",  # GDCM allows no error in it
    "JPEG2000Lossless",
    "RLELossless",
)
LOSSY = ("JPEG2000", "JPEGExtendedProcess2_4")


def recode(path: Path, codec: str) -> None:
    """Compress a file in its place, by GDCM."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, codec)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_compressed


@pytest.mark.parametrize(
    ("low", "high", "dtype", "stored"),
    [
        (0, 256, np.uint8, 8),
        (-128, 128, np.int8, 8),
        (0, 4096, np.uint16, 12),
        (-2048, 2048, np.int16, 12),
        (0, 65536, np.uint16, 16),
        (-32768, 32768, np.int16, 16),
    ],
)
def test_each_slice_in_a_codec_of_its_own(tmp_path: Path, low: int, high: int, dtype: Any, stored: int) -> None:
    """One series: its first slice is not compressed, the others are, and each has a slope and an intercept of its own."""
    codecs = [None, *EXACT]
    pixels = RNG.integers(low, high, (len(codecs), *SHAPE)).astype(dtype)
    header = {"BitsStored": stored, "HighBit": stored - 1}
    for number, codec in enumerate(codecs):
        path, scale = tmp_path / f"{number}.dcm", {"RescaleSlope": 1 + number, "RescaleIntercept": -number}
        dicom_file(path, pixels[number], position=(0, 0, 2 * number), **scale, **header)
        if codec is not None:
            recode(path, codec)
    slopes = np.arange(1, 1 + len(codecs))[:, None, None]
    np.testing.assert_array_equal(read_grid(tmp_path).values.T, pixels.astype(np.float32) * slopes - slopes + 1)


def test_colours_in_each_codec(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (len(EXACT), *SHAPE, 3), dtype=np.uint8)
    for number, codec in enumerate(EXACT):
        dicom_file(tmp_path / f"{number}.dcm", pixels[number], position=(0, 0, number))
        recode(tmp_path / f"{number}.dcm", codec)
    np.testing.assert_array_equal(read_grid(tmp_path).values.transpose(2, 1, 0, 3), pixels)


def test_codecs_with_loss(tmp_path: Path) -> None:
    pixels = SMOOTH[..., 0].astype(np.uint16) * 15
    for number, codec in enumerate(LOSSY):
        dicom_file(tmp_path / f"{number}.dcm", pixels, position=(0, 0, number), BitsStored=12, HighBit=11)
        recode(tmp_path / f"{number}.dcm", codec)
    assert abs(read_grid(tmp_path).values.T.astype(int) - pixels).max() < 40


@pytest.mark.parametrize("codec", ["JPEGLSLossless", "JPEGLosslessProcess14_1", "RLELossless"])
def test_frames_of_an_enhanced_file(tmp_path: Path, codec: str) -> None:
    """They lie in another order than they are stored in."""
    pixels, depths = RNG.integers(0, 4000, (4, *SHAPE)).astype(np.uint16), [4.0, 0.0, 6.0, 2.0]
    dicom_file(tmp_path / "a.dcm", pixels, position=None, spacing=(2, 3))
    recode(tmp_path / "a.dcm", codec)
    ds = pydicom.dcmread(tmp_path / "a.dcm")
    ds.PerFrameFunctionalGroupsSequence = pydicom.Sequence(
        sequence(
            PlanePositionSequence=sequence(ImagePositionPatient=[0, 0, depth]),
            PixelValueTransformationSequence=sequence(RescaleSlope=2 + n, RescaleIntercept=n),
        )[0]
        for n, depth in enumerate(depths)
    )
    save(ds, tmp_path / "a.dcm")
    grid = read_grid(tmp_path / "a.dcm")
    order = np.argsort(depths)
    np.testing.assert_array_equal(grid.values.T, pixels[order] * (2.0 + order)[:, None, None] + order[:, None, None])
    np.testing.assert_allclose(np.abs(np.diag(grid.affine)), [3, 2, 2, 1])


def picture(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(("pieces", "table"), [(1, False), (2, False), (3, True)])
@pytest.mark.parametrize("frames", [1, 3])
def test_codestreams_in_pieces(tmp_path: Path, frames: int, pieces: int, table: bool) -> None:
    pixels = RNG.integers(0, 256, (frames, *SHAPE), dtype=np.uint8)
    coded = [picture(frame, "JPEG2000", irreversible=False) for frame in pixels]
    data = encapsulate(coded, fragments_per_frame=pieces, has_bot=table)
    shown = pixels if frames > 1 else pixels[0]
    compressed(tmp_path / "a.dcm", shown, data, JPEG2000Lossless, position=None)
    np.testing.assert_array_equal(read_grid(tmp_path / "a.dcm").values, shown)


@pytest.mark.parametrize("stored", [12, 16])
def test_signed_values_in_an_unsigned_codestream(tmp_path: Path, stored: int) -> None:
    values = RNG.integers(-(2 ** (stored - 1)), 2 ** (stored - 1), SHAPE).astype(np.int16)
    data = encapsulate([picture(values.view(np.uint16) & (2**stored - 1), "JPEG2000", irreversible=False)])
    compressed(tmp_path / "a.dcm", values, data, JPEG2000Lossless, BitsStored=stored, HighBit=stored - 1)
    np.testing.assert_array_equal(read_grid(tmp_path / "a.dcm").values, values)


def test_jpeg_ls_of_another_encoder(tmp_path: Path) -> None:
    pytest.importorskip("pillow_jpls")
    for number, pixels in enumerate((SMOOTH, SMOOTH[..., 0], SMOOTH[..., 1].astype(np.uint16) * 257)):
        path = tmp_path / f"{number}.dcm"
        compressed(path, pixels, encapsulate([picture(pixels, "JPEG-LS")]), JPEGLSLossless)
        np.testing.assert_array_equal(read_grid(path).values, pixels)


def without_segment(jpeg: bytes, marker: int) -> bytes:
    start = jpeg.index(bytes([0xFF, marker]))
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big") :]


def jpegs() -> dict[str, bytes]:
    """All show `SMOOTH`, and say in another way, or not at all, what their colours are."""
    jfif = picture(SMOOTH, "JPEG", quality=98, subsampling=0)
    adobe = picture(SMOOTH, "JPEG", quality=98, keep_rgb=True)
    halved = picture(SMOOTH, "JPEG", quality=98, subsampling=1)
    return {
        "JFIF": jfif,
        "Adobe RGB": adobe,
        "components R, G, B": without_segment(adobe, 0xEE),
        "two tables": without_segment(jfif, 0xE0),
        "halved": without_segment(halved, 0xE0),
    }


def test_a_jpeg_has_its_colours_whatever_the_header_calls_them(tmp_path: Path) -> None:
    truths = []
    for jpeg in jpegs().values():
        with Image.open(io.BytesIO(jpeg)) as opened:
            truth = np.asarray(opened.convert("RGB")).astype(int)
        assert abs(truth - SMOOTH).mean() < 6
        for called in ("RGB", "YBR_FULL", "YBR_FULL_422"):
            header = {"position": (0, 0, len(truths)), "PhotometricInterpretation": called}
            compressed(tmp_path / f"{len(truths)}.dcm", SMOOTH, encapsulate([jpeg]), JPEGBaseline8Bit, **header)
            truths.append(truth)
    shown = read_grid(tmp_path).values.transpose(2, 1, 0, 3)
    assert abs(shown - np.stack(truths)).mean(axis=(1, 2, 3)).max() < 6


@pytest.mark.parametrize("called", ["RGB", "YBR_FULL"])
def test_the_header_tells_colours_that_a_jpeg_does_not(tmp_path: Path, called: str) -> None:
    adobe = picture(SMOOTH, "JPEG", quality=98, keep_rgb=True)
    plain = bytearray(without_segment(adobe, 0xEE))
    frame, scan = plain.index(b"\xff\xc0"), plain.index(b"\xff\xda")
    for component in range(3):
        plain[frame + 10 + 3 * component] = plain[scan + 5 + 2 * component] = component + 1
    compressed(
        tmp_path / "a.dcm", SMOOTH, encapsulate([bytes(plain)]), JPEGBaseline8Bit, PhotometricInterpretation=called
    )
    off = abs(read_grid(tmp_path / "a.dcm").values.astype(int) - SMOOTH).mean()
    assert off < 3 if called == "RGB" else off > 20


@pytest.mark.parametrize(
    ("syntax", "name", "expected"),
    [
        ("1.2.840.10008.1.2.4.100", "MPEG2", "video"),
        ("1.2.840.10008.1.2.4.102", "MPEG-4", "video"),
        ("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000", "pylibjpeg-openjpeg"),
        ("1.2.840.10008.1.2.4.110", "JPEG XL", "convert it"),
        ("1.2.840.10008.1.2.4.999", "1.2.840.10008.1.2.4.999", "DICOM standard"),
    ],
)
def test_codecs_that_are_not_read_are_named(tmp_path: Path, syntax: str, name: str, expected: str) -> None:
    compressed(tmp_path / "a.dcm", SMOOTH, encapsulate([b"0123"]), "1.2.840.10008.1.2.4.100")
    data = (tmp_path / "a.dcm").read_bytes().replace(b"1.2.840.10008.1.2.4.100", syntax.encode(), 1)
    (tmp_path / "a.dcm").write_bytes(data)
    with pytest.raises(InputError) as error:
        read_grid(tmp_path / "a.dcm")
    assert name in error.value.found
    assert expected in error.value.expected


@pytest.mark.parametrize("codec", ["JPEGLSLossless", "JPEGLosslessProcess14_1", "JPEG2000Lossless"])
def test_without_a_decoder_its_package_is_named(tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dicom_file(tmp_path / "a.dcm", RNG.integers(0, 4000, SHAPE).astype(np.uint16))
    recode(tmp_path / "a.dcm", codec)
    for module in ("gdcm", "PIL", "pillow_jpls", "jpeg_ls", "pylibjpeg"):
        (tmp_path / f"{module}.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(dicom_pixels, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install python-gdcm") as error:
        read_grid(tmp_path / "a.dcm")
    assert "JPEG" in error.value.found
