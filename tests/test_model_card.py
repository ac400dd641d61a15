"""The figures on the pages are those of docs/model-card.json, which are of the weights that are shipped."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from monai_mimo.models.default_weights import SHIPPED
from monai_mimo.models.weights import fingerprint

SCRIPT = Path(__file__).parents[1] / "docs" / "make_model_card.py"
spec = importlib.util.spec_from_file_location("make_model_card", SCRIPT)
assert spec is not None
assert spec.loader is not None
make_model_card = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_model_card)


def test_pages_hold_the_figures_of_the_file() -> None:
    for file, text in make_model_card.pages().items():
        assert text == file.read_text(), f"{file.name}: run python docs/make_model_card.py"


def test_the_figures_are_of_the_shipped_weights() -> None:
    figures = json.loads(make_model_card.FIGURES.read_text())
    for part in ("obey", "lite"):
        assert figures[part]["weights"] == f"lite@{fingerprint(SHIPPED / 'lite')}"


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    text = "before\n<!-- a: begin -->\nold\n<!-- a: end -->\nafter"
    assert (
        make_model_card.between(text, "a", "new\nlines")
        == "before\n<!-- a: begin -->\nnew\nlines\n<!-- a: end -->\nafter"
    )
    with pytest.raises(ValueError, match="not found"):
        make_model_card.between(text, "b", "new")


def test_a_mean_without_values_leaves_its_cell_empty() -> None:
    assert make_model_card.with_interval([0.8378, 0.8, 0.866, 12]) == "0.84 (0.80-0.87)"
    assert make_model_card.with_interval([None, None, None, 0]) == ""
    assert make_model_card.rounded({"a": [float("nan"), 0.123456], "b": 3}) == {"a": [None, 0.1235], "b": 3}
