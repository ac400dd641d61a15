"""Questions and answers about one displayed slice: perspective I (named entities), II (a point or a box), and III and IV
(drafts about entities that it shows)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..sources.read_case import SliceMasks
from .drafts import Draft
from .templates import grounded, listed, sentence, templates

REFUSALS, MIXED = 0.28, 0.08  # of the named questions ask for what is not there, alone or beside what is
SEVERAL_PROMPTS = 0.1  # of the visual-clue questions about images with several entities


SEVERAL = 0.25  # of the questions about images with several entities of which something is known
MAX_ENTITIES = 3  # in one question
Pool = Callable[[tuple[str, ...], int, str], Sequence[Draft]]


@dataclass
class Sample:
    """One question with its answer.

    Attributes:
        phrases: the entities that the answer grounds, in its order.
        absent: entities that the question names and that are not there.
        value: kind of the question and right answer in a word, where that is measured (perspective V).
        points: (x, y, 1); boxes: (x0, y0, x1, y1); in pixels, in the order of the question's markers.
        template: where the texts come from: "section/question number/answer number", for III and IV "writer/aspects".
    """

    perspective: int
    question: str
    answer: str
    phrases: list[str]
    points: list[tuple[int, int, int]] = field(default_factory=list)
    boxes: list[tuple[int, int, int, int]] = field(default_factory=list)
    template: str = ""
    absent: list[str] = field(default_factory=list)
    value: tuple[str, str] = ("", "")


def instructions(
    masks: dict[str, np.ndarray],
    absent_here: Sequence[str],
    absent_elsewhere: Sequence[str],
    count: int,
    rng: np.random.Generator,
) -> list[Sample]:
    """Write `count` samples of perspective I; at most two, of refusals, where there is nothing to be asked for.

    Args:
        masks: the entities that can be asked for, bool [h, w] each.
        absent_here: entities that this image's source labels and that this image lacks.
        absent_elsewhere: entities that cannot occur in this modality.
    """
    if masks:
        return [one_instruction(masks, absent_here, absent_elsewhere, number, rng) for number in range(count)]
    if absent_here or absent_elsewhere:
        return [refusal(absent_here, absent_elsewhere, rng) for _ in range(min(count, 2))]
    return []


def visual_clues(masks: SliceMasks, count: int, rng: np.random.Generator) -> list[Sample]:
    """Write `count` samples of perspective II, none where there is nothing to point at."""
    samples: list[Sample] = []
    names = list(masks)
    order = [names[i] for i in rng.permutation(len(names))]
    for number in range(count if names else 0):
        if len(names) > 1 and rng.random() < SEVERAL_PROMPTS:
            samples.append(several_prompts(masks, rng))
        else:  # one entity after the other, each by a box and by a point
            name = order[number // 2 % len(order)]
            samples.append(visual_clue(masks, name, "point" if number % 2 else "box", rng))
    return samples


def one_instruction(
    masks: dict[str, np.ndarray],
    absent_here: Sequence[str],
    absent_elsewhere: Sequence[str],
    number: int,
    rng: np.random.Generator,
) -> Sample:
    """The `number`th named question about an image: some ask for what is not there, alone or beside what is."""
    names = list(masks)
    chance = rng.random()
    if chance < REFUSALS and (absent_here or absent_elsewhere):
        return refusal(absent_here, absent_elsewhere, rng)
    if chance < REFUSALS + MIXED and (absent_here or absent_elsewhere):
        return mixed(names[rng.integers(len(names))], absent_here, absent_elsewhere, rng)
    if len(names) > 1 and chance < 0.6:
        chosen = rng.choice(len(names), size=rng.integers(2, min(len(names), 4) + 1), replace=False)
        return instruction([names[i] for i in chosen], rng)
    return instruction([names[(number + rng.integers(len(names))) % len(names)]], rng)


def instruction(names: list[str], rng: np.random.Generator) -> Sample:
    """Perspective I: segment what is named."""
    section = templates()["instruction"]
    q, question = pick_text(section["questions"], rng)
    a, answer = pick_text(section["answers_one" if len(names) == 1 else "answers_several"], rng)
    kind = "one" if len(names) == 1 else "several"
    return Sample(
        1,
        sentence(question.format(entities=listed(names))),
        sentence(answer.format(entities=grounded(names))),
        names,
        template=f"instruction-{kind}/{q}/{a}",
    )


def refusal(absent_here: Sequence[str], absent_elsewhere: Sequence[str], rng: np.random.Generator) -> Sample:
    """Perspective I: asked for what is not there, the answer says so and grounds nothing."""
    section = templates()["instruction"]
    name = pick_absent(absent_here, absent_elsewhere, rng)
    q, question = pick_text(section["questions"], rng)
    a, answer = pick_text(section["refusals"], rng)
    return Sample(
        1,
        sentence(question.format(entities=listed([name]))),
        sentence(answer.format(absent=name)),
        [],
        template=f"instruction-refusal/{q}/{a}",
        absent=[name],
    )


def mixed(
    present: str, absent_here: Sequence[str], absent_elsewhere: Sequence[str], rng: np.random.Generator
) -> Sample:
    """Perspective I: one named entity is there and one is not."""
    section = templates()["instruction"]
    absent = pick_absent(absent_here, absent_elsewhere, rng)
    asked = [present, absent] if rng.random() < 0.5 else [absent, present]
    q, question = pick_text(section["questions"], rng)
    a, answer = pick_text(section["answers_mixed"], rng)
    return Sample(
        1,
        sentence(question.format(entities=listed(asked))),
        sentence(answer.format(entities=grounded([present]), absent=absent)),
        [present],
        template=f"instruction-mixed/{q}/{a}",
        absent=[absent],
    )


def visual_clue(masks: SliceMasks, name: str, kind: str, rng: np.random.Generator) -> Sample:
    """Perspective II: a box or a point, and nothing named."""
    section = templates()["visual_clue"][kind]
    q, question = pick_text(section["questions"], rng)
    a, answer = pick_text(section["answers"], rng)
    sample = Sample(
        2, sentence(question), sentence(answer.format(entities=grounded([name]))), [name], template=f"{kind}/{q}/{a}"
    )
    add_prompt(sample, masks, name, kind, rng)
    return sample


def several_prompts(masks: SliceMasks, rng: np.random.Generator) -> Sample:
    """Perspective II: two or three prompts of one kind, each on another entity."""
    section = templates()["visual_clue"]["several"]
    names = list(masks)
    chosen = [names[i] for i in rng.choice(len(names), size=min(len(names), int(rng.integers(2, 4))), replace=False)]
    kind = "box" if rng.random() < 0.5 else "point"
    markers = [f"<{kind}>"] * len(chosen)
    q, question = pick_text(section["questions"], rng)
    a, answer = pick_text(section["answers"], rng)
    sample = Sample(
        2,
        sentence(question.format(markers=", ".join(markers[:-1]) + " and " + markers[-1])),
        sentence(answer.format(entities=grounded(chosen))),
        chosen,
        template=f"several-{kind}/{q}/{a}",
    )
    for name in chosen:
        add_prompt(sample, masks, name, kind, rng)
    return sample


def add_prompt(sample: Sample, masks: SliceMasks, name: str, kind: str, rng: np.random.Generator) -> None:
    """Place a box or point on entity `name`."""
    target = masks.target(name)
    if kind == "box":
        sample.boxes.append(target.near_box(rng))
    else:
        sample.points.append((*target.point(rng), 1))


def pick_text(texts: Sequence[str], rng: np.random.Generator) -> tuple[int, str]:
    """A random text and its number."""
    number = int(rng.integers(len(texts)))
    return number, texts[number]


def pick_absent(absent_here: Sequence[str], absent_elsewhere: Sequence[str], rng: np.random.Generator) -> str:
    """What the image could show and does not, more often than what it never could."""
    prefer_here = absent_here and (not absent_elsewhere or rng.random() < 0.7)
    names = absent_here if prefer_here else absent_elsewhere
    return str(names[int(rng.integers(len(names)))])


def reasoning(
    masks: SliceMasks,
    known: Sequence[str],
    perspective: int,
    count: int,
    pool: Pool,
    rng: np.random.Generator,
) -> list[Sample]:
    """Write up to `count` samples of perspective III or IV, no draft twice.

    Args:
        masks: all entities of the slice.
        known: those of them that have a knowledge entry.
        pool: (entities, perspective, clue) -> the drafts that may be used.
    """
    samples: list[Sample] = []
    used: set[Draft] = set()
    order = [known[i] for i in rng.permutation(len(known))]
    for number in range(count if known else 0):
        one, clue = order[number // 2 % len(order)], "point" if number % 2 else "box"
        choices: list[tuple[tuple[str, ...], str]] = [((one,), clue if perspective == 4 else "")]
        if len(known) > 1 and rng.random() < SEVERAL:
            choices.insert(0, (several(known, rng, ordered=perspective == 3), "box" if perspective == 4 else ""))
        for entities, marked_by in choices:  # where nothing is known that several share, one of them is asked for
            drafts = [draft for draft in pool(entities, perspective, marked_by) if draft not in used]
            if drafts:
                draft = drafts[int(rng.integers(len(drafts)))]
                used.add(draft)
                samples.append(sample_of(draft, masks, rng))
                break
    return samples


def several(known: Sequence[str], rng: np.random.Generator, ordered: bool) -> tuple[str, ...]:
    """Two or three of the entities, in their own order or, where prompts say which is which, in any."""
    size = int(rng.integers(2, min(len(known), MAX_ENTITIES) + 1))
    chosen = rng.choice(len(known), size=size, replace=False)
    return tuple(known[i] for i in (sorted(chosen) if ordered else chosen))


def sample_of(draft: Draft, masks: SliceMasks, rng: np.random.Generator) -> Sample:
    """A draft on this slice: its prompts are drawn from the masks, in the order of its entities."""
    sample = Sample(
        draft.perspective,
        draft.question,
        f"{draft.answer} {draft.explanation}".strip(),
        list(draft.entities),
        template=f"{draft.writer}/{'+'.join(draft.aspects)}",
    )
    if draft.clue:
        for name in draft.entities:
            add_prompt(sample, masks, name, draft.clue, rng)
    return sample
