"""How a row holds masks, as COCO run-length encodings (pycocotools), and the phrases of an answer, as tags."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from pycocotools import mask as coco

PHRASE = re.compile(r"<p> (.+?) </p> <SEG>")


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """bool [h, w] -> {"size": [h, w], "counts": compressed counts as text}."""
    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_rle(rle: dict[str, Any]) -> np.ndarray:
    """The inverse of `encode_rle`: bool [h, w]."""
    return coco.decode({"size": list(rle["size"]), "counts": rle["counts"].encode("ascii")}).astype(bool)


def plain_answer(answer: str) -> tuple[str, list[tuple[int, int]]]:
    """ "The <p> liver </p> <SEG>." -> "The liver." and the span (start, end) in it of each phrase, in order."""
    text, spans, position = "", [], 0
    for match in PHRASE.finditer(answer):
        text += answer[position : match.start()]
        spans.append((len(text), len(text) + len(match[1])))
        text += match[1]
        position = match.end()
    return text + answer[position:], spans
