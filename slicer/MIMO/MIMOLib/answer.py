"""An answer and its phrases: read from the server's reply, and shown as text with each phrase in the colour of its segment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np

from .errors import MimoError
from .geometry import Grid
from .masks import Mask, Segment, unique

# Okabe and Ito's colours, told apart also by most who do not see all colours; in the order of the server's pictures.
COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0), (0, 114, 178))
LIGHT_TEXT = {(0, 114, 178)}  # letters on it are white, on the others black
NEW, ACCEPTED, REJECTED = "new", "accepted", "rejected"


@dataclass(frozen=True)
class Entity:
    """A phrase of an answer with its mask.

    Attributes:
        span: of `Answer.text`, in characters; none where the text does not name it.
        ml: volume of the mask; none where the server does not know the voxels' size.
        middle: [i, j, k] of its largest slice; none where it has no voxel.
        state: `NEW`, `ACCEPTED` or `REJECTED`.
    """

    phrase: str
    span: tuple[int, int] | None
    score: float
    uncertain: bool
    ml: float | None
    middle: tuple[float, float, float] | None
    mask: Mask
    state: str = NEW


@dataclass(frozen=True)
class Answer:
    """What the server said to a question, in words, with what it warns of."""

    question: str
    text: str
    entities: tuple[Entity, ...]
    lines: tuple[str, ...]
    notice: str
    model: dict[str, Any]

    @property
    def open(self) -> list[int]:
        """The numbers of the entities that are to be decided on."""
        return [n for n, e in enumerate(self.entities) if e.state == NEW and e.mask.count]


def color_of(number: int) -> tuple[int, int, int]:
    """Of the entity of that number, 0 to 255."""
    return COLORS[number % len(COLORS)]


def read_answer(question: str, reply: dict[str, Any], found: tuple[np.ndarray, Grid] | None, grid: Grid) -> Answer:
    """The answer of a reply.

    Args:
        found: the label map of the reply and where it lies.
        grid: of the volume that was asked about.

    Raises:
        MimoError: the label map lies elsewhere than the volume, or the reply is none.
    """
    labels = np.zeros(grid.shape, np.uint8) if found is None else found[0]
    if found is not None and not grid.same(found[1]):
        raise MimoError(
            "The mask does not lie on the voxels of this volume; it is not shown. Was the volume changed after it was loaded?"
        )
    try:
        entities = tuple(_entity(e, labels, grid) for e in reply["entities"])
        said = tuple(f"uncertain: {e.phrase} (" for e in entities if e.uncertain)  # beside their scores; once is enough
        warnings = [w for w in reply["warnings"] if not w.startswith(said)]
        lines = (*warnings, *reply["notes"])
        return Answer(question, reply["answer"], entities, lines, reply["notice"], reply["model"])
    except (KeyError, TypeError, ValueError) as error:
        raise MimoError("The server sent an answer that this module does not understand.") from error


def _entity(said: dict[str, Any], labels: np.ndarray, grid: Grid) -> Entity:
    mask = labels == said["label"]
    span = said.get("span")
    volume = said.get("volume_mm3")
    return Entity(
        str(said["phrase"]),
        (int(span[0]), int(span[1])) if span else None,
        float(said["score"]),
        said["status"] == "uncertain",
        None if volume is None else float(np.count_nonzero(mask)) * grid.voxel_ml,
        middle_of(mask),
        Mask.of(mask),
    )


def middle_of(mask: np.ndarray) -> tuple[float, float, float] | None:
    """The middle [i, j, k] of the slice k on which a mask has most voxels; none if it has none."""
    areas = np.count_nonzero(mask, axis=(0, 1))
    if not areas.any():
        return None
    k = int(np.argmax(areas))
    i, j = np.argwhere(mask[:, :, k]).mean(axis=0)
    return float(i), float(j), float(k)


def decided(answer: Answer, number: int, state: str) -> Answer:
    """The answer after a decision about one of its entities."""
    entities = list(answer.entities)
    entities[number] = replace(entities[number], state=state)
    return replace(answer, entities=tuple(entities))


def accepted(segments: tuple[Segment, ...], answer: Answer, number: int) -> tuple[Segment, ...]:
    """Accepted segments with an entity added to them: to the segment of its name, or as a new one in its colour."""
    entity = answer.entities[number]
    names = [s.name for s in segments]
    if entity.phrase in names:
        at = names.index(entity.phrase)
        return (*segments[:at], replace(segments[at], mask=segments[at].mask | entity.mask), *segments[at + 1 :])
    red, green, blue = color_of(number)
    return (*segments, Segment(entity.phrase, (red / 255, green / 255, blue / 255), entity.mask))


def proposed(answer: Answer) -> list[Segment]:
    """The segments of an answer that are not decided on, in its colours, with names of their own."""
    segments: list[Segment] = []
    for n in answer.open:
        red, green, blue = color_of(n)
        name = unique(answer.entities[n].phrase, [s.name for s in segments])
        segments.append(Segment(name, (red / 255, green / 255, blue / 255), answer.entities[n].mask))
    return segments


def html(answer: Answer) -> str:
    """The answer for a text browser: `mimo:show/N`, `mimo:accept/N` and `mimo:reject/N` are links to act on entity N.

    What the server wrote is text, never markup.
    """
    rows = "".join(_row(number, entity) for number, entity in enumerate(answer.entities))
    table = f'<table cellspacing="0" cellpadding="3">{rows}</table>' if rows else ""
    said = f"<p>{_colored(answer)}</p>" if answer.text else "<p><i>No words.</i></p>"
    lines = "".join(f"<p>{escape(line)}</p>" for line in answer.lines)
    return f"{said}{table}{lines}<p><i>{escape(answer.notice)}</i></p>"


def _colored(answer: Answer) -> str:
    """The text with its phrases as links; of spans that overlap, or do not fit the text, the first one holds."""
    out, at = "", 0
    spans = sorted((e.span, n) for n, e in enumerate(answer.entities) if e.span is not None)
    for (start, end), number in spans:
        if not at <= start < end <= len(answer.text):
            continue
        out += escape(answer.text[at:start]) + _phrase(number, answer.text[start:end])
        at = end
    return out + escape(answer.text[at:])


def _phrase(number: int, text: str) -> str:
    color = color_of(number)
    ink = "#ffffff" if color in LIGHT_TEXT else "#000000"
    style = f"background-color:#{color[0]:02x}{color[1]:02x}{color[2]:02x}; color:{ink}; text-decoration:none"
    return f'<a href="mimo:show/{number}" style="{style}">{escape(text)}</a>'


def _row(number: int, entity: Entity) -> str:
    score = f"{entity.score:.2f}{', uncertain' if entity.uncertain else ''}"
    volume = "" if entity.ml is None else f"{entity.ml:.3g} ml"
    if not entity.mask.count:
        act = "no mask"
    elif entity.state == NEW:
        act = f'<a href="mimo:accept/{number}">accept</a> &nbsp; <a href="mimo:reject/{number}">reject</a>'
    else:
        act = entity.state
    cells = (_phrase(number, entity.phrase), score, volume, act)
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def link(text: str, answer: Answer | None) -> tuple[str, int] | None:
    """What a link asks for, ("show" | "accept" | "reject", number); none where the answer has no such entity."""
    action, _, number = text.removeprefix("mimo:").partition("/")
    if answer is None or action not in ("show", "accept", "reject") or not number.isdecimal():
        return None
    return (action, int(number)) if int(number) < len(answer.entities) else None
