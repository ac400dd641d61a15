"""What a model wrote, as text without special tokens and entities that point into it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..data.tokenizer import PHRASE_END, PHRASE_START, SEG
from ..mimoseg.encoding import encode_rle
from ..transforms.prompts import tight_box


@dataclass
class Entity:
    """A phrase of the answer, `span` (start, end) in its text, with its mask bool [h, w] and score in 0..1.

    `logits` are those of the mask on the model's grid, float32 [g, g]: what `mask_input` takes to refine it.
    """

    phrase: str
    span: tuple[int, int]
    mask: np.ndarray
    score: float
    logits: np.ndarray | None = None

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The tight box (x0, y0, x1, y1), inclusive-exclusive, of the mask; zeros for an empty one."""
        return tight_box(self.mask) if self.mask.any() else (0, 0, 0, 0)


@dataclass
class Answer:
    """An answer about one image.

    Attributes:
        text: without special tokens; each entity's span points into it.
        image: size [h, w], slice and modality of the image, and `spacing_mm` (row, column) when known.
        model: preset and weights.
        notes: what was odd about the image's file and what was made of it, a line for each.
    """

    text: str
    entities: list[Entity]
    size: tuple[int, int]
    slice: int | None = None
    modality: str | None = None
    spacing_mm: tuple[float, float] | None = None
    warnings: list[str] = field(default_factory=list)
    model: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The answer as `mimo ask --json` prints it."""
        pixel_mm2 = None if self.spacing_mm is None else self.spacing_mm[0] * self.spacing_mm[1]
        entities = [
            {
                "phrase": e.phrase,
                "span": list(e.span),
                "mask": encode_rle(e.mask),
                "box": list(e.box),
                "area_px": int(e.mask.sum()),
                "area_mm2": None if pixel_mm2 is None else round(float(e.mask.sum() * pixel_mm2), 3),
                "score": round(e.score, 4),
            }
            for e in self.entities
        ]
        return {
            "answer": self.text,
            "entities": entities,
            "image": {"size": list(self.size), "slice": self.slice, "modality": self.modality},
            "notes": self.notes,
            "warnings": self.warnings,
            "model": self.model,
        }


@dataclass
class GroundedPhrase:
    """A phrase in a text, `span` (start, end), the token positions [first, last) of its words, and of its `<SEG>`."""

    phrase: str
    span: tuple[int, int]
    words: tuple[int, int]
    seg: int


def parse_answer(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> tuple[str, list[GroundedPhrase]]:
    """Split generated tokens into plain text and the phrases that are followed by `<SEG>`.

    A phrase that is never closed, or has no `<SEG>` after it, stays plain text; a `<SEG>` without phrase is dropped.
    """
    start_id, end_id, seg_id = tokenizer.convert_tokens_to_ids([PHRASE_START, PHRASE_END, SEG])
    special = set(tokenizer.all_special_ids)
    text, phrases = "", []
    opened: tuple[int, int] | None = None  # token and text position after <p>
    closed: tuple[tuple[int, int], tuple[int, int]] | None = None  # words and span of a phrase that waits for <SEG>
    run: list[int] = []

    def flush() -> None:
        nonlocal text
        words = tokenizer.decode(run).strip()
        run.clear()
        if words:
            text += words if not text or re.match(r"[.,;:!?)]", words) else f" {words}"

    for position, token in enumerate(ids):
        if token not in special:
            run.append(token)
            if opened is None:
                closed = None
            continue
        flush()
        if token == tokenizer.eos_token_id:
            break
        if token == start_id:
            opened, closed = (position + 1, len(text)), None
        elif token == end_id and opened is not None:
            begin = opened[1] + (text[opened[1] : opened[1] + 1] == " ")
            closed, opened = ((opened[0], position), (begin, len(text))), None
        elif token == seg_id and closed is not None:
            words, span = closed
            if span[0] < span[1]:
                phrases.append(GroundedPhrase(text[slice(*span)], span, words, position))
            closed = None
    flush()
    return text, phrases
