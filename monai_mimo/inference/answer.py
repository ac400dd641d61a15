"""What a model wrote, as text without special tokens and entities that point into it, whole or while it is being written."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..data.prompt_maps import RegionPrompts
from ..data.tokenizer import PHRASE_END, PHRASE_START, SEG
from ..metrics.calibration import apply_temperature
from ..mimoseg.encoding import encode_rle
from ..models import Answers, Mimo
from ..transforms.prompts import tight_box
from ..transforms.resize import SquareResize
from .second_look import Seen, Sought, look_closer


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
        model: preset and weights, and `use`, what all licences of the data that they learned from allow (`licences.USES`).
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


def joined(answers: Sequence[Answer]) -> Answer:
    """Answers about one image as one, sentence after sentence."""
    first = answers[0]
    text, entities = "", []
    for answer in answers:
        shift = len(text) + 1 if text else 0
        entities += [replace(e, span=(e.span[0] + shift, e.span[1] + shift)) for e in answer.entities]
        text = f"{text} {answer.text}".strip()
    warnings = list(dict.fromkeys(warning for answer in answers for warning in answer.warnings))
    return replace(first, text=text, entities=entities, warnings=warnings)


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


def ground(
    model: Mimo,
    answers: Answers,
    resizes: list[SquareResize],
    temperature: float | None = None,
    images: Sequence[tuple[np.ndarray, RegionPrompts] | None] | None = None,
) -> list[tuple[str, list[Entity]]]:
    """Text and entities of each question; `resizes[q]` maps its image to the model's square.

    The score of an entity is the predicted IoU of its mask times the mean probability of its phrase's tokens; with a
    `temperature`, what `metrics.apply_temperature` makes of that. Evaluations fit the temperature, so theirs are without.

    Args:
        images: pixels uint8 [h, w, 3] of each question's image, and its prompts, for a second look at what is small; none
            where there is to be no second look.
    """
    row_of = {tuple(place): m for m, place in enumerate(answers.places.tolist())}
    results = []
    for question, ids in enumerate(answers.ids.tolist()):
        text, phrases = parse_answer(ids, model.tokenizer)
        grounded = [(p, row_of[question, p.seg]) for p in phrases if (question, p.seg) in row_of]
        rows = torch.tensor([row for _, row in grounded], dtype=torch.long)
        logits = answers.mask_logits[rows].float().cpu()
        masks = (resizes[question].logits_to_image(logits) > 0).numpy()
        closer: list[Seen | None] = [None] * len(grounded)
        seen_again = None if images is None else images[question]
        if seen_again is not None and grounded:
            pixels, prompts = seen_again
            sought = [Sought(answers.conditions[row, None], prompts, own) for (_, row), own in zip(grounded, logits)]
            closer = look_closer(model, pixels, list(masks), sought)
        entities = []
        for (phrase, row), mask, own, seen in zip(grounded, masks, logits.numpy(), closer):
            iou = answers.scores[row].item()
            if seen is not None:
                mask, own, iou = seen
            probability = answers.probabilities[question, slice(*phrase.words)].mean().item()
            score = score_of(iou, probability, temperature)
            entities.append(Entity(phrase.phrase, phrase.span, mask, score, own))
        results.append((text, entities))
    return results


def score_of(iou: float, probability: float, temperature: float | None) -> float:
    """The score of an entity: the predicted IoU of its mask times the probability of its name, calibrated where there is a
    temperature."""
    score = min(max(iou, 0.0), 1.0) * probability
    return score if temperature is None else apply_temperature([score], temperature).item()


HALF_A_CHARACTER = "\N{REPLACEMENT CHARACTER}"  # what tokenizers decode the first bytes of a character to


class TextStream:
    """Takes the tokens of one answer one by one and hands on the text that each adds; together it is `Answer.text`.

    Args:
        on_text: is called with each piece that is not empty.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, on_text: Callable[[str], None]) -> None:
        self.tokenizer, self.on_text = tokenizer, on_text
        self.ids: list[int] = []
        self.sent = ""

    def __call__(self, tokens: Tensor) -> None:
        """The next token, [1]."""
        self.ids += tokens.tolist()
        text, _ = parse_answer(self.ids, self.tokenizer)
        if not text.endswith(HALF_A_CHARACTER):
            self._send(text)

    def finish(self) -> None:
        """No token follows: send what was held back."""
        self._send(parse_answer(self.ids, self.tokenizer)[0])

    def _send(self, text: str) -> None:
        piece, self.sent = text[len(self.sent) :], text
        if piece:
            self.on_text(piece)
