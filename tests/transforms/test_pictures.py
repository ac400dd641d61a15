"""Pictures as people have them: what is seen is what a viewer shows, upright and in its colours, or one error."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from monai_mimo.errors import InputError, OutputError
from monai_mimo.transforms import MedicalImage, read_grid
from monai_mimo.transforms.metadata import without_metadata
from monai_mimo.transforms.pictures import encode_png, turn_and_size

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (10, 14, 3), dtype=np.uint8)
GREYS = COLOURS[..., 0]
BITS16 = RNG.integers(0, 4096, (10, 14)).astype(np.uint16)


def exif(turn: int) -> Image.Exif:
    out = Image.Exif()
    out[0x0112], out[0x010F] = turn, "Camera maker"
    out.get_ifd(0x8825)[1] = "N"  # GPS
    return out


def refused(path: Path, *texts: str) -> None:
    with pytest.raises(InputError) as error:
        read_grid(path)
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)
    for text in texts:
        assert text in str(error.value)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_pictures_are_upright(tmp_path: Path, turn: int, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, COLOURS, photometric="rgb", extratags=[(274, "H", 1, turn)])
        seen = np.asarray(Image.open(path))  # PIL turns a TIFF itself
    else:
        Image.fromarray(COLOURS).save(path, exif=exif(turn))
        seen = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    image = MedicalImage.open(path)
    np.testing.assert_array_equal(image.slice(), seen)
    assert (image.grid.turn, image.size) == (turn, seen.shape[:2])
    assert turn_and_size(path) == (turn, (10, 14))
    mask = np.zeros(image.size, np.uint8)
    mask[2, 5] = 1
    image.save_mask(image.to_file_grid({0: mask}), tmp_path / "mask.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "mask.png")), mask)


def test_an_orientation_that_is_none(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=exif(0))
    np.testing.assert_array_equal(MedicalImage.open(tmp_path / "a.png").slice(), COLOURS)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("grey", [False, True])
def test_palettes_are_colours(tmp_path: Path, suffix: str, grey: bool) -> None:
    palette = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
    palette = np.repeat(palette[:, :1], 3, axis=1) if grey else palette
    picture = Image.fromarray(GREYS).convert("P")
    picture.putpalette(palette.tobytes())
    picture.save(tmp_path / f"a{suffix}")
    image = MedicalImage.open(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(image.slice(), np.asarray(Image.open(tmp_path / f"a{suffix}").convert("RGB")))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "PA"])
def test_modes(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(BITS16) if mode == "I;16" else Image.fromarray(COLOURS).convert(mode.replace("PA", "P"))
    if mode in ("LA", "RGBA"):
        picture.putalpha(Image.fromarray(GREYS))
    suffix = ".jpg" if mode in ("CMYK", "YCbCr") else ".png"
    path = tmp_path / f"a{suffix}"
    picture.save(path, **({"transparency": picture.getpixel((3, 3))} if mode == "PA" else {}))
    image = MedicalImage.open(path)
    stored = Image.open(path)
    if mode == "I;16":
        np.testing.assert_array_equal(image.frames[0], BITS16)
    else:
        np.testing.assert_array_equal(image.slice(), np.asarray(stored.convert("RGB")))
    assert any("transparent" in note for note in image.notes) == (mode in ("LA", "RGBA", "PA"))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8", "f2"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_every_type(tmp_path: Path, dtype: str, order: str) -> None:
    values = (RNG.random((9, 7)) * 200 - (100 if dtype[0] in "if" else 0)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=order, photometric="minisblack")
    grid = read_grid(tmp_path / "a.tif")
    np.testing.assert_array_equal(grid.values, values)
    assert grid.values.dtype.isnative
    assert MedicalImage.open(tmp_path / "a.tif").slice().dtype == np.uint8


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2"])
def test_white_is_zero(tmp_path: Path, dtype: str) -> None:
    """Low values are bright: turned over, the brightest value of the type is 0 as it is stored."""
    values = (RNG.random((9, 7)) * 100).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    shown = read_grid(tmp_path / "a.tif").values.astype(np.int64)
    assert shown.dtype.kind == "i"
    np.testing.assert_array_equal(shown + values, np.full(values.shape, shown[0, 0] + int(values[0, 0])))
    least, most = np.unravel_index(values.argmin(), values.shape), np.unravel_index(values.argmax(), values.shape)
    if dtype != "u4":  # windowed in float32, which has no digits to tell 2**32 - 1 from 2**32 - 100
        grey = MedicalImage.open(tmp_path / "a.tif").slice()[..., 0]
        assert grey[least] == grey.max() > grey[most] == grey.min()
    if dtype == "u1":
        np.testing.assert_array_equal(shown, np.asarray(Image.open(tmp_path / "a.tif")))


def test_white_is_zero_has_no_meaning_for_floats(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((4, 5), np.float32), photometric="miniswhite")
    refused(tmp_path / "a.tif", "WhiteIsZero")


PACKED = [
    (packed, mode)
    for packed in ("tiff_lzw", "tiff_adobe_deflate", "packbits")
    for mode in ("1", "L", "RGB", "I;16", "F")
]


@pytest.mark.parametrize(
    ("compression", "mode"), [*PACKED, ("jpeg", "L"), ("jpeg", "RGB"), ("group4", "1"), ("raw", "L"), ("raw", "F")]
)
def test_compressed_tiff(tmp_path: Path, compression: str, mode: str) -> None:
    picture = Image.fromarray(BITS16) if mode == "I;16" else Image.fromarray(COLOURS).convert(mode)
    picture.save(tmp_path / "a.tif", compression=compression)
    image = MedicalImage.open(tmp_path / "a.tif")
    stored = Image.open(tmp_path / "a.tif")
    if mode in ("I;16", "F"):
        np.testing.assert_array_equal(image.frames[0], np.asarray(stored))
    else:
        np.testing.assert_array_equal(image.slice(), np.asarray(stored.convert("RGB")))


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_colours_of_a_tiff(tmp_path: Path, planes: str, dtype: str) -> None:
    values = (RNG.random((9, 7, 3)) * 200).astype(dtype)
    stored = values if planes == "contig" else values.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planes)
    image = MedicalImage.open(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.frames[0], values)
    assert image.slice().shape == (9, 7, 3)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_a_page_is_a_slice(tmp_path: Path, colour: bool, count: int) -> None:
    pages = RNG.integers(0, 256, (count, 9, 7, 3), dtype=np.uint8) if colour else np.stack([BITS16] * count)
    if not colour:
        pages = pages + np.arange(count, dtype=np.uint16)[:, None, None]
    tifffile.imwrite(tmp_path / "a.tiff", pages, photometric="rgb" if colour else "minisblack")
    image = MedicalImage.open(tmp_path / "a.tiff", plane="coronal")  # there is but one way to look at it
    assert (image.n_slices, image.is_volume, image.affine, image.spacing_mm) == (count, True, None, None)
    np.testing.assert_array_equal(image.frames, pages)
    with pytest.raises(InputError, match=f"a slice from 0 to {count - 1}"):
        image.slice()
    mask = np.zeros(image.size, np.uint8)
    mask[3, 2] = 5
    image.save_mask(image.to_file_grid({1: mask}), tmp_path / "mask.tif")
    written = tifffile.imread(tmp_path / "mask.tif")
    assert written.shape == (count, *image.size)
    assert np.argwhere(written).tolist() == [[1, 3, 2]]
    np.testing.assert_array_equal(MedicalImage.open(tmp_path / "mask.tif").frames, written)
    with pytest.raises(OutputError, match="mask of a stack"):
        image.save_mask(written, tmp_path / "mask.nii.gz")


def test_pages_of_other_sizes_and_thumbnails(tmp_path: Path) -> None:
    for flagged in (False, True):
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            file.write(BITS16, photometric="minisblack")
            file.write(BITS16[::2, ::2], photometric="minisblack", subfiletype=int(flagged))
        if flagged:
            np.testing.assert_array_equal(read_grid(tmp_path / "a.tif").values, BITS16)
        else:
            refused(tmp_path / "a.tif", "2 pages of 2 kinds", "pages of one size and kind")


def test_what_is_no_picture(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "five.tif", np.zeros((4, 6, 5), np.uint8), photometric="minisblack", planarconfig="contig"
    )
    refused(tmp_path / "five.tif", "5 samples")
    frames = [Image.fromarray(GREYS), Image.fromarray(GREYS[::-1].copy())]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    refused(tmp_path / "moving.png", "2 frames")
    tifffile.imwrite(tmp_path / "cut.tif", BITS16, photometric="minisblack")
    data = (tmp_path / "cut.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[:-50])
    refused(tmp_path / "cut.tif")


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_more_pixels_than_can_be_meant(tmp_path: Path, name: str) -> None:
    if name == "a.tif":
        tifffile.imwrite(tmp_path / name, BITS16)
        with tifffile.TiffFile(tmp_path / name, mode="r+") as file:
            for tag in ("ImageWidth", "ImageLength"):
                file.pages[0].tags[tag].overwrite(60_000)
    else:
        Image.fromarray(GREYS).save(tmp_path / name)
        data = bytearray((tmp_path / name).read_bytes())
        data[16:24] = struct.pack(">II", 60_000, 60_000)  # of IHDR, and its checksum
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        (tmp_path / name).write_bytes(bytes(data))
    refused(tmp_path / name)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1, "quality": 95}])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_pixels_without_what_is_beside_them(kind: str, options: dict) -> None:
    out = io.BytesIO()
    info = PngInfo()
    info.add_text("Author", "Doctor")
    beside = {"comment": b"Doctor", "icc_profile": b"Doctor"} if kind == "JPEG" else {"pnginfo": info}
    Image.fromarray(COLOURS).save(out, kind, exif=exif(1), **beside, **(options if kind == "JPEG" else {}))
    data = out.getvalue() + b"Doctor after the end"
    plain = without_metadata(data)
    assert plain is not None
    assert b"Doctor" in data
    assert b"Camera maker" in data
    for text in (b"Doctor", b"Camera maker", b"Exif"):
        assert text not in plain
    with Image.open(io.BytesIO(plain)) as image:
        assert not dict(image.getexif())
        np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(data))))
    for cut in (len(plain) // 2, 20, 9, 2):
        assert without_metadata(plain[:cut]) is None
    assert without_metadata(b"BM" + data) is None


def test_a_tiff_palette_of_sixteen_bits(tmp_path: Path) -> None:
    indices, colours = RNG.integers(0, 65536, (9, 7)).astype(np.uint16), RNG.integers(0, 65536, (3, 65536)).astype("u2")
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=colours)
    np.testing.assert_array_equal(read_grid(tmp_path / "a.tif").values, colours.T[indices] >> 8)


@pytest.mark.parametrize("kind", ["palette", "orientation"])
def test_pages_that_are_not_meant_alike(tmp_path: Path, kind: str) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in range(2):
            colours = RNG.integers(0, 65536, (3, 256)).astype("u2")
            about = {"photometric": "palette", "colormap": colours} if kind == "palette" else {}
            extra = [(274, "H", 1, 1 + 2 * page, True)] if kind == "orientation" else []
            file.write(RNG.integers(0, 255, (9, 7)).astype(np.uint8), extratags=extra, **about)
    with pytest.raises(InputError, match="2 pages of 2 kinds"):
        read_grid(tmp_path / "a.tif")


sides = st.integers(1, 40)


@given(st.one_of(arrays(np.uint8, st.tuples(sides, sides)), arrays(np.uint8, st.tuples(sides, sides, st.just(3)))))
def test_pil_reads_what_was_written(pixels: np.ndarray) -> None:
    image = Image.open(io.BytesIO(encode_png(pixels)))
    assert image.mode == ("L" if pixels.ndim == 2 else "RGB")
    np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("view", [np.s_[::-1, ::2], np.s_[:, ::-1]])
def test_views_and_fortran_order(rng: np.random.Generator, view: tuple) -> None:
    pixels = np.asfortranarray(rng.integers(0, 256, (30, 50), dtype=np.uint8))[view]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(pixels)))), pixels)


def test_files_are_no_larger_than_pils(rng: np.random.Generator) -> None:
    smooth = (
        (np.add.outer(np.arange(200), np.arange(150)) / 2 + rng.normal(0, 2, (200, 150))).clip(0, 255).astype(np.uint8)
    )
    buffer = io.BytesIO()
    Image.fromarray(smooth).save(buffer, "PNG", compress_level=1)
    assert len(encode_png(smooth)) < 1.15 * len(buffer.getvalue())
