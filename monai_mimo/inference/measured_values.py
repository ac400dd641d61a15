"""What an answer says of number, place and size is read off its masks: a language model finds the sentence, a mask the value.

So no answer says another size than what is outlined. Where the sentence does not say what was asked, it is put in another one.
What is marked, or whether a thing is there, is left to the model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..mimoseg.questions.templates import asked_kind, measured_templates, value_in
from .answer import Entity

Spacing = tuple[float, float]
# What is said of each kind where the model says something else; the values are exchanged for those of the masks.
SENTENCES = {
    "quarter": "I see the PHRASE in the upper left quarter of the image.",
    "left_right": "I see the PHRASE in the left half of the image.",
    "upper_lower": "I see the PHRASE in the upper half of the image.",
    "larger": "The larger of the two is the PHRASE, the smaller is the PHRASE.",
    "count": "I count 1: PHRASE.",
    "diameter_mm": "The longest diameter of the PHRASE is about 1 mm.",
    "area_mm2": "I measure about 1 square mm of the PHRASE.",
    "area_percent": "About 1 % of the image belong to the PHRASE.",
}


def with_measured_values(
    question: str, text: str, entities: Sequence[Entity], spacing_mm: Spacing | None = None
) -> tuple[str, list[Entity]]:
    """Text and entities of an answer, with its value as the masks have it.

    Args:
        question: may tell how large the image is in mm.
        spacing_mm: (row, column) of the image, where it is known.
    """
    kept = [entity for entity in entities if entity.mask.any()]
    if not kept or len(kept) < len(entities):
        return text, list(entities)
    first = kept[0].mask
    spacing = spacing_mm or told_spacing(question, first.shape)
    asked = asked_kind(question)
    if asked in SENTENCES and value_in(asked, text) is None:
        text, kept = _in_a_sentence(asked, text, kept)
    for kind in [asked] if asked in SENTENCES else SENTENCES:
        place = value_in(kind, text)
        if place is None:
            continue
        if kind == "larger":
            return _larger_first(text, kept)
        if kind.endswith(("mm", "mm2")) and spacing is None:
            return _without_spacing(kept[0])
        value = _value(kind, text[slice(*place)] if asked is None else "", first, spacing)
        if kind == "count":
            text, kept = _replaced(text, kept, place, value)
            verb = re.match("There (is|are)", text)
            if verb:
                text, kept = _replaced(text, kept, verb.span(1), "is" if value == "1" else "are")
            return text, kept
        return _replaced(text, kept, place, value)
    return text, kept


def told_spacing(question: str, size: tuple[int, ...]) -> Spacing | None:
    """(row, column) in mm of an image [h, w] of which a question says how wide and high it is."""
    for template in measured_templates()["scale"]:
        pattern = re.escape(template)
        for side in ("width", "height"):
            pattern = pattern.replace(re.escape(f"{{{side}}}"), rf"(?P<{side}>\d+(?:\.\d+)?)")
        found = re.search(pattern, question, re.IGNORECASE)
        if found and float(found["width"]) > 0 and float(found["height"]) > 0:
            return float(found["height"]) / size[0], float(found["width"]) / size[1]
    return None


def _value(kind: str, said: str, mask: np.ndarray, spacing: Spacing | None) -> str:
    from ..mimoseg.questions import geometry  # needs scipy, which most answers do not

    middle = np.argwhere(mask).mean(axis=0) >= (np.array(mask.shape) - 1) / 2
    row, column = ("upper", "lower")[int(middle[0])], ("left", "right")[int(middle[1])]
    if kind == "quarter":
        return f"{row} {column}"
    if kind in ("left_right", "upper_lower"):  # one sentence: the question tells which of the two, or what was said
        return column if said.lower() in ("left", "right") or (kind == "left_right" and not said) else row
    if kind == "count":
        return str(geometry.count_parts(mask) or geometry.count_large_parts(mask))
    if kind == "diameter_mm":
        return geometry.two_digits(geometry.longest_diameter(geometry.largest_part(mask), spacing or (1, 1)) or 0)
    if kind == "area_mm2":
        return geometry.two_digits(geometry.area(mask, spacing or (1, 1)))
    return geometry.two_digits(geometry.percent(mask))


def _in_a_sentence(kind: str, text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    """The sentence that says the value of a kind, which is still to be put in; as it was where too little was outlined for it."""
    named = list({e.phrase: e for e in reversed(entities)}.values())[::-1]  # each once
    needed = 2 if kind == "larger" else 1
    if len(named) < needed:
        return text, entities
    said = SENTENCES[kind].split("PHRASE")
    new, placed = said[0], []
    for entity, after in zip(named, said[1:]):
        placed.append(replace(entity, span=(len(new), len(new) + len(entity.phrase))))
        new += entity.phrase + after
    return new, placed


def _replaced(text: str, entities: Sequence[Entity], place: tuple[int, int], value: str) -> tuple[str, list[Entity]]:
    """The text with `value` at a place, and the spans behind it moved along."""
    longer = len(value) - (place[1] - place[0])
    moved = [
        replace(e, span=(e.span[0] + longer, e.span[1] + longer)) if e.span[0] >= place[1] else e for e in entities
    ]
    return text[: place[0]] + value + text[place[1] :], moved


def _larger_first(text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    """The larger of two masks where the sentence has the larger one."""
    if len(entities) != 2 or entities[0].mask.sum() >= entities[1].mask.sum():
        return text, entities
    one, two = entities
    (a, b), (c, d) = one.span, two.span
    text = text[:a] + two.phrase + text[b:c] + one.phrase + text[d:]
    shift = len(two.phrase) - len(one.phrase)
    return text, [replace(two, span=(a, b + shift)), replace(one, span=(c + shift, c + shift + len(one.phrase)))]


def _without_spacing(entity: Entity) -> tuple[str, list[Entity]]:
    """What can be said of a size where nobody knows how large a pixel is."""
    start = f"About {_value('area_percent', '', entity.mask, None)} % of the image belong to the "
    text = f"{start}{entity.phrase}; the spacing of the image, which a size in mm needs, is not known."
    return text, [replace(entity, span=(len(start), len(start) + len(entity.phrase)))]
