"""Questions and answers about one displayed slice: perspective I (named entities) and II (a point or a box)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .slice_masks import SliceMasks
from .templates import grounded, listed, sentence, templates

REFUSALS, MIXED = 0.28, 0.08  # of the named questions ask for what is not there, alone or beside what is
SEVERAL_PROMPTS = 0.1  # of the visual-clue questions about images with several entities


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
    q, question = pick(section["questions"], rng)
    a, answer = pick(section["answers_one" if len(names) == 1 else "answers_several"], rng)
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
    q, question = pick(section["questions"], rng)
    a, answer = pick(section["refusals"], rng)
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
    q, question = pick(section["questions"], rng)
    a, answer = pick(section["answers_mixed"], rng)
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
    q, question = pick(section["questions"], rng)
    a, answer = pick(section["answers"], rng)
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
    q, question = pick(section["questions"], rng)
    a, answer = pick(section["answers"], rng)
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


def pick(texts: Sequence[str], rng: np.random.Generator) -> tuple[int, str]:
    """A random text and its number."""
    number = int(rng.integers(len(texts)))
    return number, texts[number]


def pick_absent(absent_here: Sequence[str], absent_elsewhere: Sequence[str], rng: np.random.Generator) -> str:
    """What the image could show and does not, more often than what it never could."""
    prefer_here = absent_here and (not absent_elsewhere or rng.random() < 0.7)
    names = absent_here if prefer_here else absent_elsewhere
    return str(names[int(rng.integers(len(names)))])
