"""Variants of an image that are stored as feature maps, so that frozen encoders run once and training still sees changed images.

The first is the image as it is; each further one is moved and changed in intensity, the same whenever it is made again. What it
is depends on the image, its masks and the questions about it, and so does its key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .feature_cache import KEY_BYTES, image_key
from .moves import Moves, all_moves, moves_of


@dataclass(frozen=True)
class Variant:
    """One of them: its key in a `FeatureCache`, the seed that changes the image (none: as it is), and how it may be moved."""

    key: bytes
    seed: int | None
    moves: Moves


def variants_of(rows: Sequence[Mapping[str, Any]], count: int, strong: bool = False) -> list[Variant]:
    """The variants of one image.

    Args:
        rows: all that are used of this image, whose bytes are not decoded. Those whose answer is a place or a size, or a number
            of parts, are asked about the image as it is; the others allow the moves.
        strong: as of `Augment`.
    """
    moves = [m for m in map(moves_of, rows) if m.affine]
    allowed = all_moves(moves) if moves else Moves(False, False, False)
    first = Variant(image_key(rows[0]["image"]["bytes"]), None, allowed)
    masks = sorted({entity["mask"]["counts"] for row in rows for entity in row["entities"]})
    about = json.dumps([masks, list(allowed), strong]).encode()
    out = [first]
    for number in range(1, count if allowed.affine else 1):
        key = hashlib.blake2b(first.key + number.to_bytes(4, "little") + about, digest_size=KEY_BYTES).digest()
        out.append(Variant(key, int.from_bytes(key[:4], "little"), allowed))
    return out
