"""Shapes that people draw, as masks, and what files of named shapes have in common: names are known, and shapes lie on the
picture as it is shown. A pixel belongs to a shape when its centre lies inside; the corner of the image is (0, 0)."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.draw import polygon2mask

from ...errors import DataError
from ...transforms.medical_image import MedicalImage
from ...transforms.stored_picture import stored_size, upright
from ..sources.cases import Reader
from .label_pictures import label_orientation, undecided
from .masks import BoxMasks, Masks

CORNERS = ("polygon", "oriented_rectangle", "rotated_rectangle", "rotation")  # of any number, or of a turned rectangle
SHAPES = (*CORNERS, "rectangle", "circle", "ellipse", "mask")
ACROSS = 0.02  # cosine of the angle of two axes of an ellipse; so far may they be from a right angle


DrawShape = Callable[[tuple[int, int]], np.ndarray]  # (h, w) -> bool [h, w]


def shape_mask(kind: str, points: Any, size: tuple[int, int], about: Mapping[str, Any]) -> np.ndarray:
    """A shape of LabelMe and programs alike, on (h, w) pixels.

    Args:
        kind: one of `SHAPES`. A rectangle has two corners or four; a circle its centre and a point on it; an ellipse its centre
            and a point at the end of each of its axes; a mask the corners of its box, and PNG in `about["mask"]`.
        points: (x, y) each.

    Raises:
        ValueError: the kind is unknown, or its points are too few or no pairs of numbers.
    """
    corners = as_points(points)
    if kind in CORNERS or (kind == "rectangle" and len(corners) == 4):
        return polygon_mask(corners, size)
    if kind == "rectangle" and len(corners) == 2:
        (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
        return box_mask(x0, y0, x1, y1, size)
    if kind == "circle" and len(corners) == 2:
        radius = float(np.hypot(*(corners[1] - corners[0])))
        return _ellipse_mask(corners[0], np.array([[radius, 0], [0, radius]]), size)
    if kind == "ellipse" and len(corners) == 3:
        axes = corners[1:] - corners[0]
        lengths = np.linalg.norm(axes, axis=1)
        if lengths.min() == 0 or abs(np.dot(*axes)) > ACROSS * lengths.prod():
            raise ValueError("an ellipse whose points are not its centre and the ends of its axes")
        return _ellipse_mask(corners[0], axes, size)
    if kind == "mask":
        return _pasted(corners, about.get("mask"), size)
    if kind not in SHAPES:
        raise ValueError(f"the shape {kind!r} (known are {', '.join(SHAPES)})")
    raise ValueError(f"a {kind} of {len(corners)} points")


def polygon_mask(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Corners [n, 2] as (x, y), the centre of the first pixel at (0.5, 0.5) -> bool [h, w].

    Raises:
        ValueError: there are fewer than three.
    """
    if len(points) < 3:
        raise ValueError(f"a polygon of {len(points)} points")
    return polygon2mask(size, points[:, ::-1] - 0.5)


def box_mask(x0: float, y0: float, x1: float, y1: float, size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centre lies between two corners, bool [h, w]."""
    rows, columns = (np.arange(n) + 0.5 for n in size)
    return ((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1))[None]


def as_points(points: Any) -> np.ndarray:
    """(x, y) of each point, [n, 2].

    Raises:
        ValueError: these are no pairs of finite numbers.
    """
    try:
        out = np.asarray(points, dtype=float).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"points {str(points)[:60]}, which are not pairs of numbers") from error
    if not np.isfinite(out).all() or abs(out).max(initial=0) > 1e7:
        raise ValueError(f"points {str(points)[:60]}, which are not places in a picture")
    return out


def _ellipse_mask(centre: np.ndarray, axes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Inside of the ellipse with these half axes [2, 2]."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    away = np.stack([columns - centre[0], rows - centre[1]], axis=-1)
    lengths = (axes**2).sum(axis=1)
    if lengths.min() == 0:
        return np.zeros(size, dtype=bool)
    return ((away @ axes.T / lengths) ** 2).sum(axis=-1) <= 1


def _pasted(corners: np.ndarray, coded: Any, size: tuple[int, int]) -> np.ndarray:
    """LabelMe's mask: a picture in base64 in the box whose first and last pixels are given."""
    if not isinstance(coded, str) or len(corners) != 2:
        raise ValueError("a mask without a box of two corners and its picture in base64")
    (x0, y0), (x1, y1) = np.rint(corners).astype(int).tolist()
    try:
        with Image.open(io.BytesIO(base64.b64decode(coded, validate=True))) as picture:
            if (picture.width, picture.height) != (x1 - x0 + 1, y1 - y0 + 1):
                raise ValueError(f"a mask of {picture.height} x {picture.width} pixels in a box of another size")
            drawn = np.asarray(picture.convert("L")) > 0
    except ValueError:
        raise
    except Exception as error:  # PIL's own of many kinds
        raise ValueError(f"a mask that is not a picture in base64 ({type(error).__name__})") from error
    out = np.zeros(size, dtype=bool)
    if not (x0 >= 0 and y0 >= 0 and x1 < size[1] and y1 < size[0]):
        raise ValueError(f"a mask beyond the picture of {size[0]} x {size[1]} pixels")
    out[y0 : y1 + 1, x0 : x1 + 1] = drawn
    return out


def drawn(
    path: Path,
    reader: Reader,
    image: MedicalImage,
    declared: tuple[int, int] | None,
    shapes: Sequence[tuple[str, DrawShape]],
    wanted: Sequence[tuple[int | str, ...]],
    note: str = "",
) -> list[Masks]:
    """The shapes with each group of names (none: all), united.

    Args:
        declared: size (h, w) of the picture that the file says it is about; none where it says nothing.
        shapes: name of each, and what draws it.

    Raises:
        DataError: the picture has another size, a name stands for nothing, or a shape cannot be drawn.
    """
    if image.is_volume:
        raise DataError(path, f"outlines for the volume {image.path.name}", "a picture")
    turn = label_orientation(path, declared, reader, image)
    check_names(path, reader, [name for name, _ in shapes], wanted)
    if not turn:
        if shapes:
            raise undecided(path, image)
        turn = 1
    size = stored_size(image.size, turn)
    masks: list[Masks] = []
    for names in wanted:
        united = np.zeros(size, dtype=bool)
        for name, draw in shapes:
            if not names or name in map(str, names):
                try:
                    united |= draw(size)
                except ValueError as error:
                    raise DataError(path, f"{error} of the label {name!r}", f"shapes on {image.path.name}") from error
        masks.append(BoxMasks(upright(united, turn)[None], note))
    return masks


def check_names(path: Path, reader: Reader, names: Collection[str], wanted: Sequence[tuple[int | str, ...]]) -> None:
    """Every name must stand for something.

    Raises:
        DataError: one does not; all that are there are listed.
    """
    known: Collection[Any] | None = reader.known
    if known is None and all(wanted):
        known = [name for group in wanted for name in group]
    unknown = sorted(set(names) - set(map(str, known))) if known is not None else []
    if unknown:
        there = ", ".join(sorted(set(names)))
        expected = f"only {', '.join(map(str, known or ()))}, or the others among the ignored ones"
        raise DataError(path, f"the label {unknown[0]!r} (it has {there})", expected)


def size_of(path: Path, height: Any, width: Any) -> tuple[int, int] | None:
    """A declared size; none where it is missing.

    Raises:
        DataError: it is no pair of whole numbers.
    """
    if height is None or width is None:
        return None
    try:
        return int(height), int(width)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(path, f"size {height!r} x {width!r}", "pixels of a picture") from error
