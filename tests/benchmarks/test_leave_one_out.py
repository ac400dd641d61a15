"""What is measured of a set that was left out: boxes, the ellipse beside it, and the first mask of an answer."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from leave_one_out import (
    Recipe,
    box_of,
    dice_of_ellipse,
    dice_of_first,
    ellipse_in,
    questions_about_one,
    read_result,
    spread_images,
    summarise,
    write_result,
)

from monai_mimo.mimoseg.encoding import encode_rle
from monai_mimo.mimoseg.load import load_mimoseg

from ..engines.small_set import write_set


def test_box_of_a_mask() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[3:7, 10:25] = True
    assert box_of(mask) == (10, 3, 25, 7)


def test_ellipse_fills_its_part_of_the_box() -> None:
    mask = ellipse_in((10, 20, 110, 80), 100, 140)
    assert box_of(mask) == (10, 20, 110, 80)
    assert mask.sum() == pytest.approx(math.pi / 4 * 100 * 60, rel=0.01)


def record(said: list[np.ndarray], expected: np.ndarray, **values: object) -> dict:
    """A record of an answer with some masks."""
    return {
        "predicted_entities": [{"mask": encode_rle(mask)} for mask in said],
        "entities": [{"mask": encode_rle(expected)}],
        "patient": "p",
        "boxes": [],
        "points": [],
        "counts": {"phrases_right": 0},
        **values,
    }


def test_the_first_mask_counts_and_none_counts_zero() -> None:
    half, whole = np.zeros((2, 8, 8), dtype=bool)
    half[:, :4] = whole[:] = True
    assert dice_of_first(record([half, whole], whole)) == pytest.approx(2 / 3)
    assert dice_of_first(record([], whole)) == 0
    boxes = [record([half], whole, boxes=[[0, 0, 8, 8]]), record([], whole, boxes=[[0, 0, 8, 8]])]
    points = [record([whole], whole, points=[[1, 1, 1]])]
    result = summarise(boxes + points)
    assert result["box"]["value"] == pytest.approx(1 / 3)
    assert result["box"]["without_mask"] == 1
    assert result["point"]["value"] == 1
    covered = ellipse_in((0, 0, 8, 8), 8, 8).sum()
    assert dice_of_ellipse(boxes[0]) == pytest.approx(2 * covered / (covered + 64))


def test_questions_are_given_the_true_box(tmp_path: Path) -> None:
    rows = load_mimoseg(write_set(tmp_path / "set"), "train")
    values = rows.to_list()
    for row in values:
        if row["perspective"] == 2 and row["image_id"] == "train-0":
            row["points"], row["boxes"] = [], [[0, 0, 30, 30]]
    asked = questions_about_one(Dataset.from_list(values, features=rows.features))
    assert set(asked["perspective"]) == {2}
    [with_box] = [row for row in asked if row["boxes"]]
    [[x0, y0, x1, y1]] = with_box["boxes"]
    assert (x1 - x0, y1 - y0) == (14, 16)  # the squares of the small set
    assert all(row["points"] for row in asked if not row["boxes"])


def test_images_are_spread_over_each_source(tmp_path: Path) -> None:
    rows = load_mimoseg(write_set(tmp_path / "set"), "train")
    some = spread_images(rows, 3)
    assert list(dict.fromkeys(some["image_id"])) == ["train-0", "train-6", "train-13"]
    assert len(some) == 6  # all questions of each


def test_results_of_another_recipe_are_refused(tmp_path: Path) -> None:
    file, recipe = tmp_path / "a" / "baseline-0.json", Recipe(steps=3)
    assert read_result(file, recipe) is None
    write_result(file, recipe, measures={"F1": 0.5})
    result = read_result(file, recipe)
    assert result is not None
    assert result["measures"] == {"F1": 0.5}
    with pytest.raises(SystemExit, match="another recipe"):
        read_result(file, Recipe(steps=4))
