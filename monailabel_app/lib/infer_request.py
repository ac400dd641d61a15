"""What a viewer asks for, read from the parameters of its request and checked, and where that lies on a slice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from monai_mimo.data.conversation import Scribbles
from monai_mimo.errors import InputError

from .request_limits import Limits
from .study_image import StudyImage

Voxel = tuple[int, int, int]
PLANE_CHOICES = ("auto", "axial", "coronal", "sagittal")


@dataclass(frozen=True)
class InferRequest:
    """A request.

    Attributes:
        foreground, background: voxels [i, j, k]; k is none where a picture's points have two numbers.
        scribbles: the voxels that were painted inside, and outside, of what is meant; likewise.
        low, high: the first and last voxel of a box, if there is one; k is none where it holds for the slice asked about.
        slice: index along the sliced axis of the file, or a voxel that the slice is to hold.
        warnings: what of the request was left out.
    """

    question: str = ""
    labels: tuple[str, ...] = ()
    foreground: tuple[tuple[int | None, ...], ...] = ()
    background: tuple[tuple[int | None, ...], ...] = ()
    scribbles: tuple[tuple[tuple[int | None, ...], ...], tuple[tuple[int | None, ...], ...]] = ((), ())
    low: tuple[int | None, ...] | None = None
    high: tuple[int | None, ...] | None = None
    slice: int | Voxel | None = None
    plane: str = "auto"
    roi: bool = False  # the box is that of 3D Slicer

    @property
    def prompted(self) -> bool:
        """Whether a point, a scribble or a box is there to start from."""
        return bool(self.foreground or self.scribbles[0]) or self.low is not None


@dataclass(frozen=True)
class SlicePrompts:
    """What of a request lies on one slice, in its pixels: points (x, y, label), boxes (x0, y0, x1, y1), and scribbles inside
    and outside, bool [h, w] or none."""

    slice: int
    points: list[tuple[int, int, int]] = field(default_factory=list)
    boxes: list[tuple[int, ...]] = field(default_factory=list)
    scribbles: Scribbles = (None, None)
    warnings: list[str] = field(default_factory=list)


def read_request(request: Mapping[str, Any], limits: Limits) -> InferRequest:
    """Parameters as the viewers send them: see the app's README for their names.

    Raises:
        InputError: one has another type or form, or there are too many.
    """
    foreground = [_voxel("foreground", v) for v in _rows(request, "foreground")]
    background = [_voxel("background", v) for v in _rows(request, "background")]
    if len(foreground) + len(background) > limits.max_points:
        raise InputError("points", str(len(foreground) + len(background)), f"at most {limits.max_points} (max_points)")
    low, high = _box(request)
    question = request.get("question") or ""
    if not isinstance(question, str):
        raise InputError("question", type(question).__name__, "a text")
    if len(question) > limits.max_question:
        raise InputError("question", f"{len(question)} characters", f"at most {limits.max_question} (max_question)")
    plane = request.get("plane") or "auto"
    plane = (
        plane[0] if isinstance(plane, list) and plane else plane
    )  # a viewer may send all choices, the first one chosen
    if plane not in PLANE_CHOICES:
        raise InputError("plane", repr(plane)[:80], f"one of {', '.join(PLANE_CHOICES)}")
    return InferRequest(
        "".join(c if c.isprintable() else " " for c in question).strip(),
        _labels(request, limits),
        tuple(foreground),
        tuple(background),
        (_painted(request, "foreground_scribble"), _painted(request, "background_scribble")),
        low,
        high,
        _slice(request),
        plane,
        bool(request.get("roi")),
    )


def on_slice(asked: InferRequest, image: StudyImage) -> SlicePrompts | None:
    """Everything of the request that lies on its slice; none where nothing says which slice of a volume that is.

    The slice is that of the last positive point, else of the scribble inside, else `slice`, else that of the last negative point,
    else of the scribble outside, else the middle of the box.
    With a box of 3D Slicer, `slice` is a rounded position in millimetres; outside of the box it is not used. What lies on other
    slices is left out, and a warning says so.

    Raises:
        InputError: a prompt or the slice lies outside the image.
    """
    axis = image.slice_axis
    fixed = asked.slice[axis] if isinstance(asked.slice, tuple) else asked.slice
    if fixed is None and not image.shown.is_volume:
        fixed = 0
    points = [(_complete(v, axis, fixed), 1) for v in asked.foreground]
    points += [(_complete(v, axis, fixed), 0) for v in asked.background]
    placed = [(*image.place(v), label) for v, label in points]
    painted = [[image.place(_complete(v, axis, fixed)) for v in line] for line in asked.scribbles]
    box = None
    if asked.low is not None and asked.high is not None:
        low, high = (_complete(v, axis, fixed) for v in (asked.low, asked.high))
        box = image.box(low, high)

    if asked.roi and box is not None and fixed is not None:
        first, last = sorted(image.index_of(n) for n in box[0])
        fixed = fixed if first <= fixed <= last else None

    inside, outside = (
        [v[0] for v in line] + [v[0] for v in placed if v[3] == label] for line, label in zip(painted, (1, 0))
    )
    if inside:
        number = inside[-1]
    elif fixed is not None:
        number = image.number_of(fixed)
    elif outside:
        number = outside[-1]
    elif box is not None:
        number = sum(box[0]) // 2
    else:
        return None
    here = [(x, y, label) for n, x, y, label in placed if n == number]
    boxes = [box[1]] if box is not None and box[0][0] <= number <= box[0][1] else []
    drawn = [_line([v for v in line if v[0] == number], image.shown.size) for line in painted]
    elsewhere = sum(any(v[0] != number for v in line) for line in painted)
    left = len(placed) - len(here) + (box is not None) - len(boxes) + elsewhere
    warnings = [f"{left} of the prompts lie on other slices and were not used"] if left else []
    return SlicePrompts(number, here, boxes, (drawn[0], drawn[1]), warnings)


def prompts_in_3d(asked: InferRequest) -> dict[str, Any]:
    """All prompts of a request as `VolumeSession.add` takes them: points (i, j, k, label), boxes with their ends outside, and the
    voxels that were scribbled over inside and outside.

    Raises:
        InputError: one has two numbers only.
    """
    inside, outside = asked.scribbles
    boxes = [] if asked.low is None or asked.high is None else [(*asked.low, *asked.high)]
    if any(v is None for row in (*asked.foreground, *asked.background, *inside, *outside, *boxes) for v in row):
        raise InputError("prompt", "two numbers", "voxels [i, j, k]")
    points = [(*v, 1) for v in asked.foreground] + [(*v, 0) for v in asked.background]
    boxes = [(*box[:3], *(v + 1 for v in box[3:])) for box in boxes]  # type: ignore[operator]
    return {"points": points, "boxes": boxes, "inside": inside, "outside": outside}


def _line(pixels: list[tuple[int, int, int]], size: tuple[int, int]) -> np.ndarray | None:
    """Pixels (slice, x, y) of one slice as bool [h, w]; none where there are none."""
    if not pixels:
        return None
    _, x, y = np.transpose(pixels)
    line = np.zeros(size, dtype=bool)
    line[y, x] = True
    return line


def _complete(voxel: tuple[int | None, ...], axis: int, fixed: int | None) -> Voxel:
    """Fill in the slice of a prompt that was given with two numbers."""
    if voxel[2] is not None:
        return (voxel[0], voxel[1], voxel[2])  # type: ignore[return-value]
    if fixed is None or axis != 2:
        raise InputError("prompt", "two numbers", "voxels [i, j, k], or a slice")
    return (voxel[0], voxel[1], fixed)  # type: ignore[return-value]


def _rows(request: Mapping[str, Any], name: str) -> list[Any]:
    rows = request.get(name)
    if rows is None or rows == "":
        return []
    if not isinstance(rows, list):
        raise InputError(name, type(rows).__name__, "a list of voxels [i, j, k]")
    if rows and not any(isinstance(row, list) for row in rows):
        return [rows]  # one voxel, not in a list of its own
    return rows


def _painted(request: Mapping[str, Any], name: str) -> tuple[tuple[int | None, ...], ...]:
    return tuple(_voxel(name, v) for v in _rows(request, name))


def _voxel(name: str, row: Any) -> tuple[int | None, ...]:
    if not isinstance(row, list) or len(row) not in (2, 3):
        raise InputError(name, repr(row)[:80], "voxels [i, j, k]")
    values = [_whole(name, v) for v in row]
    return (*values, None) if len(values) == 2 else tuple(values)


def _whole(name: str, value: Any) -> int:
    """The voxel in whose middle half a number lies: clients send some as floats.

    Raises:
        InputError: it is no finite number, or a larger one than any image has voxels.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not abs(value) <= 1e9:  # also what is no number, NaN
        raise InputError(name, repr(value)[:80], "whole numbers")
    return math.floor(value + 0.5)


def _box(request: Mapping[str, Any]) -> tuple[tuple[int | None, ...] | None, tuple[int | None, ...] | None]:
    """`roi` of Slicer: [i0, i1, j0, j1, k0, k1], each pair in any order, both ends inside. `bbox`: [i0, j0, i1, j1] or
    [i0, j0, k0, i1, j1, k1], the ends outside."""
    roi, bbox = request.get("roi"), request.get("bbox")
    if roi:
        if not isinstance(roi, list) or len(roi) != 6:
            raise InputError("roi", repr(roi)[:80], "[i0, i1, j0, j1, k0, k1]")
        pairs = [sorted(_whole("roi", v) for v in roi[n : n + 2]) for n in (0, 2, 4)]
        return tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)
    if bbox:
        if not isinstance(bbox, list) or len(bbox) not in (4, 6):
            raise InputError("bbox", repr(bbox)[:80], "[i0, j0, i1, j1] or [i0, j0, k0, i1, j1, k1]")
        values = [_whole("bbox", v) for v in bbox]
        half = len(values) // 2
        if not all(a < b for a, b in zip(values[:half], values[half:])):
            raise InputError("bbox", repr(values), "a box with an area: the last voxels are just outside")
        low, high = values[:half], [v - 1 for v in values[half:]]
        return (*low, *[None] * (3 - half)), (*high, *[None] * (3 - half))
    return None, None


def _slice(request: Mapping[str, Any]) -> int | Voxel | None:
    value = request.get("slice")
    if isinstance(value, list):
        i, j, k = _voxel("slice", value)
        if k is None:
            raise InputError("slice", repr(value)[:80], "an index, or a voxel [i, j, k] in it")
        return (i, j, k)  # type: ignore[return-value]
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal() and len(value) < 10:
        value = int(value)
    if value is None or value == "":
        return None
    number = _whole("slice", value)
    return None if number == -1 else number  # viewers say -1 for none


def _labels(request: Mapping[str, Any], limits: Limits) -> tuple[str, ...]:
    """`label`: a name, names with commas between, a list of names, or {name: number}."""
    label = request.get("label") or request.get("labels") or []
    names = label.split(",") if isinstance(label, str) else list(label) if isinstance(label, list | dict) else None
    if names is None or not all(isinstance(n, str) for n in names):
        raise InputError("label", repr(label)[:80], "a name or a list of names")
    if len(names) > limits.max_labels:
        raise InputError("label", f"{len(names)} names", f"at most {limits.max_labels} (max_labels)")
    if any(len(n) > limits.max_question for n in names):
        raise InputError("label", "a longer name", f"at most {limits.max_question} characters")
    return tuple(dict.fromkeys(n.strip() for n in names if n.strip()))
