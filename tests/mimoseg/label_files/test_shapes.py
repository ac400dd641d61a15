"""Shapes of LabelMe, COCO files and tables: drawn where they are, or one error that lists what is there."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools import mask as pycoco

from monai_mimo.errors import DataError
from monai_mimo.mimoseg.label_files import read_masks
from monai_mimo.mimoseg.sources.cases import Case, Label, Reader, SourceSpec
from monai_mimo.mimoseg.sources.discover import open_source
from monai_mimo.mimoseg.sources.read_case import read_case
from monai_mimo.transforms import MedicalImage

SIZE = (100, 120)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
BOX = (COLUMNS >= 40) & (COLUMNS < 80) & (ROWS >= 30) & (ROWS < 60)
CORNERS = [[40, 30], [80, 30], [80, 60], [40, 60]]


def picture(path: Path, turn: int = 1, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path, exif=exif)
    return path


def masks(
    image: Path, file: Path, *names: str, known: tuple[str, ...] | None = None, **reader: Any
) -> list[np.ndarray]:
    """The mask of each name, bool [h, w]; without a name, that of all."""
    about = Reader("polygons_json", known, tuple(reader.items()))
    labels = {name or "all": Label(file, name or None, about) for name in names or ("",)}
    found = read_masks(Case("s", "p", "endoscopy", image, labels), MedicalImage.open(image))
    return [mask[0] for mask in found.values()]


def labelme(folder: Path, *shapes: dict, size: tuple[int, int] | None = SIZE) -> Path:
    about: dict[str, Any] = {"version": "5.5.0", "shapes": list(shapes), "imagePath": "a.png", "imageData": None}
    if size:
        about |= {"imageHeight": size[0], "imageWidth": size[1]}
    (folder / "a.json").write_text(json.dumps(about))
    return folder / "a.json"


def shape(kind: str | None, points: Any, label: str = "polyp", **more: Any) -> dict:
    return {"label": label, "points": points, **({"shape_type": kind} if kind else {}), **more}


def refused(text: str, image: Path, file: Path, *names: str, **reader: Any) -> None:
    with pytest.raises(DataError, match=text) as error:
        masks(image, file, *(names or ("polyp",)), **reader)
    assert file.name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("polygon", CORNERS),
        (None, CORNERS),
        ("rectangle", [[40, 30], [80, 60]]),
        ("rectangle", [[80, 30], [40, 60]]),
        ("rectangle", [[80, 60], [40, 30]]),
        ("rectangle", CORNERS),
        ("oriented_rectangle", CORNERS),
        ("rotation", CORNERS),
    ],
)
def test_boxes(tmp_path: Path, kind: str | None, points: Any) -> None:
    [mask] = masks(picture(tmp_path / "a.png"), labelme(tmp_path, shape(kind, points)), "polyp")
    np.testing.assert_array_equal(mask, BOX)


@pytest.mark.parametrize("edge", [(70, 45), (50, 65), (62, 61)])
def test_circles(tmp_path: Path, edge: tuple[int, int]) -> None:
    radius2 = (edge[0] - 50) ** 2 + (edge[1] - 45) ** 2
    [mask] = masks(picture(tmp_path / "a.png"), labelme(tmp_path, shape("circle", [[50, 45], edge])), "polyp")
    np.testing.assert_array_equal(mask, radius2 >= (COLUMNS - 50) ** 2 + (ROWS - 45) ** 2)


@pytest.mark.parametrize("turn", [0, 30, 90])
def test_ellipses(tmp_path: Path, turn: float) -> None:
    """Of the centre and the ends of both axes, turned by any angle."""
    angle = np.radians(turn)
    across = np.array([np.cos(angle), np.sin(angle)])
    along = np.array([-np.sin(angle), np.cos(angle)])
    points = [[60, 50], (np.array([60, 50]) + 30 * across).tolist(), (np.array([60, 50]) + 12 * along).tolist()]
    [mask] = masks(picture(tmp_path / "a.png"), labelme(tmp_path, shape("ellipse", points)), "polyp")
    x, y = (
        (COLUMNS - 60) * np.cos(angle) + (ROWS - 50) * np.sin(angle),
        -(COLUMNS - 60) * np.sin(angle) + (ROWS - 50) * np.cos(angle),
    )
    inside = (x / 30) ** 2 + (y / 12) ** 2
    np.testing.assert_array_equal(mask[abs(inside - 1) > 1e-6], (inside <= 1)[abs(inside - 1) > 1e-6])


@pytest.mark.parametrize("place", [(0, 0), (40, 30), (113, 95)])
def test_masks_in_base64(tmp_path: Path, place: tuple[int, int]) -> None:
    drawn = np.random.default_rng(0).random((5, 7)) > 0.5
    out = io.BytesIO()
    Image.fromarray(drawn.astype(np.uint8) * 255).save(out, "PNG")
    x, y = place
    box = [[x, y], [x + 6, y + 4]]
    given = shape("mask", box, mask=base64.b64encode(out.getvalue()).decode())
    [mask] = masks(picture(tmp_path / "a.png"), labelme(tmp_path, given), "polyp")
    expected = np.zeros(SIZE, bool)
    expected[y : y + 5, x : x + 7] = drawn
    np.testing.assert_array_equal(mask, expected)


def test_shapes_of_one_name_are_united(tmp_path: Path) -> None:
    file = labelme(
        tmp_path,
        shape("rectangle", [[0, 0], [9, 9]]),
        shape("circle", [[50, 50], [60, 50]]),
        shape("rectangle", [[0, 0], [3, 3]], "ulcer"),
    )
    polyp, ulcer = masks(picture(tmp_path / "a.png"), file, "polyp", "ulcer")
    assert polyp[:9, :9].all()
    assert polyp[50, 50]
    assert ulcer.sum() == 9


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (shape("line", [[1, 1], [9, 9]]), "shape 'line'"),
        (shape("point", [[1, 1]]), "shape 'point'"),
        (shape("linestrip", CORNERS), "shape 'linestrip'"),
        (shape("blob", CORNERS), "shape 'blob' .known are polygon"),
        (shape("polygon", [[1, 1], [9, 9]]), "polygon of 2 points"),
        (shape("rectangle", [[1, 1]]), "rectangle of 1 points"),
        (shape("circle", [[1, 1]]), "circle of 1 points"),
        (shape("ellipse", [[1, 1], [9, 9]]), "ellipse of 2 points"),
        (shape("ellipse", [[50, 50], [60, 50], [55, 60]]), "ellipse whose points"),
        (shape("mask", [[1, 1], [9, 9]]), "without a box"),
        (shape("mask", [[1, 1], [9, 9]], mask="!!"), "not a picture in base64|Only base64|base64"),
        (shape("polygon", [[1, "a"], [2, 2], [3, 3]]), "not pairs of numbers"),
        (shape("polygon", [[1, None], [2, 2], [3, 3]]), "not places in a picture|not pairs"),
        ({"label": "polyp"}, "KeyError: 'points'"),
        ({"points": CORNERS}, "KeyError: 'label'"),
        ("polyp", "outlines with a name"),
    ],
)
def test_shapes_that_are_not_understood(tmp_path: Path, given: Any, text: str) -> None:
    refused(text, picture(tmp_path / "a.png"), labelme(tmp_path, given))


def test_a_mask_of_another_size_than_its_box(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.fromarray(np.ones((5, 7), np.uint8)).save(out, "PNG")
    coded = base64.b64encode(out.getvalue()).decode()
    image = picture(tmp_path / "a.png")
    refused("5 x 7 pixels in a box", image, labelme(tmp_path, shape("mask", [[1, 1], [9, 9]], mask=coded)))
    refused("beyond the picture", image, labelme(tmp_path, shape("mask", [[118, 1], [124, 5]], mask=coded)))


def test_a_name_that_stands_for_nothing(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    file = labelme(
        tmp_path, shape("rectangle", [[0, 0], [9, 9]], "Polyp"), shape("rectangle", [[0, 0], [9, 9]], "ulcer")
    )
    refused(r"the label 'Polyp' \(it has Polyp, ulcer\); expected only polyp", image, file)
    [mask] = masks(image, file, "ulcer", known=("ulcer", "Polyp"))
    assert mask.sum() == 81
    assert masks(image, file)[0].sum() == 81  # all of them


@pytest.mark.parametrize("size", [(120, 100), (200, 240), (100, 121)])
def test_a_declared_size_that_is_not_the_pictures(tmp_path: Path, size: tuple[int, int]) -> None:
    file = labelme(tmp_path, shape("polygon", CORNERS), size=size)
    refused(rf"size \[{size[0]}, {size[1]}\]; expected \[100, 120\] as in a.png", picture(tmp_path / "a.png"), file)
    file.write_text(json.dumps(coco([entry("a.png", size=size)], [annotation([flat(CORNERS)])])))
    refused(rf"size \[{size[0]}, {size[1]}\]", picture(tmp_path / "a.png"), file)


# COCO.


def coco(images: list[dict], annotations: list[dict], names: tuple[str, ...] = ("polyp", "ulcer")) -> dict:
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def entry(name: str, number: int = 1, size: tuple[int, int] | None = SIZE) -> dict:
    return {"id": number, "file_name": name, **({"height": size[0], "width": size[1]} if size else {})}


def annotation(segmentation: Any = None, image: int = 1, category: int = 1, **more: Any) -> dict:
    given = {} if segmentation is None else {"segmentation": segmentation}
    return {"id": 1, "image_id": image, "category_id": category, **given, **more}


def flat(points: Any) -> list[float]:
    return [value for point in points for value in point]


def write(path: Path, about: Any) -> Path:
    path.write_text(json.dumps(about))
    return path


def test_several_polygons_of_one_annotation(tmp_path: Path) -> None:
    other = [[0, 0], [5, 0], [5, 5], [0, 5]]
    file = write(tmp_path / "c.json", coco([entry("a.png")], [annotation([flat(CORNERS), flat(other)])]))
    [mask] = masks(picture(tmp_path / "a.png"), file, "polyp")
    np.testing.assert_array_equal(mask, BOX | ((COLUMNS < 5) & (ROWS < 5)))


@pytest.mark.parametrize("seed", range(5))
def test_run_length_codes_in_both_forms(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = np.asarray(Image.fromarray(rng.integers(0, 256, (9, 11), dtype=np.uint8)).resize(SIZE[::-1])) > 128
    text = pycoco.encode(np.asfortranarray(drawn))
    runs = np.diff(np.flatnonzero(np.diff(np.r_[-1, drawn.T.ravel().astype(int), -1])))
    counts = ([0] if drawn[0, 0] else []) + runs.tolist()
    for given in ({"size": list(SIZE), "counts": text["counts"].decode()}, {"size": list(SIZE), "counts": counts}):
        file = write(tmp_path / "c.json", coco([entry("a.png")], [annotation(given)]))
        [mask] = masks(picture(tmp_path / "a.png"), file, "polyp")
        np.testing.assert_array_equal(mask, drawn)
        file.unlink()


@pytest.mark.parametrize("segmentation", [None, []])
def test_a_box_alone_is_drawn_and_noted(tmp_path: Path, segmentation: Any) -> None:
    given = annotation(segmentation, bbox=[40, 30, 40, 30])
    file = write(tmp_path / "c.json", coco([entry("a.png")], [given]))
    image = picture(tmp_path / "a.png")
    label = {"polyp": Label(file, "polyp", Reader("polygons_json"))}
    found = read_masks(Case("s", "p", "endoscopy", image, label), MedicalImage.open(image))["polyp"]
    np.testing.assert_array_equal(found[0], BOX)
    assert "1 annotations of a.png are boxes alone" in found.note


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (annotation(), "without segmentation and bbox"),
        (annotation([], bbox=[1, 1, 0, 5]), "a box of 0 x 5"),
        (annotation([[1, 1, 9, 9]]), "polygon of 2 points"),
        (annotation([[1, 1, 9, 9, 5]]), "not pairs of numbers"),
        (annotation({"size": [3, 4], "counts": [12]}), r"size \[3, 4\] on \[100, 120\]"),
        (annotation({"size": list(SIZE), "counts": [5, 6]}), "of 11 pixels"),
        (annotation({"size": list(SIZE), "counts": [-5, 12005]}), "without runs"),
        (annotation({"size": list(SIZE), "counts": "0 0"}), "not COCO's"),
        (annotation({"size": list(SIZE), "counts": "o"}), "cut off"),
        (annotation({"size": list(SIZE)}), "without runs"),
        (annotation([flat(CORNERS)], category=9), "category 9"),
        (annotation([flat(CORNERS)], category=2), r"'ulcer' .it has ulcer"),
        ({"image_id": 1}, "KeyError"),
        (7, "TypeError|AttributeError"),
    ],
)
def test_annotations_that_are_not_understood(tmp_path: Path, given: Any, text: str) -> None:
    refused(text, picture(tmp_path / "a.png"), write(tmp_path / "c.json", coco([entry("a.png")], [given])))


def test_an_image_without_annotations_has_nothing(tmp_path: Path) -> None:
    file = write(tmp_path / "c.json", coco([entry("a.png"), entry("b.png", 2)], [annotation([flat(CORNERS)], 2)]))
    assert not masks(picture(tmp_path / "a.png"), file, "polyp")[0].any()


RECORD = {
    "name": "mine",
    "layouts": [
        {
            "images": "{case}/001.png",
            "patient": "{case}",
            "labels": [
                {"file": "all.json", "kind": "polygons_json", "entities": {"polyp": ["polyp"]}, "ignored": ["ulcer"]}
            ],
        }
    ],
    "series": [{"modality": "endoscopy", "perspectives": [1, 2]}],
}


def folders(root: Path, names: list[str], patients: tuple[str, ...] = ("p1", "p2")) -> list[Case]:
    """ROOT/PATIENT/001.png, and all.json with an outline for each of `names`, one further to the right than the other."""
    for patient in patients:
        picture(root / patient / "001.png")
    boxes = [[[10 * n, 0], [10 * n + 5, 0], [10 * n + 5, 5], [10 * n, 5]] for n in range(len(names))]
    images = [entry(name, number) for number, name in enumerate(names)]
    write(root / "all.json", coco(images, [annotation([flat(box)], number) for number, box in enumerate(boxes)]))
    (root / "mimoseg.yaml").write_text(yaml.safe_dump(RECORD))
    return open_source(SourceSpec("mine", root)).cases


@pytest.mark.parametrize(
    "names",
    [
        ["p1/001.png", "p2/001.png"],
        ["./p1/001.png", "p2\\001.png"],
        ["export/p1/001.png", "/data/export/p2/001.png"],
    ],
)
def test_two_images_of_one_name_go_by_their_folders(tmp_path: Path, names: list[str]) -> None:
    for number, case in enumerate(folders(tmp_path, names)):
        [shown] = read_case(case, 1)
        assert shown.masks["polyp"][:5, 10 * number : 10 * number + 5].all()
        assert shown.masks["polyp"].sum() == 25


@pytest.mark.parametrize(
    "names", [["001.png"], ["p1/001.png"], ["p3/001.png", "p4/001.png"], ["001.png", "p2/001.png"]]
)
def test_an_outline_never_goes_to_another_image(tmp_path: Path, names: list[str]) -> None:
    for case in folders(tmp_path, names):
        if f"{case.patient}/001.png" in names:
            [shown] = read_case(case, 1)
            assert shown.masks["polyp"].sum() == 25
        else:
            with pytest.raises(DataError, match=rf"no image '{case.patient}/001.png' .it has .*001.png"):
                list(read_case(case, 1))


@pytest.mark.parametrize("name", ["train/001.png", "001.png", "x/y/001.png"])
def test_other_folders_of_a_name_that_is_one(tmp_path: Path, name: str) -> None:
    [case] = folders(tmp_path, [name, "other.png"], ("p1",))
    [shown] = read_case(case, 1)
    assert shown.masks["polyp"].sum() == 25


def test_two_entries_for_one_image(tmp_path: Path) -> None:
    [case] = folders(tmp_path, ["a/001.png", "b/001.png"], ("p1",))
    with pytest.raises(DataError, match=r"several images that may be 001\.png: a/001\.png, b/001\.png"):
        list(read_case(case, 1))


# Turned pictures.


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_outlines_on_pictures_that_are_stored_turned(tmp_path: Path, turn: int) -> None:
    """By the size that the file says: upright, or as stored."""
    image = picture(tmp_path / "a.jpg", turn, SIZE)
    upright = MedicalImage.open(image)
    assert upright.size == SIZE[::-1]
    [mask] = masks(image, labelme(tmp_path, shape("polygon", CORNERS), size=SIZE[::-1]), "polyp")
    expected = np.zeros(SIZE[::-1], bool)
    expected[30:60, 40:80] = True
    np.testing.assert_array_equal(mask, expected)
    [mask] = masks(image, labelme(tmp_path, shape("rectangle", [[40, 30], [80, 60]]), size=SIZE), "polyp")
    turned = Image.fromarray(BOX)
    stored = {5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}[turn]
    np.testing.assert_array_equal(mask, np.asarray(turned.transpose(getattr(Image.Transpose, stored))))


@pytest.mark.parametrize(("turn", "size"), [(3, SIZE), (6, None), (2, SIZE)])
def test_outlines_of_which_nothing_tells_how_they_lie(tmp_path: Path, turn: int, size: tuple[int, int] | None) -> None:
    image = picture(tmp_path / "a.jpg", turn)
    file = labelme(tmp_path, shape("polygon", CORNERS), size=size)
    refused("as stored or upright", image, file)
    [stored] = masks(image, file, "polyp", exif="stored")
    [upright] = masks(image, file, "polyp", exif="upright")
    assert upright[30:60, 40:80].all()
    assert stored.sum() == BOX.sum()
    assert not (stored & upright).all()


def test_codes_in_a_table_go_by_what_is_said(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.jpg", 6)
    (tmp_path / "t.csv").write_text("ImageId,EncodedPixels\na,1 3\n")
    label = {"x": Label(tmp_path / "t.csv", None, Reader("rle_csv", key="a"))}
    with pytest.raises(DataError, match="as stored or upright"):
        read_masks(Case("s", "p", "CT", image, label), MedicalImage.open(image))
    label = {"x": Label(tmp_path / "t.csv", None, Reader("rle_csv", None, (("exif", "stored"),), "a"))}
    found = read_masks(Case("s", "p", "CT", image, label), MedicalImage.open(image))["x"][0]
    assert np.argwhere(found).tolist() == [[0, 97], [0, 98], [0, 99]]  # down the first column of the stored pixels


def test_names_in_a_table_must_stand_for_something(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("ImageId,EncodedPixels,Class\na,1 3,nerve\na,5 1,vein\n")
    image = picture(tmp_path / "a.png")
    for known in (None, ("nerve", "vein")):
        label = {"x": Label(tmp_path / "t.csv", "nerve", Reader("rle_csv", known, (("entity", "Class"),), "a"))}
        if known:
            assert read_masks(Case("s", "p", "CT", image, label), MedicalImage.open(image))["x"][0].sum() == 3
        else:
            with pytest.raises(DataError, match=r"the label 'vein' .it has nerve, vein"):
                read_masks(Case("s", "p", "CT", image, label), MedicalImage.open(image))
