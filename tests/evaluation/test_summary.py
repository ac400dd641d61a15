"""Questions answered from masks in an evaluation: scored by kind, counted apart, shown in the report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import concatenate_datasets

from monai_mimo.evaluation.answer_records import AnswerRecord, failed_record, record_of
from monai_mimo.evaluation.evaluator import reference_of
from monai_mimo.evaluation.report import all_tables
from monai_mimo.evaluation.run import evaluate
from monai_mimo.evaluation.summary import summarise
from monai_mimo.inference.answer import Entity
from monai_mimo.mimoseg.encoding import decode_rle
from monai_mimo.models.weights import save_weights

from .scripted import scripted_model, small_set


def measured_row(row: dict[str, Any], kind: str, answer: str) -> dict[str, Any]:
    """The question about the liver, as one that is answered from its mask."""
    return {**row, "perspective": 5, "value": {"kind": kind, "answer": answer}}


@pytest.fixture(scope="module")
def records() -> list[AnswerRecord]:
    """Two named questions; then four measured ones, of which two get the right value, and one cannot be answered."""
    rows = small_set(images=4).remove_columns("image").to_list()
    livers = [row for row in rows if row["question"] == "Where is the liver?"]
    asked = [
        (livers[0], "It is the liver."),
        (livers[1], "There is none."),
        (measured_row(livers[0], "present", "yes"), "Yes, the liver is there."),
        (measured_row(livers[1], "present", "yes"), "No, there is no liver in this image."),
        (measured_row(livers[2], "left_right", "left"), "The liver lies in the left half of the image."),
    ]
    records = []
    for number, (row, text) in enumerate(asked):
        reference = reference_of(row)
        spans = [(found.start(), found.end()) for found in re.finditer("liver", text) if "no" not in text.lower()]
        mask = decode_rle(row["entities"][0]["mask"])
        said = [Entity(phrase="liver", mask=mask, score=0.9, span=span) for span in spans]
        records.append(record_of(number, row, text, said, reference))
    last = measured_row(livers[3], "left_right", "right")
    return [*records, failed_record(5, last, "no image", reference_of(last))]


def test_records_have_the_value_that_was_said(records: list[AnswerRecord]) -> None:
    assert [record["measured"] for record in records] == [
        None,
        None,
        {"kind": "present", "expected": "yes", "said": "yes", "right": 1},
        {"kind": "present", "expected": "yes", "said": "no", "right": 0},
        {"kind": "left_right", "expected": "left", "said": "left", "right": 1},
        {"kind": "left_right", "expected": "right", "said": None, "right": 0},
    ]
    json.dumps(records)


def test_a_summary_has_each_kind_beside_the_most_frequent_answer(records: list[AnswerRecord]) -> None:
    summary = summarise(records, resamples=50)
    cells = summary["measured"]
    assert list(cells) == ["present", "left_right", "all"]
    assert {k: cells["present"][k] for k in ("samples", "accuracy", "majority", "majority_answer")} == {
        "samples": 2,
        "accuracy": 0.5,
        "majority": 1.0,
        "majority_answer": "yes",
    }
    assert (cells["all"]["accuracy"], cells["all"]["unread"]) == (0.5, 1)
    assert cells["all"]["patients"] == 2
    low, high = cells["all"]["interval"]["accuracy"]
    assert 0 <= low <= 0.5 <= high <= 1


def test_grounding_of_measured_questions_is_counted_apart(records: list[AnswerRecord]) -> None:
    with_them, without = summarise(records, resamples=0), summarise(records[:2], resamples=0)
    apart = [name for name in with_them if "perspective V" in name]
    assert apart == ["perspective V", "CT, perspective V", "MR, perspective V"]
    assert with_them["perspective V"]["samples"] == 4
    for name, cell in without.items():
        if isinstance(cell, dict) and "f1" in cell:
            assert repr(with_them[name]) == repr(cell)  # "overall" among them


def test_a_report_with_nothing_else_shows_both_tables(records: list[AnswerRecord]) -> None:
    tables = {table.title: table for table in all_tables(summarise(records[2:], resamples=0))}
    measured = tables["Questions answered from masks (perspective V)"]
    assert measured.groups[0][0] == ["present", "2", "0.500", "1.000", "yes", "0"]
    grounding = tables["Grounding"]
    assert grounding.groups[-1] == [row for row in grounding.groups[-1] if row[0] == "perspective V"]


def test_a_whole_evaluation_with_measured_questions(tmp_path: Path) -> None:
    model, rows = scripted_model(), small_set(images=3)
    asked = rows.filter(lambda row: row["question"] == "Where is the liver?").map(
        lambda row: {"id": f"{row['id']}-V", "perspective": 5, "value": {"kind": "present", "answer": "yes"}}
    )
    weights = save_weights(model, tmp_path / "weights")
    summary = evaluate(model, weights, concatenate_datasets([rows, asked]), tmp_path / "out", resamples=0)
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    right = [line["predicted_answer"].lower().startswith("yes") for line in lines if line["perspective"] == 5]
    assert summary["measured"]["present"]["samples"] == len(right) == 3
    assert summary["measured"]["present"]["accuracy"] == pytest.approx(np.mean(right))
    assert summary["overall"]["samples"] == len(rows) - 3  # without VQA and V
    assert "Questions answered from masks" in (tmp_path / "out" / "report.html").read_text()
