"""Figures on real images: measured questions are counted apart, and change none of the others."""

from __future__ import annotations

from real_quality import summarise

from monai_mimo.evaluation.answer_records import record_of
from monai_mimo.evaluation.evaluator import reference_of
from tests.evaluation.scripted import small_set


def test_measured_questions_are_apart() -> None:
    rows = small_set(images=4).remove_columns("image").to_list()
    rows = [row for row in rows if row["perspective"]]
    value = {"kind": "present", "answer": "yes"}
    asked = [{**row, "perspective": 5, "value": value} for row in rows if row["question"] == "Where is the liver?"]
    texts = ["Yes, the liver is there.", "No, I see no liver.", "Yes, I see the liver.", "The liver."]
    before = [record_of(n, row, "", [], reference_of(row)) for n, row in enumerate(rows)]
    apart = [record_of(n, row, text, [], reference_of(row)) for n, (row, text) in enumerate(zip(asked, texts), 99)]
    without, with_them = summarise(before), summarise([*before, *apart])
    assert with_them["measured"]["present"]["accuracy"] == 2 / 4
    assert with_them["measured"]["present"]["majority"] == 1
    assert with_them["measured"]["present"]["unread"] == 1
    assert without["measured"] == {}
    for part in ("dice", "all", "moved_prompt"):
        assert repr(with_them[part]) == repr(without[part])
