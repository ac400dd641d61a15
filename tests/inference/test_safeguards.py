"""Thresholds, withheld phrases, and questions that ask for advice."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_mimo.errors import InputError
from monai_mimo.inference.answer import Answer, Entity
from monai_mimo.inference.safeguards import ADVICE, NOTICE, WITHHELD, Thresholds, asks_for_advice, guard
from monai_mimo.mimoseg.catalogue.vocabulary import vocabulary
from monai_mimo.mimoseg.questions.templates import KINDS, listed, measured_templates, templates


def answer(text: str, **scores: float) -> Answer:
    """Each phrase (with _ for blanks) is an entity where it first stands in the text."""
    entities = []
    for name, score in scores.items():
        phrase = name.replace("_", " ")
        start = text.lower().index(phrase)
        entities.append(Entity(text[start : start + len(phrase)], (start, start + len(phrase)), np.eye(4) > 0, score))
    return Answer(text, entities, (4, 4))


def test_three_states() -> None:
    text = "Here are the liver, the left kidney and the spleen."
    guarded = guard(answer(text, liver=0.9, left_kidney=0.1, spleen=0.3), "Segment them.")
    out = guarded.answer
    assert out.text == f"Here are the liver, the {WITHHELD} and the spleen."
    assert [out.text[slice(*e.span)] for e in out.entities] == ["liver", "spleen"]
    assert guarded.statuses == ["shown", "uncertain"]
    assert [out.text[slice(*w.span)] for w in guarded.withheld] == [WITHHELD]
    assert out.warnings == [
        "uncertain: spleen (score 0.30)",
        "withheld: a phrase and its mask (score 0.10, below 0.20)",
    ]
    assert guarded.notices == [NOTICE]


def test_a_region_without_a_name_is_never_withheld() -> None:
    """It claims nothing but its outline, which people can correct."""
    given_ = answer("This is a region that I have no name for.", region=0.05)
    guarded = guard(given_, "What is this?")
    assert guarded.answer.text == given_.text
    assert guarded.statuses == ["uncertain"]
    assert guarded.withheld == []
    assert guarded.answer.warnings == ["uncertain: region (score 0.05)"]


def test_nothing_of_a_withheld_phrase_is_in_the_json() -> None:
    text = "That is the liver tumor. A liver tumor may grow; Liver Tumors differ."
    out = guard(answer(text, liver_tumor=0.05), "What is at <point>?").to_json()
    assert "mask" not in json.dumps(out["entities"])
    assert out["entities"] == []
    assert "tumor." not in out["answer"]
    assert out["answer"].count(WITHHELD) == 2  # another word that only begins like it stays
    assert out["withheld"] == [{"span": [12, 12 + len(WITHHELD)], "score": 0.05}]
    assert json.loads(json.dumps(out, allow_nan=False)) == out


def test_a_phrase_that_is_also_shown_stays_in_the_text() -> None:
    text = "One nodule and a second nodule; a nodule is round."
    places = [text.index("nodule"), text.index("nodule", 10)]
    entities = [Entity("nodule", (p, p + 6), np.zeros((2, 2), bool), s) for p, s in zip(places, (0.1, 0.8))]
    guarded = guard(Answer(text, entities, (2, 2)), "Where?")
    assert guarded.answer.text == f"One {WITHHELD} and a second nodule; a nodule is round."
    assert guarded.answer.text[slice(*guarded.answer.entities[0].span)] == "nodule"


def test_the_warnings_of_the_predictor_are_replaced_and_others_kept() -> None:
    given_ = answer("The liver.", liver=0.4)
    given_.warnings = ["uncertain: liver (score 0.40)", "the image is small"]
    assert guard(given_, "?", Thresholds(0.3, 0.1)).answer.warnings == ["the image is small"]
    assert guard(given_, "?").answer.warnings == ["the image is small", "uncertain: liver (score 0.40)"]
    assert given_.warnings == ["uncertain: liver (score 0.40)", "the image is small"]  # pure


@pytest.mark.parametrize("limits", [(0.2, 0.5), (1.1, 0.1), (0.5, -0.1), (float("nan"), 0.1), ("0.5", 0.1)])
def test_thresholds_that_make_no_sense(limits: tuple) -> None:
    with pytest.raises(InputError, match="withhold"):
        Thresholds(*limits)


def test_limits_are_inclusive_and_nan_is_withheld() -> None:
    limits = Thresholds(0.5, 0.2)
    assert [limits.status(s, "liver") for s in (0.5, 0.4999, 0.2, 0.1999, float("nan"))] == [
        "shown",
        "uncertain",
        "uncertain",
        "withheld",
        "withheld",
    ]
    assert guard(answer("The liver.", liver=float("nan")), "?").to_json()["withheld"][0]["score"] is None


words = st.sampled_from(["liver", "left kidney", "kidney", "lung", "a", "with", "the", "[withheld]"])


@given(st.lists(st.tuples(words, st.none() | st.floats(0, 1)), max_size=8))
def test_spans_always_point_at_their_phrase(parts: list[tuple[str, float | None]]) -> None:
    text, entities = "", []
    for word, score in parts:
        text += " " if text else ""
        if score is not None:
            entities.append(Entity(word, (len(text), len(text) + len(word)), np.ones((1, 1), bool), score))
        text += word
    guarded = guard(Answer(text, entities, (1, 1)), "Where?")
    out = guarded.answer
    assert all(out.text[slice(*e.span)] == e.phrase for e in out.entities)
    assert all(out.text[slice(*w.span)] == WITHHELD for w in guarded.withheld)
    assert len(out.entities) + len(guarded.withheld) == len(entities)


@pytest.mark.parametrize(
    "question",
    [
        "What is the diagnosis?",
        "Can you diagnose this?",
        "Is this cancer?",
        "Is it malignant or benign?",
        "Is the lesion benign?",
        "Could this be a tumor?",
        "Is this a lung cancer?",
        "Might the shadow be a metastasis?",
        "What disease does the patient have?",
        "Do I have pneumonia?",
        "What is wrong with my lung?",
        "How should this be treated?",
        "Which medication would help?",
        "What dose of antibiotics?",
        "Should we operate?",
        "Does he need surgery?",
        "Should I see a doctor?",
        "How serious is it?",
        "What should be done about this?",
        "What can I do now?",
        "What is the prognosis?",
        "Do you recommend a biopsy?",
    ],
)
def test_advice(question: str) -> None:
    assert asks_for_advice(question)
    assert guard(answer("The liver.", liver=0.9), question).notices == [NOTICE, ADVICE]


def test_plain_questions_are_not_taken_for_it() -> None:
    """Every instruction template with every name of the vocabulary, and every question with a click or box."""
    asked = [
        q.replace("{entities}", listed([name]))
        for q in templates()["instruction"]["questions"]
        for name in vocabulary()
    ]
    asked += [q for kind in ("point", "box") for q in templates()["visual_clue"][kind]["questions"]]
    asked += [q for kind in KINDS for q in measured_templates()[kind]["questions"]]
    assert len(asked) > 1000
    assert [q for q in asked if asks_for_advice(q)] == []
