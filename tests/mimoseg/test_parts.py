"""Splits, templates, run-length codes and questions, each by itself."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monai_mimo.errors import InputError
from monai_mimo.mimoseg.builder.plan import parse_ratio, split_patients
from monai_mimo.mimoseg.encoding import decode_rle, encode_rle
from monai_mimo.mimoseg.questions.perspectives import instructions, visual_clues
from monai_mimo.mimoseg.questions.templates import grounded, listed, templates
from monai_mimo.mimoseg.sources.read_case import SliceMasks


@given(arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_rle_round_trip(mask: np.ndarray) -> None:
    rle = encode_rle(mask)
    np.testing.assert_array_equal(decode_rle(rle), mask)
    assert rle["size"] == list(mask.shape)


def test_rle_is_column_major_as_in_coco() -> None:
    """COCO's uncompressed counts of this mask are 1, 2, 3 (down the first column, then the second); its compressed
    form stores each count in base 48 from the letter "0" on."""
    mask = np.array([[0, 0], [1, 0], [1, 0]], dtype=bool)
    assert encode_rle(mask)["counts"] == "123"


@given(st.sets(st.text(min_size=1, max_size=4), min_size=3, max_size=60), st.integers(0, 5))
def test_split_is_a_partition_that_ignores_order(patients: set[str], seed: int) -> None:
    splits = split_patients(sorted(patients), (0.8, 0.1, 0.1), seed)
    assert set(splits) == patients
    assert split_patients(sorted(patients, reverse=True), (0.8, 0.1, 0.1), seed) == splits
    counts = {name: list(splits.values()).count(name) for name in ("train", "validation", "test")}
    assert min(counts.values()) >= 1
    for name in ("validation", "test"):
        assert abs(counts[name] - 0.1 * len(patients)) <= 1


@pytest.mark.parametrize(("text", "fractions"), [("80:10:10", (0.8, 0.1, 0.1)), ("99:0.5:0.5", (0.99, 0.005, 0.005))])
def test_ratio(text: str, fractions: tuple) -> None:
    assert parse_ratio(text) == pytest.approx(fractions)


@pytest.mark.parametrize("text", ["80:10", "a:b:c", "0:50:50", "80:-10:30", ""])
def test_bad_ratio(text: str) -> None:
    with pytest.raises(InputError):
        parse_ratio(text)


def test_there_are_enough_templates_and_they_differ() -> None:
    one = templates()["instruction"]
    assert len(set(one["questions"])) >= 9
    assert len(set(one["answers_one"])) >= 6
    assert len(set(one["answers_several"])) >= 6
    for kind in ("box", "point"):
        section = templates()["visual_clue"][kind]
        assert len(set(section["questions"])) >= 8
        assert len(set(section["answers"])) >= 6
        assert all(q.count(f"<{kind}>") == 1 and "{" not in q for q in section["questions"])
        assert all(a.count("{entities}") == 1 for a in section["answers"])


def test_lists_read_as_english() -> None:
    assert listed(["a"]) == "the a"
    assert listed(["a", "b"]) == "the a and the b"
    assert listed(["a", "b", "c"]) == "the a, the b and the c"
    assert grounded(["a"]) == "the <p> a </p> <SEG>"


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
