"""Outlines in XML and JSON, and COCO files: outlines, run-length codes or boxes of many pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ...errors import DataError
from ...transforms.medical_image import MedicalImage
from ..sources.cases import Reader
from .masks import Masks
from .shapes import DrawShape, as_points, box_mask, drawn, polygon_mask, shape_mask, size_of

SHOWN = 6  # names in a message


def is_coco(about: Any) -> bool:
    """By its parts."""
    return isinstance(about, dict) and {"images", "annotations", "categories"} <= set(about)


def coco_masks(
    path: Path, about: dict[str, Any], reader: Reader, image: MedicalImage, wanted: Sequence[tuple[int | str, ...]]
) -> list[Masks]:
    """The annotations of one picture, which is found by its path.

    Raises:
        DataError: it is not in the file or more than once, has another size there, or an annotation cannot be drawn.
        KeyError, TypeError, ValueError: a part is missing or of the wrong kind.
    """
    name = _entry(path, [str(entry["file_name"]) for entry in about["images"]], reader.key, image.path)
    entries = [entry for entry in about["images"] if str(entry["file_name"]) == name]
    declared = {size_of(path, entry.get("height"), entry.get("width")) for entry in entries}
    if len(declared) > 1:
        raise DataError(path, f"several sizes of {name!r}: {sorted(map(str, declared))}", "one")
    ids = {entry["id"] for entry in entries}
    names = {category["id"]: str(category["name"]) for category in about["categories"]}
    shapes: list[tuple[str, DrawShape]] = []
    boxes = 0
    for one in about["annotations"]:
        if one["image_id"] not in ids:
            continue
        if one["category_id"] not in names:
            raise DataError(path, f"category {one['category_id']}", f"one of {sorted(names)}")
        label, shape = names[one["category_id"]], one.get("segmentation")
        if isinstance(shape, dict):
            shapes.append((label, partial(run_length_mask, shape)))
        elif shape:
            shapes += [(label, partial(_coco_polygon, flat)) for flat in shape]
        else:
            boxes += 1
            shapes.append((label, partial(_box, one.get("bbox"))))
    note = f"{path.name}: {boxes} annotations of {image.path.name} are boxes alone, and drawn as boxes" if boxes else ""
    return drawn(path, reader, image, declared.pop(), shapes, wanted, note)


def run_length_mask(code: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """A run-length code, {"size": [h, w], "counts": a list of runs or COCO's text} -> bool [h, w].

    Raises:
        ValueError: it has another size, or its runs do not fill it.
    """
    if list(code.get("size", ())) != list(size):
        raise ValueError(f"a run-length code of size {code.get('size')} on {list(size)}")
    counts = code.get("counts")
    runs = _text_runs(counts) if isinstance(counts, str | bytes) else counts
    if not isinstance(runs, list) or not all(isinstance(run, int) and run >= 0 for run in runs):
        raise ValueError("a run-length code without runs")
    if sum(runs) != size[0] * size[1]:
        raise ValueError(f"a run-length code of {sum(runs)} pixels on {list(size)}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(size[::-1]).T


def _text_runs(text: str | bytes) -> list[int]:
    """COCO's compressed text: 5 bits in each character from "0" on, the sixth says that more follow; from the third run on, what
    is added to the run two before (pycocotools, rleFrString)."""
    coded = text.encode("ascii", "replace") if isinstance(text, str) else text
    runs: list[int] = []
    value = shift = 0
    for byte in coded:
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("a run-length code that is not COCO's")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("a run-length code that is cut off")
    return runs


def _coco_polygon(flat: Any, size: tuple[int, int]) -> np.ndarray:
    return polygon_mask(as_points(flat), size)


def _box(box: Any, size: tuple[int, int]) -> np.ndarray:
    if box is None:
        raise ValueError("an annotation without segmentation and bbox")
    (x, y), (width, height) = as_points(box)
    if width <= 0 or height <= 0:
        raise ValueError(f"a box of {width:g} x {height:g} pixels")
    return box_mask(x, y, x + width, y + height, size)


def _entry(path: Path, names: list[str], key: str, image: Path) -> str:
    """The file name in the COCO file that is the picture's.

    A name with folders goes with the end of the picture's path. A bare name, or other folders, are enough where no other picture
    has that name, here or in the set (`key` is the picture's path in the set when there is one).
    """
    alike = sorted({name for name in names if _parts(name)[-1:] == (image.name,)})
    own = _parts(key or image.as_posix())
    fitting = [name for name in alike if _fits(_parts(name), own, strict=bool(key))]
    found = fitting if fitting or key else alike
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(path, f"several images that may be {key or image.name}: {', '.join(found[:SHOWN])}", "one")
    listed = ", ".join(alike[:SHOWN] or sorted(set(names))[:SHOWN])
    raise DataError(path, f"no image {key or image.name!r} (it has {listed})", "an entry in images")


def _fits(name: tuple[str, ...], own: tuple[str, ...], strict: bool) -> bool:
    """Whether all folders that both paths have are the same."""
    common = min(len(name), len(own))
    return name[-common:] == own[-common:] and (common > 1 or not strict or len(name) == len(own))


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in (".", "/"))


def xml_masks(path: Path, reader: Reader, image: MedicalImage, wanted: Sequence[tuple[int | str, ...]]) -> list[Masks]:
    """The outlines of one picture in an XML file; see `OPTIONS` of the catalogue for how elements are named.

    Raises:
        DataError: it is no XML, a coordinate is missing, a name stands for nothing, or it is about a picture of another size.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # of the text, and of its encoding
        raise DataError(path, f"invalid XML ({error})", "outlines") from error
    option = reader.option
    shapes: list[tuple[str, DrawShape]] = []
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
        shapes: list[tuple[str, DrawShape]] = []
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
        raise DataError(path, f"invalid JSON ({error})", "outlines") from error


def _shape(kind: str, points: Any, about: Any, size: tuple[int, int]) -> Any:
    return shape_mask(kind, points, size, about)


def _polygon(places: Any, size: tuple[int, int]) -> Any:
    return polygon_mask(as_points(places), size)


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
