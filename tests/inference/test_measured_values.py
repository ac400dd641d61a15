"""Values of answers are those of the masks, whatever was written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_mimo.inference.answer import Entity
from monai_mimo.inference.measured_values import told_spacing, with_measured_values
from monai_mimo.mimoseg.encoding import plain_answer
from monai_mimo.mimoseg.questions.templates import grounded, marked, measured_templates, parse_value, sentence

WRONG = {
    "count": "7",
    "left_right": "left",
    "upper_lower": "lower",
    "quarter": "lower left",
    "diameter_mm": "999",
    "area_mm2": "999",
    "area_percent": "99",
}
RIGHT = {
    "count": "2",
    "left_right": "right",
    "upper_lower": "upper",
    "quarter": "upper right",
    "diameter_mm": "22",  # of the larger block of 20 x 8 pixels of 1 mm: sqrt(464) = 21.5
    "area_mm2": "220",
    "area_percent": "5.4",
}


def blocks() -> np.ndarray:
    """Two blocks at the upper right, of 160 and 56 of 4,000 pixels."""
    mask = np.zeros((40, 100), dtype=bool)
    mask[4:12, 60:80] = True
    mask[4:11, 90:98] = True
    return mask


def entity(phrase: str, span: tuple[int, int], mask: np.ndarray) -> Entity:
    return Entity(phrase, span, mask, 0.9)


def cases() -> list[tuple[str, str]]:
    found = []
    for kind in WRONG:
        section = measured_templates()[kind]
        found += [(kind, answer) for answer in section.get("answers", section.get("several", []))]
    return found


@pytest.mark.parametrize(("kind", "template"), cases())
def test_every_sentence_gets_the_value_of_its_mask(kind: str, template: str) -> None:
    verbs = {"be": "is", "do": "does", "lie": "lies", "cover": "covers", "take": "takes", "s": "s"}
    answer = template.format(entity=grounded(["wound"]), phrase=marked("wound"), value=WRONG[kind], **verbs)
    text, [span] = plain_answer(sentence(answer))
    said, [found] = with_measured_values("", text, [entity("wound", span, blocks())], (1.0, 1.0))
    assert parse_value(kind, said) == RIGHT[kind]
    assert said[slice(*found.span)] == "wound"
    assert said.replace(RIGHT[kind], "") == text.replace(WRONG[kind], "")


@pytest.mark.parametrize("template", measured_templates()["larger"]["answers"])
@pytest.mark.parametrize("swapped", [False, True])
def test_the_larger_of_two_is_the_one_with_the_larger_mask(template: str, swapped: bool) -> None:
    answer = template.format(larger=grounded(["left ventricle"]), smaller=grounded(["heart"]), be="is", cover="covers")
    text, spans = plain_answer(sentence(answer))
    masks = [blocks(), np.zeros((40, 100), dtype=bool)]
    masks[1][:3, :3] = True
    if swapped:
        masks.reverse()
    pair = [entity(text[slice(*span)], span, mask) for span, mask in zip(spans, masks)]
    said, found = with_measured_values("", text, pair)
    assert parse_value("larger", said) == ("heart" if swapped else "left ventricle")
    assert [said[slice(*e.span)] for e in found] == [e.phrase for e in found]
    assert found[0].mask.sum() > found[1].mask.sum()


def test_no_mm_without_a_spacing() -> None:
    text = "The wound is about 14 mm long at the longest."
    said, [found] = with_measured_values("", text, [entity("wound", (4, 9), blocks())])
    assert " 14 mm" not in said
    assert "5.4 %" in said
    assert said[slice(*found.span)] == "wound"


@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from(measured_templates()["scale"]))
def test_a_question_may_tell_the_spacing(width: int, height: int, template: str) -> None:
    question = f"{template.format(width=width, height=height)} What is the area of the wound?"
    assert told_spacing(question, (40, 100)) == pytest.approx((height / 40, width / 100))


@pytest.mark.parametrize("text", ["I see the wound.", "Yes, the wound is there.", "There is no wound here."])
def test_other_answers_stay(text: str) -> None:
    same = entity("wound", (text.index("wound"), text.index("wound") + 5), blocks())
    assert with_measured_values("", text, [same]) == (text, [same])


def test_what_is_not_outlined_is_not_measured() -> None:
    empty = entity("wound", (9, 14), np.zeros((4, 4), dtype=bool))
    text = "I count 3 wounds."
    assert with_measured_values("", text, [empty]) == (text, [empty])
    assert with_measured_values("", text, []) == (text, [])
