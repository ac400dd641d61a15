"""Generated tokens become text and phrases, whatever order the model wrote them in."""

from __future__ import annotations

import numpy as np
import pytest

from monai_mimo.inference.answer import Answer, Entity, joined, parse_answer
from monai_mimo.mimoseg.encoding import decode_rle
from monai_mimo.models import Mimo


@pytest.mark.parametrize(
    ("written", "text", "phrases"),
    [
        ("It is the <p> left kidney </p> <SEG>.", "It is the left kidney.", ["left kidney"]),
        ("<p> liver </p> <SEG>", "liver", ["liver"]),
        (
            "I see the <p> liver </p> <SEG> and the <p> spleen </p> <SEG>.",
            "I see the liver and the spleen.",
            ["liver", "spleen"],
        ),
        ("There is no tumor in this image.", "There is no tumor in this image.", []),
        ("the <p> liver </p> is large", "the liver is large", []),  # no <SEG>
        ("the <p> liver <SEG>", "the liver", []),  # never closed
        ("<SEG> alone", "alone", []),
        ("<p> </p> <SEG> nothing", "nothing", []),
        ("the <p> liver </p> <SEG> <SEG>", "the liver", ["liver"]),
        ("", "", []),
    ],
)
def test_parse(nano: Mimo, written: str, text: str, phrases: list[str]) -> None:
    ids = nano.tokenizer(written, add_special_tokens=False)["input_ids"]
    ids += [nano.tokenizer.eos_token_id, nano.tokenizer.pad_token_id, *ids]  # what follows the end is not read
    parsed, grounded = parse_answer(ids, nano.tokenizer)
    assert parsed == text
    assert [g.phrase for g in grounded] == phrases
    for g in grounded:
        assert text[slice(*g.span)] == g.phrase
        assert ids[g.seg] == nano.seg_id
        assert nano.tokenizer.decode(ids[slice(*g.words)]).strip() == g.phrase


def test_joined_answers_point_into_one_text() -> None:
    mask = np.ones((2, 2), dtype=bool)
    liver = Answer("Here is the liver.", [Entity("liver", (12, 17), mask, 0.9)], (2, 2), warnings=["unlike"])
    nothing = Answer("I cannot find any spleen here.", [], (2, 2), warnings=["unlike"])
    lung = Answer("A lung.", [Entity("lung", (2, 6), mask, 0.4)], (2, 2), warnings=["unlike", "uncertain: lung"])
    whole = joined([liver, nothing, lung])
    assert whole.text == "Here is the liver. I cannot find any spleen here. A lung."
    assert [whole.text[slice(*e.span)] for e in whole.entities] == ["liver", "lung"]
    assert whole.warnings == ["unlike", "uncertain: lung"]
    assert lung.entities[0].span == (2, 6)  # the parts stay as they are


def test_json_schema() -> None:
    mask = np.zeros((6, 8), dtype=bool)
    mask[2:4, 3:7] = True
    answer = Answer(
        "the liver", [Entity("liver", (4, 9), mask, 0.87654)], (6, 8), 3, "CT", (2.0, 0.5), ["w"], {"preset": "p"}
    )
    out = answer.to_json()
    [entity] = out["entities"]
    assert entity["box"] == [3, 2, 7, 4]
    assert entity["area_px"] == 8
    assert entity["area_mm2"] == 8.0
    assert entity["score"] == 0.8765
    np.testing.assert_array_equal(decode_rle(entity["mask"]), mask)
    assert out["image"] == {"size": [6, 8], "slice": 3, "modality": "CT"}
    assert set(out) == {"answer", "entities", "image", "notes", "warnings", "model"}
