"""The rules of all four perspectives hold for whatever masks a slice has."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_mimo.mimoseg.questions.perspectives import MAX_ENTITIES, Sample, instructions, reasoning, visual_clues
from monai_mimo.mimoseg.questions.pool import RowSettings, draft_pool
from monai_mimo.mimoseg.questions.words import give_away
from monai_mimo.mimoseg.sources.read_case import SliceMasks
from tests.mimoseg.questions.conftest import EXAMPLE

KNOWN = ["liver", "spleen", "left kidney", "right kidney", "portal and splenic veins", "skin lesion"]
UNKNOWN = ["gizzard", "crop"]
SETTINGS = RowSettings({}, knowledge=(EXAMPLE,))


@st.composite
def slices(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Blobs of any size and place, which may overlap."""
    names = draw(st.lists(st.sampled_from(KNOWN + UNKNOWN), min_size=1, max_size=5, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    masks = {}
    for name in names:
        y, x = rng.integers(0, 40, 2)
        height, width = rng.integers(3, 20, 2)
        mask = np.zeros((48, 56), dtype=bool)
        mask[y : y + height, x : x + width] = True
        masks[name] = mask
    return masks


def pool(entities: tuple[str, ...], perspective: int, clue: str) -> tuple:
    return draft_pool(entities, perspective, clue, SETTINGS)


def check_sample(sample: Sample, masks: dict[str, np.ndarray]) -> None:
    """What holds for every perspective: phrases, masks, markers and prompts agree in number and order."""
    assert re.findall(r"<p> (.+?) </p> <SEG>", sample.answer) == sample.phrases
    assert len(set(sample.phrases)) == len(sample.phrases)
    assert set(sample.phrases) <= set(masks)
    markers = re.findall(r"<(point|box)>", sample.question)
    assert (markers.count("point"), markers.count("box")) == (len(sample.points), len(sample.boxes))
    if sample.perspective in (1, 3):
        assert not markers
        return
    assert len(markers) == len(sample.phrases)
    assert len(set(markers)) == 1
    for (x, y, label), phrase in zip(sample.points, sample.phrases):
        assert label == 1
        assert masks[phrase][y, x]
    for (x0, y0, x1, y1), phrase in zip(sample.boxes, sample.phrases):
        mask = masks[phrase]
        assert 0 <= x0 < x1 <= mask.shape[1]
        assert 0 <= y0 < y1 <= mask.shape[0]
        assert mask[y0:y1, x0:x1].sum() > 0.7 * mask.sum()


@settings(max_examples=60, deadline=None)
@given(slices(), st.sampled_from([3, 4]), st.integers(1, 8), st.integers(0, 10_000))
def test_reasoning(masks: dict[str, np.ndarray], perspective: int, count: int, seed: int) -> None:
    known = [name for name in masks if name in KNOWN]
    samples = reasoning(SliceMasks(masks), known, perspective, count, pool, np.random.default_rng(seed))
    assert len(samples) == (count if known else 0)
    assert len({(sample.question, *sample.phrases) for sample in samples}) == len(samples)
    for sample in samples:
        check_sample(sample, masks)
        assert sample.perspective == perspective
        assert 1 <= len(sample.phrases) <= MAX_ENTITIES
        assert not set(sample.phrases) & set(UNKNOWN)
        assert not any(give_away(name).search(sample.question.casefold()) for name in sample.phrases)
        assert sample.template.startswith("offline/")
        if perspective == 3:
            assert sample.phrases == [name for name in masks if name in sample.phrases]
        if len(sample.phrases) > 1:
            assert not sample.points


@settings(max_examples=40, deadline=None)
@given(slices(), st.integers(1, 8), st.integers(0, 10_000))
def test_instructions_and_visual_clues(masks: dict[str, np.ndarray], count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    named, pointed = instructions(masks, ["tumor"], ["lung"], count, rng), visual_clues(SliceMasks(masks), count, rng)
    assert len(named) == len(pointed) == count
    for sample in (*named, *pointed):
        check_sample(sample, masks)
    for sample in named:
        assert all(name in sample.question for name in (*sample.phrases, *sample.absent))
    for sample in pointed:
        assert not any(give_away(name).search(sample.question.casefold()) for name in sample.phrases)


@settings(max_examples=20, deadline=None)
@given(slices(), st.sampled_from([3, 4]), st.integers(0, 10_000))
def test_the_same_seed_gives_the_same_samples(masks: dict[str, np.ndarray], perspective: int, seed: int) -> None:
    known = [name for name in masks if name in KNOWN]
    first, again = (
        reasoning(SliceMasks(masks), known, perspective, 4, pool, np.random.default_rng(seed)) for _ in range(2)
    )
    assert first == again


def test_several_entities_are_asked_for_and_every_clue_is_used() -> None:
    masks = {name: np.ones((20, 20), dtype=bool) for name in KNOWN[:4]}
    rng = np.random.default_rng(0)
    third = [s for _ in range(20) for s in reasoning(SliceMasks(masks), KNOWN[:4], 3, 4, pool, rng)]
    fourth = [s for _ in range(20) for s in reasoning(SliceMasks(masks), KNOWN[:4], 4, 4, pool, rng)]
    for samples in (third, fourth):
        assert {len(sample.phrases) for sample in samples} == {1, 2, 3}
        assert 0.1 < np.mean([len(sample.phrases) > 1 for sample in samples]) < 0.45
    alone = [sample for sample in fourth if len(sample.phrases) == 1]
    assert 0.3 < np.mean([bool(sample.points) for sample in alone]) < 0.7


def test_the_words_of_one_and_two_are_drawn_as_ever() -> None:
    """What a seed has given since the first version: training sets that were built before can be built again."""
    liver, spleen = np.zeros((24, 24), dtype=bool), np.zeros((24, 24), dtype=bool)
    liver[2:9, 3:12] = True
    spleen[12:22, 8:20] = True
    masks, rng = {"liver": liver, "spleen": spleen}, np.random.default_rng(7)
    samples = [*instructions(masks, ["tumor"], ["lung"], 3, rng), *visual_clues(SliceMasks(masks), 3, rng)]
    assert [(s.template, s.phrases, s.absent, s.points, s.boxes) for s in samples] == [
        ("instruction-one/9/4", ["spleen"], [], [], []),
        ("instruction-refusal/8/1", [], ["tumor"], [], []),
        ("instruction-refusal/9/0", [], ["lung"], [], []),
        ("box/7/1", ["liver"], [], [], [(3, 2, 12, 9)]),
        ("point/4/5", ["liver"], [], [(8, 6, 1)], []),
        ("box/3/5", ["spleen"], [], [], [(8, 12, 20, 22)]),
    ]


@given(st.integers(0, 10_000), st.integers(0, 4), st.integers(1, 6))
def test_samples_fit_their_masks(seed: int, entities: int, count: int) -> None:
    """Whatever is drawn: phrases exist, prompts match markers and stand in order on their masks."""
    masks = {}
    for number in range(entities):
        mask = np.zeros((24, 24), dtype=bool)
        mask[6 * number : 6 * number + 5, 3:20] = True
        masks[f"entity {number}"] = mask
    rng = np.random.default_rng(seed)
    samples = [*instructions(masks, ["tumor"], ["lung"], count, rng), *visual_clues(SliceMasks(masks), count, rng)]
    for sample in samples:
        assert re.findall(r"<p> (.+?) </p> <SEG>", sample.answer) == sample.phrases
        assert set(sample.phrases) <= set(masks)
        assert sample.question.count("<point>") == len(sample.points)
        assert sample.question.count("<box>") == len(sample.boxes)
        assert "{" not in sample.question + sample.answer
        for (x, y, _), phrase in zip(sample.points, sample.phrases):
            assert masks[phrase][y, x]
        if sample.perspective == 2:
            assert "entity" not in sample.question
    if entities:
        assert len(samples) == 2 * count


def test_a_click_on_a_whole_avoids_its_part() -> None:
    disc, cup = np.zeros((30, 30), dtype=bool), np.zeros((30, 30), dtype=bool)
    disc[5:25, 5:25] = True
    cup[8:22, 8:22] = True
    rng = np.random.default_rng(0)
    for _ in range(20):
        for sample in visual_clues(SliceMasks({"disc": disc, "cup": cup}), 4, rng):
            for (x, y, _), phrase in zip(sample.points, sample.phrases):
                assert cup[y, x] == (phrase == "cup")
