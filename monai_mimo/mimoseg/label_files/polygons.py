"""Outlines in XML and JSON. A pixel belongs to a polygon when its centre lies inside; the corner of the image is (0, 0)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from pycocotools import mask as coco
from skimage.draw import polygon2mask

from ...errors import DataError
from ...transforms.medical_image import MedicalImage
from ..cases import Reader
from .masks import BoxMasks, Masks


def xml_masks(path: Path, reader: Reader, image: MedicalImage, wanted: Sequence[tuple[int | str, ...]]) -> list[Masks]:
    """The outlines of one picture in an XML file; see `OPTIONS` of the catalogue for how elements are named.

    Raises:
        DataError: it is no XML, or a coordinate is missing.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise DataError(path, f"no valid XML ({error})", "outlines") from error
    option = reader.option
    shapes = []
    for region in root.iterfind(option("region")):
        places = [
            (_text(path, point, option("x")), _text(path, point, option("y")))
            for point in region.iterfind(option("point"))
        ]
        shapes.append((_text(path, region, option("name")), _numbers(path, places)))
    return _filled(path, image, shapes, wanted)


def json_masks(path: Path, reader: Reader, image: MedicalImage, wanted: Sequence[tuple[int | str, ...]]) -> list[Masks]:
    """The outlines of one picture in a JSON file: LabelMe or alike, or COCO, which may hold those of many pictures.

    Raises:
        DataError: it is no JSON, or a part is missing.
    """
    try:
        about = json.loads(path.read_text())
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(path, f"no valid JSON ({error})", "outlines") from error
    if isinstance(about, dict) and {"images", "annotations", "categories"} <= set(about):
        return _coco_masks(path, about, image, wanted)
    try:
        shapes = about
        for key in filter(None, reader.option("shapes").split(".")):
            shapes = shapes[key]
        found = [
            (str(shape[reader.option("name")]), _numbers(path, shape[reader.option("points")])) for shape in shapes
        ]
    except (KeyError, TypeError) as error:
        raise DataError(path, f"no {error}", "outlines with a name and points") from error
    return _filled(path, image, found, wanted)


def polygon_mask(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Corners [n, 2] as (x, y), the centre of the first pixel at (0.5, 0.5) -> bool [h, w]."""
    return polygon2mask(size, points[:, ::-1] - 0.5)


def _coco_masks(
    path: Path, about: dict[str, Any], image: MedicalImage, wanted: Sequence[tuple[int | str, ...]]
) -> list[Masks]:
    numbers = {i["id"] for i in about["images"] if Path(i["file_name"]).name == image.path.name}
    if not numbers:
        raise DataError(path, f"no image {image.path.name!r}", "an entry in images")
    names = {c["id"]: c["name"] for c in about["categories"]}
    masks = [np.zeros(image.size, dtype=bool) for _ in wanted]
    for one in about["annotations"]:
        if one["image_id"] in numbers:
            for mask, group in zip(masks, wanted):
                if not group or names[one["category_id"]] in group:
                    for part in _segmentation(path, one["segmentation"], image.size):
                        mask |= part
    return [BoxMasks(mask[None]) for mask in masks]


def _segmentation(path: Path, segmentation: Any, size: tuple[int, int]) -> Iterator[np.ndarray]:
    if isinstance(segmentation, dict):
        code = coco.frPyObjects(segmentation, *size) if isinstance(segmentation["counts"], list) else segmentation
        mask = coco.decode(code).astype(bool)
        if mask.shape != size:
            raise DataError(path, f"size {list(mask.shape)}", f"{list(size)}")
        yield mask
        return
    for flat in segmentation:
        yield polygon_mask(np.asarray(flat, dtype=float).reshape(-1, 2), size)


def _filled(
    path: Path,
    image: MedicalImage,
    shapes: list[tuple[str, np.ndarray]],
    wanted: Sequence[tuple[int | str, ...]],
) -> list[Masks]:
    if image.is_volume:
        raise DataError(path, f"outlines for the volume {image.path.name}", "a picture")
    masks: list[Masks] = []
    for names in wanted:
        united = np.zeros(image.size, dtype=bool)
        for name, points in shapes:
            if (not names or name in map(str, names)) and len(points) >= 3:
                united |= polygon_mask(points, image.size)
        masks.append(BoxMasks(united[None]))
    return masks


def _numbers(path: Path, points: Any) -> np.ndarray:
    try:
        return np.asarray(points, dtype=float).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise DataError(path, f"points {str(points)[:60]}", "pairs of numbers") from error


def _text(path: Path, element: ElementTree.Element, place: str) -> str:
    """The text of a child, or of an attribute when `place` ends in "@name"."""
    where, _, attribute = place.partition("@")
    found = element.find(where.rstrip("/")) if where.rstrip("/") else element
    text = None if found is None else found.get(attribute) if attribute else found.text
    if text is None:
        raise DataError(
            path, f"no {place} in <{element.tag}>", "a name for each outline and two coordinates for each point"
        )
    return text.strip()
