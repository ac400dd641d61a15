"""Outlines in XML and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ...errors import DataError
from ...transforms.medical_image import MedicalImage
from ..cases import Reader
from .coco_file import coco_masks, is_coco
from .masks import Masks
from .outlines import Draw, drawn, size_of
from .shapes import numbers, polygon_mask, shape_mask


def xml_masks(path: Path, reader: Reader, image: MedicalImage, wanted: Sequence[tuple[int | str, ...]]) -> list[Masks]:
    """The outlines of one picture in an XML file; see `OPTIONS` of the catalogue for how elements are named.

    Raises:
        DataError: it is no XML, a coordinate is missing, a name stands for nothing, or it is about a picture of another size.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # of the text, and of its encoding
        raise DataError(path, f"no valid XML ({error})", "outlines") from error
    option = reader.option
    shapes: list[tuple[str, Draw]] = []
    for region in root.iterfind(option("region")):
        places = [
            (_text(path, point, option("x")), _text(path, point, option("y")))
            for point in region.iterfind(option("point"))
        ]
        shapes.append((_text(path, region, option("name")), partial(_polygon, places)))
    declared = size_of(path, root.findtext("imagesize/nrows"), root.findtext("imagesize/ncols"))
    return drawn(path, reader, image, declared, shapes, wanted)


def json_masks(path: Path, reader: Reader, image: MedicalImage, wanted: Sequence[tuple[int | str, ...]]) -> list[Masks]:
    """The shapes of one picture in a JSON file: LabelMe or alike, or COCO, which may hold those of many pictures.

    Raises:
        DataError: it is no JSON, a part is missing, a name or a shape is unknown, or it is about a picture of another size.
    """
    about = _parsed(path, path.stat().st_mtime_ns)
    try:
        if is_coco(about):
            return coco_masks(path, about, reader, image, wanted)
        found = about
        for key in filter(None, reader.option("shapes").split(".")):
            found = found[key]
        shapes: list[tuple[str, Draw]] = []
        for shape in found:
            points = shape[reader.option("points")]
            kind = str(shape.get("shape_type") or "polygon")
            shapes.append((str(shape[reader.option("name")]), partial(_shape, kind, points, shape)))
        declared = None
        if isinstance(about, dict):
            declared = size_of(path, about.get("imageHeight"), about.get("imageWidth"))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataError(path, f"{type(error).__name__}: {error}"[:200], "outlines with a name and points") from error
    return drawn(path, reader, image, declared, shapes, wanted)


@lru_cache(maxsize=2)
def _parsed(path: Path, changed: int) -> Any:
    """A JSON file, read once for the many pictures that it may be about; `changed` is its time."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"no valid JSON ({error})", "outlines") from error


def _shape(kind: str, points: Any, about: Any, size: tuple[int, int]) -> Any:
    return shape_mask(kind, points, size, about)


def _polygon(places: Any, size: tuple[int, int]) -> Any:
    return polygon_mask(numbers(places), size)


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
