"""How an image may be moved without making what is said of it wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..mimoseg.questions.templates import OF_PLACE_OR_SIZE
from ..transforms.augment import MIRRORS


class Moves(NamedTuple):
    """Which changes of an image leave an answer true: mirrored left to right, up to down; shifted, turned and scaled a little."""

    left_right: bool
    up_down: bool
    affine: bool = True


def moves_of(row: Mapping[str, Any]) -> Moves:
    """How the image of a row may be moved: mirrored as its modality allows, and not if left or right is said of it; not at all
    if its answer is a number of parts, a place or a size."""
    kind = (row.get("value") or {}).get("kind", "")  # sets that were built before have none
    if kind in OF_PLACE_OR_SIZE:
        return Moves(False, False, False)
    sided = re.search(r"\b(left|right)\b", f"{row['question']} {row['answer']}", re.IGNORECASE)
    return Moves(*((False, False) if sided else MIRRORS.get(row.get("modality", ""), (False, False))))


def all_moves(moves: Iterable[Moves]) -> Moves:
    """Those that every one allows."""
    return Moves(*map(all, zip(*moves)))
