"""Rows of one slice: which perspectives, how many of each, and columns that belong together."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_mimo.mimoseg.builder.case import slice_rows
from monai_mimo.mimoseg.encoding import decode_rle
from monai_mimo.mimoseg.load import FEATURES
from monai_mimo.mimoseg.questions.pool import RowSettings
from monai_mimo.mimoseg.sources.cases import Case, Label
from monai_mimo.mimoseg.sources.read_case import ShownSlice, SliceMasks
from tests.mimoseg.questions.conftest import EXAMPLE

NAMES = ("liver", "spleen", "left kidney", "gizzard")
SETTINGS = RowSettings({"CT": (*NAMES, "polyp"), "dermoscopy": ("skin lesion",)}, knowledge=(EXAMPLE,))


def case(perspectives: tuple[int, ...] = (1, 2, 3, 4), modality: str = "CT") -> Case:
    labels = {name: Label(Path("labels.nii.gz"), value) for value, name in enumerate(NAMES, 1)}
    return Case("set", "patient 1", modality, Path("image.nii.gz"), labels, perspectives=perspectives)


def shown(names: tuple[str, ...] = NAMES, number: int = 3) -> ShownSlice:
    masks = SliceMasks()
    for row, name in enumerate(names):
        masks[name] = np.zeros((40, 30), dtype=bool)
        masks[name][10 * row : 10 * row + 8, 4:20] = True
    return ShownSlice(b"png", (40, 30), number, (1.0, 2.0), masks, ["polyp"])


@pytest.mark.parametrize(
    ("allowed", "wanted", "count", "expected"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4), 8, {1: 2, 2: 2, 3: 2, 4: 2}),
        ((1, 2), (1, 2, 3, 4), 8, {1: 4, 2: 4}),
        ((3, 4), (1, 2, 3, 4), 6, {3: 3, 4: 3}),
        ((1, 2, 3, 4), (4,), 5, {4: 5}),
        ((4,), (3, 4), 2, {4: 2}),
        ((1, 2, 3, 4), (1, 2, 3, 4), 2, {1: 1, 2: 1, 3: 1, 4: 1}),
        ((1, 2), (3, 4), 8, {}),
        ((1, 2, 3, 4), (1, 2, 3, 4, 5), 8, {1: 2, 2: 2, 3: 2, 4: 2, 5: 4}),
        ((1, 2), (1, 5), 3, {1: 3, 5: 1}),
        ((1, 2), (5,), 6, {5: 6}),
    ],
)
def test_equal_parts_of_what_is_allowed_and_wanted(
    allowed: tuple[int, ...], wanted: tuple[int, ...], count: int, expected: dict[int, int]
) -> None:
    rows = slice_rows(case(allowed), shown(), replace(SETTINGS, perspectives=wanted, questions_per_image=count))
    assert Counter(row["perspective"] for row in rows) == expected


@settings(max_examples=30, deadline=None)
@given(st.sets(st.sampled_from(NAMES)), st.integers(1, 24), st.integers(0, 1000))
def test_every_row_fits_the_slice(names: set[str], count: int, seed: int) -> None:
    part = shown(tuple(name for name in NAMES if name in names))
    rows = list(slice_rows(case(), part, replace(SETTINGS, questions_per_image=count, seed=seed)))
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert set(row) == set(FEATURES)
        phrases = [entity["phrase"] for entity in row["entities"]]
        assert re.findall(r"<p> (.+?) </p> <SEG>", row["answer"]) == phrases
        for entity in row["entities"]:
            np.testing.assert_array_equal(decode_rle(entity["mask"]), part.masks[entity["phrase"]])
        if row["perspective"] in (3, 4):
            assert phrases
            assert "gizzard" not in phrases
            explanation = row["answer"].split("<SEG>")[-1]
            assert re.search(r"\. [A-Z]", explanation)
            assert row["template"].startswith("offline/")
            assert not row["absent"]
        prompted = row["perspective"] in (2, 4) or row["value"]["kind"] == "marked"
        assert len(row["boxes"]) + len(row["points"]) == (len(phrases) if prompted else 0)
        assert bool(row["value"]["kind"]) == bool(row["value"]["answer"]) == (row["perspective"] == 5)


def test_rows_depend_on_seed_and_slice_alone() -> None:
    first = list(slice_rows(case(), shown(), SETTINGS))
    assert list(slice_rows(case(), shown(), pickle.loads(pickle.dumps(SETTINGS)))) == first
    for other in (
        slice_rows(case(), shown(), replace(SETTINGS, seed=1)),
        slice_rows(case(), shown(number=4), SETTINGS),
    ):
        assert [row["question"] for row in other] != [row["question"] for row in first]


def test_reasoning_leaves_the_rows_of_one_and_two_as_they_are() -> None:
    """With the same number of each, I and II are the same whether III and IV follow or not."""
    both = list(slice_rows(case(), shown(), replace(SETTINGS, perspectives=(1, 2), questions_per_image=4)))
    every = list(slice_rows(case(), shown(), replace(SETTINGS, questions_per_image=8)))
    assert every[: len(both)] == both


def test_measuring_leaves_all_other_rows_as_they_are() -> None:
    without = list(slice_rows(case(), shown(), replace(SETTINGS, perspectives=(1, 2, 3, 4))))
    every = list(slice_rows(case(), shown(), SETTINGS))
    assert every[: len(without)] == without
    assert {row["perspective"] for row in every[len(without) :]} == {5}


def test_what_is_measured_does_not_depend_on_what_else_is_asked() -> None:
    def measured(perspectives: tuple[int, ...]) -> list[tuple]:
        rows = slice_rows(case(), shown(), replace(SETTINGS, perspectives=perspectives))
        return [(row["question"], row["answer"], row["value"]) for row in rows if row["perspective"] == 5]

    assert measured((1, 5)) == measured((2, 3, 4, 5)) == measured((1, 2, 3, 4, 5))


def test_nothing_to_point_at_gives_refusals_only() -> None:
    rows = list(slice_rows(case(), shown(()), SETTINGS))
    assert {row["perspective"] for row in rows} == {1, 5}
    assert not any(row["entities"] for row in rows)
    assert all(row["absent"] or row["value"]["kind"] == "modality" for row in rows)


def test_what_a_set_shows_without_a_label_is_never_called_absent() -> None:
    """In this set vertebrae beside the picture's middle are seen and not labelled, so an empty mask says nothing."""
    spine = Case(
        "spine_mr_vb3", "1", "MR", Path("image.png"), {f"L{n} vertebra": Label(Path("m.png"), n) for n in range(1, 6)}
    )
    named = RowSettings({"MR": tuple(spine.labels), "fundus": ("optic disc",)}, questions_per_image=40)
    for number in range(20):
        slice_ = shown(("L2 vertebra",), number)
        slice_.absent = ["L1 vertebra"]
        absent = {name for row in slice_rows(spine, slice_, named) for name in row["absent"]}
        assert absent
        assert not {name for name in absent if name.endswith("vertebra") or name in ("aorta", "sacrum", "rib")}
