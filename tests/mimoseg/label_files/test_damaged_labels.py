"""1,400 damaged label files: masks, or one error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as pycoco

from monai_mimo.mimoseg.label_files import read_masks
from monai_mimo.mimoseg.sources.cases import Case, Label, Reader, SourceSpec
from monai_mimo.mimoseg.sources.discover import open_source
from monai_mimo.mimoseg.sources.read_case import read_case
from monai_mimo.transforms import MedicalImage

from ...fuzzing import hold

SIZE = (20, 30)
SQUARE = [[3, 4], [12, 4], [12, 15], [3, 15]]
LABELME = {
    "version": "5.5.0",
    "shapes": [
        {"label": "a", "points": SQUARE, "shape_type": "polygon", "group_id": None},
        {"label": "b", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"},
        {"label": "a", "points": [[9, 9], [12, 9]], "shape_type": "circle"},
    ],
    "imageHeight": SIZE[0],
    "imageWidth": SIZE[1],
}
CODE = pycoco.encode(np.asfortranarray(np.eye(*SIZE, dtype=np.uint8)))["counts"].decode()
COCO = {
    "images": [{"id": 1, "file_name": "x/image.png", "height": SIZE[0], "width": SIZE[1]}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[3, 4, 12, 4, 12, 15]], "bbox": [3, 4, 9, 11]},
        {"id": 2, "image_id": 1, "category_id": 2, "segmentation": {"size": list(SIZE), "counts": [100, 50, 450]}},
        {"id": 3, "image_id": 1, "category_id": 2, "segmentation": {"size": list(SIZE), "counts": CODE}},
        {"id": 4, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]},
    ],
    "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
}
XML = "<annotation>{}<imagesize><nrows>20</nrows><ncols>30</ncols></imagesize></annotation>".format(
    "".join(
        f"<object><name>{name}</name><polygon>{''.join(f'<pt><x>{x}</x><y>{y}</y></pt>' for x, y in SQUARE)}</polygon></object>"
        for name in "ab"
    )
)
CSV = "ImageId,EncodedPixels,Class\nimage,1 3 10 5,a\nimage,40 7,b\nother,1 2,a\n"
READERS = {
    "json": Reader("polygons_json"),
    "xml": Reader("polygons_xml"),
    "csv": Reader("rle_csv", None, (("entity", "Class"),), "image"),
}


@pytest.fixture
def image(tmp_path: Path) -> MedicalImage:
    Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(tmp_path / "image.png")
    return MedicalImage.open(tmp_path / "image.png")


@pytest.mark.parametrize("kind", ["json", "xml", "csv"])
def test_text(tmp_path: Path, image: MedicalImage, kind: str) -> None:
    seeds = {
        "json": {"l.json": json.dumps(LABELME), "c.json": json.dumps(COCO)},
        "xml": {"x.xml": XML},
        "csv": {"t.csv": CSV},
    }
    coded = {name: text.encode() for name, text in seeds[kind].items()}

    def read(path: Path) -> None:
        labels = {name: Label(path, name, READERS[kind]) for name in "ab"}
        for masks in read_masks(Case("s", "p", "CT", image.path, labels), image).values():
            assert masks[0].shape == SIZE

    for name, data in coded.items():
        (tmp_path / name).write_bytes(data)
        read(tmp_path / name)
    assert 8 < hold(coded, 500 if kind == "json" else 200, tmp_path, read, text=True) < 480


def test_pictures_of_labels(tmp_path: Path, image: MedicalImage) -> None:
    pixels = np.zeros(SIZE, np.uint8)
    pixels[3:9, 4:12], pixels[12:15, 20:28] = 1, 2
    seeds = {}
    for name, mode in (
        ("p.png", "P"),
        ("l.png", "L"),
        ("a.png", "LA"),
        ("c.png", "RGB"),
        ("t.tif", "L"),
        ("j.jpg", "L"),
    ):
        picture = Image.fromarray(pixels)
        if mode == "P":
            picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        elif mode != "L":
            picture = picture.convert(mode)
        picture.save(tmp_path / name)
        seeds[name] = (tmp_path / name).read_bytes()

    def read(path: Path) -> None:
        for given in ({"x": Label(path, 1), "y": Label(path, 2)}, {"x": Label(path)}, {"x": Label(path, "#ff0000")}):
            for masks in read_masks(Case("s", "p", "CT", image.path, given), image).values():
                assert masks[0].shape == SIZE

    hold(seeds, 300, tmp_path, read)


def test_descriptions_of_sets(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for name in ("p1_a", "p1_b", "p2_a"):
            Image.fromarray(np.full(SIZE, 1, np.uint8)).save(tmp_path / folder / f"{name}.png")
    about = {"modality": "CT", "labels": {"1": "liver", "2": "spleen"}, "patient": "(p[0-9])_"}

    def read(path: Path) -> None:
        for case in open_source(SourceSpec("s", path.parent)).cases:
            list(read_case(case, 1))

    assert 10 < hold({"labels.json": json.dumps(about).encode()}, 200, tmp_path, read, text=True) < 190
