"""Questions whose answers are measured on the masks of a slice: perspective V.

An answer is one sentence with one value, and grounds what it is about. Whatever a mask leaves in doubt is not asked (`measures`),
and yes and no are asked for with the same chance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, permutations

import numpy as np

from ..catalogue.vocabulary import standard_name, vocabulary
from ..categories import MEASURED
from ..sources.read_case import SliceMasks
from . import geometry
from .perspectives import Sample, add_prompt, pick_absent, pick_text
from .templates import grounded, image_of, listed, marked, measured_templates, sentence

ROUNDS = 3  # through the kinds, to find as many different questions as are wanted
ONE_PART = 0.3  # of the counts of one part are asked for, for most structures are one
MOST_COUNTED = 10
BOXES_APART = 0.5  # overlap (IoU) of the boxes of two structures, above which a box does not tell them apart


@dataclass(frozen=True)
class Scene:
    """What is known of one slice.

    Attributes:
        masks: the entities that can be asked for.
        absent_here: entities that the source labels and that this image lacks.
        absent_elsewhere: names of other kinds of images, which this one cannot show (`catalogue.plausible`).
        spacing_mm: (row, column), where it is known.
    """

    masks: SliceMasks
    modality: str
    absent_here: Sequence[str]
    absent_elsewhere: Sequence[str]
    spacing_mm: tuple[float, float] | None

    def absent(self, rng: np.random.Generator) -> str | None:
        """A name of what is not there and no other name of what is there, or none."""
        here, elsewhere = (
            [name for name in names if not any(related(name, present) for present in self.masks)]
            for names in (self.absent_here, self.absent_elsewhere)
        )
        return pick_absent(here, elsewhere, rng) if here or elsewhere else None

    def one(self, rng: np.random.Generator) -> str | None:
        """The name of a random entity, or none."""
        names = list(self.masks)
        return names[rng.integers(len(names))] if names else None


def measured_samples(scene: Scene, count: int, rng: np.random.Generator) -> list[Sample]:
    """Write up to `count` different samples of perspective V, of as many kinds as there can be."""
    # By kind and by what is grounded; of what is there or absent once, for there are more names to deny than to affirm.
    samples: dict[tuple[str, ...], Sample] = {}
    chances = np.array([chance for _, chance in ASK.values()])
    rounds = (rng.choice(list(ASK), size=len(ASK), replace=False, p=chances / chances.sum()) for _ in range(ROUNDS))
    for kind in chain.from_iterable(rounds):
        if len(samples) == count:
            break
        ask, _ = ASK[kind]
        sample = ask(scene, rng)
        if sample is not None:
            samples.setdefault((kind, *(sample.phrases if kind != "present" else ())), sample)
    return list(samples.values())


def related(one: str, other: str) -> bool:
    """Whether two names may mean the same thing, or one a part of the other: "lung" and "left lung"."""
    names = [standard_name(name) or name for name in (one, other)]
    families = [vocabulary()[name].family if name in vocabulary() else "" for name in names]
    words = [set(name.split()) for name in names]
    return (
        names[0] in (names[1], families[1]) or names[1] == families[0] or words[0] <= words[1] or words[1] <= words[0]
    )


def ask_modality(scene: Scene, rng: np.random.Generator) -> Sample | None:
    """Which kind of image it is."""
    if not scene.modality:
        return None
    return _sample("modality", scene.modality, [], rng, image=image_of(scene.modality))


def ask_present(scene: Scene, rng: np.random.Generator) -> Sample | None:
    """Whether something is there; where it could only be yes, nothing is asked."""
    present, absent = scene.one(rng), scene.absent(rng)
    if absent is None:
        return None
    if present is None or rng.random() < 0.5:
        texts = {"name": absent, "entity": listed([absent]), "absent": absent, **_verbs(absent)}
        sample = _sample("present", "no", [], rng, answers="no", **texts)
        sample.absent = [absent]
        return sample
    return _sample("present", "yes", [present], rng, answers="yes", name=present, **_verbs(present))


def ask_marked(scene: Scene, rng: np.random.Generator) -> Sample | None:
    """Whether what a point or a box marks has the name that is said; where it could only be yes, nothing is asked."""
    name = scene.one(rng)
    if name is None:
        return None
    clue = ("point", "box")[rng.integers(2)]
    others = [other for other in scene.masks if other != name and _distinguishable(scene.masks, name, other, clue)]
    absent = scene.absent(rng)
    if not others and absent is None:
        return None
    fits = rng.random() < 0.5
    asked = name
    if not fits:
        use_other = others and (absent is None or rng.random() < 0.7)
        asked = others[rng.integers(len(others))] if use_other else str(absent)
    texts = {"asked": asked, "marker": f"<{clue}>", "question_entity": listed([asked]), **_verbs(asked)}
    sample = _sample("marked", "yes" if fits else "no", [name], rng, answers="yes" if fits else "no", **texts)
    sample.absent = [] if asked in scene.masks else [asked]
    add_prompt(sample, scene.masks, name, clue, rng)
    return sample


def ask_count(scene: Scene, rng: np.random.Generator) -> Sample | None:
    """How many parts something countable has."""
    names = {name: plural for name in scene.masks if (plural := plural_of(name))}
    if not names:
        return None
    name = list(names)[rng.integers(len(names))]
    count = geometry.count_parts(scene.masks[name])
    if count is None or count > MOST_COUNTED or (count == 1 and rng.random() >= ONE_PART):
        return None
    answers = "one" if count == 1 else "several"
    return _sample("count", str(count), [name], rng, answers=answers, plural=names[name], phrase=marked(name))


def ask_left_right(scene: Scene, rng: np.random.Generator) -> Sample | None:
    """In which half of the image something lies, from left to right."""
    return _ask_place("left_right", lambda mask: geometry.image_half(mask, 1), scene, rng)


def ask_upper_lower(scene: Scene, rng: np.random.Generator) -> Sample | None:
    """In which half of the image something lies, from top to bottom."""
    return _ask_place("upper_lower", lambda mask: geometry.image_half(mask, 0), scene, rng)


def ask_quarter(scene: Scene, rng: np.random.Generator) -> Sample | None:
    """In which quarter of the image something lies."""
    return _ask_place("quarter", geometry.quarter, scene, rng)


def ask_larger(scene: Scene, rng: np.random.Generator) -> Sample | None:
    """Which of two covers more of the image."""
    pairs = list(permutations(scene.masks, 2))
    if not pairs:
        return None
    one, other = pairs[rng.integers(len(pairs))]
    is_larger = geometry.is_larger(scene.masks[one], scene.masks[other])
    if is_larger is None:
        return None
    larger, smaller = (one, other) if is_larger else (other, one)
    texts = {"one": listed([one]), "other": listed([other])}
    texts |= {"larger": grounded([larger]), "smaller": grounded([smaller]), **_verbs(larger)}
    return _sample("larger", larger, [larger, smaller], rng, **texts)


def ask_diameter(scene: Scene, rng: np.random.Generator) -> Sample | None:
    """The longest diameter of something in one piece, where the spacing is known."""
    name = scene.one(rng)
    if name is None or scene.spacing_mm is None:
        return None
    diameter = geometry.longest_diameter(scene.masks[name], scene.spacing_mm)
    return None if diameter is None else _of_size("diameter_mm", diameter, name, scene, rng)


def ask_area(scene: Scene, rng: np.random.Generator) -> Sample | None:
    """The area in square mm, where the spacing is known."""
    name = scene.one(rng)
    if name is None or scene.spacing_mm is None:
        return None
    return _of_size("area_mm2", geometry.area(scene.masks[name], scene.spacing_mm), name, scene, rng)


def ask_percent(scene: Scene, rng: np.random.Generator) -> Sample | None:
    """The area as a part of the image, where the spacing is not known."""
    name = scene.one(rng)
    if name is None or scene.spacing_mm is not None:
        return None
    return _of_size("area_percent", geometry.percent(scene.masks[name]), name, scene, rng)


Asker = Callable[[Scene, np.random.Generator], Sample | None]

# Each kind with how soon it comes up beside the others: those that few images allow come first more often.
ASK: dict[str, tuple[Asker, int]] = {
    "modality": (ask_modality, 1),
    "present": (ask_present, 2),
    "marked": (ask_marked, 2),
    "count": (ask_count, 4),
    "left_right": (ask_left_right, 2),
    "upper_lower": (ask_upper_lower, 1),
    "quarter": (ask_quarter, 2),
    "larger": (ask_larger, 2),
    "diameter_mm": (ask_diameter, 1),
    "area_mm2": (ask_area, 1),
    "area_percent": (ask_percent, 1),
}


def plural_of(name: str) -> str | None:
    """ "cell nucleus" -> "cell nuclei"; none for what is not counted, as "left lung", "L1 vertebra" or "liver"."""
    words = measured_templates()
    known = vocabulary().get(standard_name(name) or "")
    one_thing = re.search(r"\d|\b(left|right)\b", name) or (known is not None and known.family)
    before, _, last = name.rpartition(" ")
    if one_thing or name in words["uncounted"] or last not in words["plurals"]:
        return None
    return f"{before} {words['plurals'][last]}".strip()


def _distinguishable(masks: SliceMasks, name: str, other: str, clue: str) -> bool:
    """Whether a point or box on `name` surely does not mean `other`."""
    if related(name, other) or (masks[name] & masks[other]).any():
        return False
    return clue == "point" or _overlap(masks.target(name).box, masks.target(other).box) <= BOXES_APART


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """IoU of two boxes (x0, y0, x1, y1)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    return both / (sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (one, other)) - both)


def _verbs(name: str) -> dict[str, str]:
    """The verbs of the templates as a name has them, which may be plural by nature."""
    known = vocabulary().get(standard_name(name) or "")
    if known is not None and known.plural:
        return {"be": "are", "do": "do", "lie": "lie", "cover": "cover", "take": "take", "s": ""}
    return {"be": "is", "do": "does", "lie": "lies", "cover": "covers", "take": "takes", "s": "s"}


def _ask_place(
    kind: str, place: Callable[[np.ndarray], str | None], scene: Scene, rng: np.random.Generator
) -> Sample | None:
    name = scene.one(rng)
    value = None if name is None else place(scene.masks[name])
    return None if name is None or value is None else _sample(kind, value, [name], rng, **_verbs(name))


def _of_size(kind: str, size: float, name: str, scene: Scene, rng: np.random.Generator) -> Sample:
    texts = _verbs(name)
    if scene.spacing_mm is not None:
        height, width = np.multiply(scene.masks[name].shape, scene.spacing_mm)
        _, scale = pick_text(measured_templates()["scale"], rng)
        texts["scale"] = scale.format(width=round(width), height=round(height))
    return _sample(kind, geometry.two_digits(size), [name], rng, **texts)


def _sample(
    kind: str, value: str, names: list[str], rng: np.random.Generator, *, answers: str = "answers", **texts: str
) -> Sample:
    """One question and answer of a kind, in random words, about `names`, which the answer grounds.

    Args:
        answers: which of the answers of the kind.
        texts: what the templates hold besides, and `question_entity`, where the question names another thing.
    """
    section = measured_templates()[kind]
    q, question = pick_text(section["questions"], rng)
    a, answer = pick_text(section[answers], rng)
    if names:
        texts = {"name": names[0], "phrase": marked(names[0]), **texts}
    asked = {**texts, "entity": texts.get("question_entity") or texts.get("entity") or listed(names[:1])}
    filled = {**texts, "entity": grounded(names[:1])}
    section_name = kind if answers == "answers" else f"{kind}-{answers}"
    return Sample(
        MEASURED,
        sentence(question.format(**asked)),
        sentence(answer.format(**filled, value=value)),
        names,
        template=f"{section_name}/{q}/{a}",
        value=(kind, value),
    )
