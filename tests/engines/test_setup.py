"""Rows that a model's context cannot hold are left out, and said to be."""

from __future__ import annotations

import logging

import pytest
from datasets import Dataset

from monai_mimo.engines import rows_that_fit
from monai_mimo.models import Mimo

START = "It is the <p> liver </p> <SEG>."
LONG = " because it is so" * 100


def test_long_questions_and_lists_are_left_out(nano: Mimo, caplog: pytest.LogCaptureFixture) -> None:
    """A long explanation stays, for it can be cut; a long question cannot, nor an answer that grounds something late."""
    texts = [("What?", START), ("What?", START + LONG), ("What" + LONG, START), ("What?", LONG + START)]
    rows = Dataset.from_dict(
        {
            "question": [q for q, _ in texts],
            "answer": [a for _, a in texts],
            "points": [[]] * len(texts),
            "boxes": [[]] * len(texts),
        }
    )
    with caplog.at_level(logging.WARNING):
        assert rows_that_fit(rows, nano)["answer"] == [START, START + LONG]
    assert "2 of 4 questions are left out" in caplog.text
    assert rows_that_fit(rows, nano, with_answers=False)["question"] == ["What?"] * 3
    assert rows_that_fit(rows.select([0]), nano) is not None
