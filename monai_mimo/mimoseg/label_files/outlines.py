"""What label files of named shapes have in common: names are known, and shapes lie on the picture as it is shown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...transforms.medical_image import MedicalImage
from ...transforms.stored_picture import stored_size, upright
from ..cases import Reader
from .masks import BoxMasks, Masks
from .turns import turn_of_labels, undecided

Draw = Callable[[tuple[int, int]], np.ndarray]  # (h, w) -> bool [h, w]


def drawn(
    path: Path,
    reader: Reader,
    image: MedicalImage,
    declared: tuple[int, int] | None,
    shapes: Sequence[tuple[str, Draw]],
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
    turn = turn_of_labels(path, declared, reader, image)
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
