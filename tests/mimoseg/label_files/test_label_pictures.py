"""Masks as tools write them: turned or upright, with a palette, alpha, bits, colours, loss, or another affine."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from monai_mimo.errors import DataError
from monai_mimo.mimoseg.label_files import read_masks
from monai_mimo.mimoseg.sources.cases import Case, Label, Reader, SourceSpec
from monai_mimo.mimoseg.sources.discover import open_source
from monai_mimo.mimoseg.sources.read_case import read_case
from monai_mimo.transforms import MedicalImage

SIZE = (100, 120)
SHAPE = np.zeros(SIZE, bool)
SHAPE[30:60, 40:80] = True
OTHER = np.zeros(SIZE, bool)
OTHER[70:90, 10:30] = True


def read(image: Path, labels: dict[str, Label]) -> tuple[dict[str, np.ndarray], str]:
    """entity -> bool [h, w] of the first slice, and the notes."""
    found = read_masks(Case("set", "patient", "CT", image, labels), MedicalImage.open(image))
    return {entity: masks[0] for entity, masks in found.items()}, "; ".join(masks.note for masks in found.values())


def image_of(folder: Path) -> Path:
    Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(folder / "image.png")
    return folder / "image.png"


def mask_of(
    folder: Path, pixels: np.ndarray | Image.Image, name: str = "mask.png", value: object = 255, **save: object
):
    """What the reader makes of a mask for one entity: bool [h, w] and the note."""
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(folder / name, **save)
    found, note = read(image_of(folder), {"x": Label(folder / name, value)})  # type: ignore[arg-type]
    return found["x"], note


def refused(folder: Path, pixels: np.ndarray | Image.Image, text: str, **given: object) -> None:
    with pytest.raises(DataError, match=text) as error:
        mask_of(folder, pixels, **given)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert "mask." in str(error.value)


def rgba(colour: tuple[int, int, int], alpha: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    out = np.zeros((*SIZE, 4), np.uint8)
    out[..., :3] = colour
    if where is not None:
        out[~where, :3] = 0
    out[..., 3] = alpha
    return out


@pytest.mark.parametrize(
    ("colour", "value"),
    [(colour, value) for colour in ((0, 0, 0), (255, 255, 255)) for value in (255, 1, None)] + [((9, 200, 30), None)],
)
def test_a_shape_in_the_alpha_channel(tmp_path: Path, colour: tuple[int, int, int], value: int | None) -> None:
    mask, note = mask_of(tmp_path, rgba(colour, SHAPE * 255), value=value)
    np.testing.assert_array_equal(mask, SHAPE)
    assert "transparent is background" in note


def test_labels_on_a_transparent_background(tmp_path: Path) -> None:
    mask, _ = mask_of(tmp_path, rgba((255,) * 3, (SHAPE | OTHER) * 255, SHAPE))
    np.testing.assert_array_equal(mask, SHAPE)
    grey = Image.fromarray(SHAPE.astype(np.uint8) * 2 + OTHER)
    grey.putalpha(Image.fromarray(((SHAPE | OTHER) * 255).astype(np.uint8)))
    grey.save(tmp_path / "two.png")
    found, _ = read(image_of(tmp_path), {"a": Label(tmp_path / "two.png", 2), "b": Label(tmp_path / "two.png", 1)})
    np.testing.assert_array_equal(found["a"], SHAPE)
    np.testing.assert_array_equal(found["b"], OTHER)


def test_soft_alpha_is_cut_at_its_half(tmp_path: Path) -> None:
    alpha = np.where(SHAPE, 200, np.where(OTHER, 100, 0))
    mask, note = mask_of(tmp_path, rgba((0, 0, 0), alpha))
    np.testing.assert_array_equal(mask, SHAPE)
    assert "cut at an alpha of 128" in note


def test_opaque_alpha_says_nothing(tmp_path: Path) -> None:
    mask, note = mask_of(tmp_path, rgba((255,) * 3, np.full(SIZE, 255), SHAPE))
    np.testing.assert_array_equal(mask, SHAPE)
    assert not note


def test_transparent_everywhere(tmp_path: Path) -> None:
    refused(tmp_path, rgba((255,) * 3, np.zeros(SIZE), SHAPE), "transparent everywhere")


def test_an_alpha_of_one_shape_for_two_labels(tmp_path: Path) -> None:
    Image.fromarray(rgba((0, 0, 0), SHAPE * 255)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="alpha channel alone"):
        read(image_of(tmp_path), {"a": Label(tmp_path / "mask.png", 1), "b": Label(tmp_path / "mask.png", 2)})


@pytest.mark.parametrize("quality", [30, 60, 95])
@pytest.mark.parametrize("value", [255, None])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_mask_stored_as_jpeg(tmp_path: Path, quality: int, value: int | None, mode: str) -> None:
    picture = Image.fromarray((SHAPE * 255).astype(np.uint8)).convert(mode)
    mask, note = mask_of(tmp_path, picture, "mask.jpg", value, quality=quality)
    assert (mask != SHAPE).sum() < 12
    assert "cut at" in note


def test_a_mask_that_was_jpeg_once(tmp_path: Path) -> None:
    Image.fromarray((SHAPE * 255).astype(np.uint8)).save(tmp_path / "once.jpg", quality=40)
    soft = Image.open(tmp_path / "once.jpg")
    for value in (255, None):
        mask, note = mask_of(tmp_path, soft.copy(), value=value)
        assert (mask != SHAPE).sum() < 12
        assert "cut at" in note


def test_an_empty_mask_stored_as_jpeg(tmp_path: Path) -> None:
    assert not mask_of(tmp_path, np.zeros(SIZE, np.uint8), "mask.jpg")[0].any()


def test_numbers_of_objects_are_no_soft_mask(tmp_path: Path) -> None:
    """Of an instance map, all that is not 0 counts."""
    objects = np.zeros(SIZE, np.uint8)
    objects[:50] = np.arange(1, 51)[:, None] * 5
    mask, note = mask_of(tmp_path, objects, value=None)
    np.testing.assert_array_equal(mask, objects > 0)
    assert not note


@pytest.mark.parametrize("value", [1, 3])
def test_loss_hides_small_values(tmp_path: Path, value: int) -> None:
    refused(tmp_path, (SHAPE * value).astype(np.uint8), "stored with loss", name="mask.jpg", value=value)


def test_several_labels_stored_with_loss(tmp_path: Path) -> None:
    pixels = (SHAPE * 255 + OTHER * 128).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mask.jpg")
    with pytest.raises(DataError, match="2 labels in a file that was stored with loss"):
        read(image_of(tmp_path), {"a": Label(tmp_path / "mask.jpg", 255), "b": Label(tmp_path / "mask.jpg", 128)})


def test_indices_of_a_palette(tmp_path: Path) -> None:
    pixels = SHAPE.astype(np.uint8) + np.uint8(2) * OTHER
    picture = Image.fromarray(pixels, "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 255, 255, 255])
    picture.save(tmp_path / "mask.png")
    labels = {"a": Label(tmp_path / "mask.png", 1), "b": Label(tmp_path / "mask.png", 2)}
    found, _ = read(image_of(tmp_path), labels)
    np.testing.assert_array_equal(found["a"], SHAPE)
    np.testing.assert_array_equal(found["b"], OTHER)
    found, _ = read(
        image_of(tmp_path), {"a": Label(tmp_path / "mask.png", "#ff0000"), "b": Label(tmp_path / "mask.png", "#ffffff")}
    )
    np.testing.assert_array_equal(found["a"], SHAPE)
    mask, _ = mask_of(tmp_path, picture, value=None)
    np.testing.assert_array_equal(mask, SHAPE | OTHER)


def test_a_palette_of_greys_that_are_the_values(tmp_path: Path) -> None:
    picture = Image.fromarray(SHAPE.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 255, 255, 255])
    mask, note = mask_of(tmp_path, picture, value=255)
    np.testing.assert_array_equal(mask, SHAPE)
    assert "greys of its palette" in note


def test_a_palette_whose_background_is_not_the_first(tmp_path: Path) -> None:
    picture = Image.fromarray((~SHAPE).astype(np.uint8), "P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    refused(tmp_path, picture, "index 0 is not black", value=None)


@pytest.mark.parametrize("value", [1, 255, None])
@pytest.mark.parametrize("name", ["mask.png", "mask.tif", "mask.bmp"])
def test_one_bit(tmp_path: Path, value: int | None, name: str) -> None:
    mask, _ = mask_of(tmp_path, Image.fromarray(SHAPE), name, value)
    np.testing.assert_array_equal(mask, SHAPE)


def test_white_is_zero(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "mask.tif", np.where(SHAPE, 0, 255).astype(np.uint8), photometric="miniswhite")
    found, _ = read(image_of(tmp_path), {"x": Label(tmp_path / "mask.tif", 255)})
    np.testing.assert_array_equal(found["x"], SHAPE)


@pytest.mark.parametrize(("dtype", "value"), [("u2", 40_000), ("i4", 70_000), ("f4", 3)])
def test_large_values(tmp_path: Path, dtype: str, value: int) -> None:
    tifffile.imwrite(tmp_path / "mask.tif", (SHAPE * value).astype(dtype), photometric="minisblack")
    found, _ = read(image_of(tmp_path), {"x": Label(tmp_path / "mask.tif", value)})
    np.testing.assert_array_equal(found["x"], SHAPE)


def coloured(*colours: tuple[int, int, int]) -> np.ndarray:
    out = np.zeros((*SIZE, 3), np.uint8)
    for shape, colour in zip((SHAPE, OTHER), colours):
        out[shape] = colour
    return out


@pytest.mark.parametrize("off", [0, 3, 12])
def test_colours_near_to_listed_ones(tmp_path: Path, off: int) -> None:
    Image.fromarray(coloured((255 - off, off, 0), (0, off, 250))).save(tmp_path / "mask.png")
    labels = {"a": Label(tmp_path / "mask.png", "#ff0000"), "b": Label(tmp_path / "mask.png", "#0000fa")}
    found, note = read(image_of(tmp_path), labels)
    np.testing.assert_array_equal(found["a"], SHAPE)
    np.testing.assert_array_equal(found["b"], OTHER)
    assert ("near to listed ones" in note) == (off > 0)


@pytest.mark.parametrize("colour", [(255, 40, 0), (20, 20, 0), (0, 255, 0)])
def test_colours_that_are_not_listed(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    text = f"colour #{bytes(colour).hex()}.*it holds .*expected black or one of #ff0000"
    refused(tmp_path, coloured((255, 0, 0), colour), text, value="#ff0000")


def test_a_colour_between_two_listed_ones(tmp_path: Path) -> None:
    Image.fromarray(coloured((250, 0, 0))).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="colour #fa0000"):
        read(image_of(tmp_path), {c: Label(tmp_path / "mask.png", c) for c in ("#ff0000", "#f00000")})


def test_one_colour_where_no_value_was_said(tmp_path: Path) -> None:
    mask, note = mask_of(tmp_path, coloured((200, 10, 10)), value=None)
    np.testing.assert_array_equal(mask, SHAPE)
    assert "#c80a0a" in note
    refused(tmp_path, coloured((200, 10, 10), (0, 0, 9)), "a mask in colour", value=None)
    refused(tmp_path, coloured((200, 10, 10)), "a mask in colour", value=255)


def test_one_colour_stored_with_loss(tmp_path: Path) -> None:
    mask, note = mask_of(tmp_path, coloured((255, 0, 0)), "mask.jpg", "#ff0000", quality=70)
    assert (mask != SHAPE).sum() < 60  # colours have half of the pixels
    assert "with loss" in note
    Image.fromarray(coloured((255, 0, 0), (0, 0, 255))).save(tmp_path / "two.jpg", quality=70)
    with pytest.raises(DataError, match="stored with loss"):
        read(image_of(tmp_path), {c: Label(tmp_path / "two.jpg", c) for c in ("#ff0000", "#0000ff")})


# Turned pictures.


def turned_set(root: Path, turns: list[int], upright: bool, size: tuple[int, int] = SIZE, **about: object) -> Path:
    """Pictures with a bright shape, stored turned, and masks on them as stored or upright, without EXIF."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    shape = np.zeros(size, bool)
    shape[10:50, 20:60] = True
    for number, turn in enumerate(turns):
        exif = Image.Exif()
        exif[0x0112] = turn
        stored = Image.fromarray(np.where(shape, 200, 40).astype(np.uint8)).convert("RGB")
        stored.save(root / "images" / f"c{number}.jpg", exif=exif, quality=95)
        mask = Image.fromarray((shape * 255).astype(np.uint8))
        if upright:
            mask.getexif()[0x0112] = turn
            mask = ImageOps.exif_transpose(mask)
        Image.fromarray(np.asarray(mask)).save(root / "masks" / f"c{number}.png")
    (root / "labels.json").write_text(json.dumps({"modality": "endoscopy", "labels": {"255": "polyp"}, **about}))
    return root


def agree(case: Case) -> bool:
    """Whether a mask lies on what is bright in its image."""
    [shown] = read_case(case, 1)
    image = MedicalImage.open(case.image).slice()[..., 0]
    return bool((shown.masks["polyp"] == (image > 120)).mean() > 0.995)


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("turns", [[6], [8, 5], [6, 3, 8], [7, 2, 4, 1], list(range(1, 9))])
def test_masks_of_either_convention(tmp_path: Path, turns: list[int], upright: bool) -> None:
    """Those that are turned by half or mirrored tell it by the others of their folder."""
    for case in open_source(SourceSpec("s", turned_set(tmp_path / "s", turns, upright))).cases:
        assert agree(case)


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize(("turns", "size"), [([3], SIZE), ([6], (100, 100)), ([2, 4], SIZE)])
def test_a_convention_that_nothing_tells(
    tmp_path: Path, turns: list[int], size: tuple[int, int], upright: bool
) -> None:
    cases = open_source(SourceSpec("s", turned_set(tmp_path / "s", turns, upright, size))).cases
    for case in cases:
        with pytest.raises(DataError, match=r'as stored or upright .*"exif": "stored" or "upright"'):
            list(read_case(case, 1))
    said = turned_set(tmp_path / "said", turns, upright, size, exif="upright" if upright else "stored")
    for case in open_source(SourceSpec("s", said)).cases:
        assert agree(case)


def test_an_empty_mask_lies_anywhere(tmp_path: Path) -> None:
    root = turned_set(tmp_path / "s", [3], False)
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(root / "masks" / "c0.png")
    [case] = open_source(SourceSpec("s", root)).cases
    [shown] = read_case(case, 1)
    assert shown.absent == ["polyp"]


def test_a_mask_with_an_orientation_of_its_own(tmp_path: Path) -> None:
    root = turned_set(tmp_path / "s", [3, 6], False)
    for number, turn in enumerate((3, 6)):
        exif = Image.Exif()
        exif[0x0112] = turn
        file = root / "masks" / f"c{number}.png"
        Image.open(file).copy().save(file, exif=exif)
    for case in open_source(SourceSpec("s", root)).cases:
        assert agree(case)


def test_a_mask_of_another_size(tmp_path: Path) -> None:
    root = turned_set(tmp_path / "s", [6], False)
    Image.fromarray(np.zeros((100, 119), np.uint8)).save(root / "masks" / "c0.png")
    [case] = open_source(SourceSpec("s", root)).cases
    with pytest.raises(DataError, match=r"size \[100, 119\]; expected \[120, 100\] as in c0.jpg"):
        list(read_case(case, 1))


def test_nothing_beside_the_pixels_gets_into_a_set(tmp_path: Path) -> None:
    root = turned_set(tmp_path / "s", [6, 1], False)
    for file in (root / "images").iterdir():
        exif = Image.open(file).getexif()
        exif[0x010F] = "Camera maker"
        Image.open(file).copy().save(file, exif=exif, comment=b"Doctor", quality=95)
    for case in open_source(SourceSpec("s", root)).cases:
        [shown] = read_case(case, 1)
        assert b"Camera maker" in case.image.read_bytes()
        for text in (b"Camera maker", b"Exif", b"Doctor"):
            assert text not in shown.encoded
        assert shown.encoded.startswith(b"\xff\xd8" if case.image.stem == "c1" else b"\x89PNG")


# Label maps of volumes.

AFFINE = np.array([[-2.0, 0, 0, 11], [0, 1.5, 0, -7], [0, 0, 3, 5], [0, 0, 0, 1]])


def volume_mask(folder: Path, labels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, str]:
    """bool on the slices of an image of 12 x 10 x 6 voxels, and the note."""
    values = np.arange(720, dtype=np.int16).reshape(12, 10, 6)
    nib.save(nib.Nifti1Image(values, AFFINE), folder / "image.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), folder / "label.nii.gz")
    image = MedicalImage.open(folder / "image.nii.gz")
    masks = read_masks(Case("s", "p", "CT", folder / "image.nii.gz", {"x": Label(folder / "label.nii.gz", 1)}), image)[
        "x"
    ]
    return np.stack([masks[k] for k in range(6)]), masks.note


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL", "LAS"])
def test_a_label_whose_axes_run_otherwise_is_turned(tmp_path: Path, codes: str) -> None:
    labels = np.zeros((12, 10, 6), np.uint8)
    labels[2, 3, 4] = 1
    turned = nib.Nifti1Image(labels, AFFINE).as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(AFFINE), nib.orientations.axcodes2ornt(codes))
    )
    mask, note = volume_mask(tmp_path, np.asarray(turned.dataobj), turned.affine)
    image = MedicalImage.open(tmp_path / "image.nii.gz")
    assert image.frames[mask].tolist() == [np.ravel_multi_index((2, 3, 4), (12, 10, 6))]
    assert bool(note) == (codes != "LAS")


@pytest.mark.parametrize(
    "change",
    [
        np.eye(4),
        AFFINE + np.eye(4)[:, [0, 1, 2, 3]] * 0.2,
        AFFINE @ np.diag([1, 1, 1.05, 1]),
        AFFINE + np.outer(np.ones(4), [0, 0, 0, 1]),
    ],
)
def test_a_label_of_another_affine(tmp_path: Path, change: np.ndarray) -> None:
    change[3] = (0, 0, 0, 1)
    with pytest.raises(DataError, match=r"voxels up to .* voxels beside those of the image \(another affine\)"):
        volume_mask(tmp_path, np.ones((12, 10, 6), np.uint8), change)


def test_an_affine_that_was_rounded(tmp_path: Path) -> None:
    assert volume_mask(tmp_path, np.ones((12, 10, 6), np.uint8), AFFINE + 1e-4 * np.eye(4)[:, [1, 0, 2, 3]])[0].all()


def test_a_label_without_a_place_for_a_value(tmp_path: Path) -> None:
    labels = np.zeros((12, 10, 6), np.float32)
    labels[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="1 values that are NaN"):
        volume_mask(tmp_path, labels, AFFINE)


def test_pages_of_labels_on_pages(tmp_path: Path) -> None:
    pages = np.stack([SHAPE, OTHER, SHAPE | OTHER]).astype(np.uint8)
    tifffile.imwrite(tmp_path / "image.tif", pages + np.uint8(9), photometric="minisblack")
    tifffile.imwrite(tmp_path / "mask.tif", pages, photometric="minisblack")
    image = MedicalImage.open(tmp_path / "image.tif")
    case = Case("s", "p", "CT", tmp_path / "image.tif", {"x": Label(tmp_path / "mask.tif", 1)})
    masks = read_masks(case, image)["x"]
    np.testing.assert_array_equal(np.stack([masks[k] for k in range(3)]), pages > 0)
    tifffile.imwrite(tmp_path / "mask.tif", pages[:2], photometric="minisblack")
    with pytest.raises(DataError, match=r"size \[2, 100, 120\]"):
        read_masks(case, image)


def test_an_option_that_is_none(tmp_path: Path) -> None:
    Image.fromarray(SHAPE).save(tmp_path / "mask.png")
    reader = Reader(options=(("exif", "sideways"),))
    with pytest.raises(DataError, match="sideways"):
        read(image_of(tmp_path), {"x": Label(tmp_path / "mask.png", 1, reader)})
