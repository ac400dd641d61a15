"""Values of answers are those of the masks, whatever was written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_mimo.inference.answer import Entity
from monai_mimo.inference.measured_values import told_spacing, with_measured_values
from monai_mimo.mimoseg.encoding import plain_answer
from monai_mimo.mimoseg.questions.templates import (
    KINDS,
    asked_kind,
    grounded,
    marked,
    measured_templates,
    parse_value,
    sentence,
)

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


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize(
    "said", ["I outlined the wound for you.", "The wound, the wound and the wound.", "The wound is 7 m."]
)
def test_what_was_asked_is_said_whatever_was_written(kind: str, said: str) -> None:
    fill = {"plural": "wounds", "entity": "the wound", "be": "is", "do": "does", "lie": "lies", "take": "takes"}
    span = (said.index("wound"), said.index("wound") + 5)
    for template in measured_templates()[kind]["questions"]:
        question = template.format(scale="", name="wound", **fill)
        text, [found, *_] = with_measured_values(question, said, [entity("wound", span, blocks())], (1.0, 1.0))
        assert parse_value(kind, text) == RIGHT[kind], question
        assert text[slice(*found.span)] == "wound"


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How many nodules do you see?", "count"),
        ("How long is the lesion?", "diameter_mm"),
        ("On which side is it, left or right?", "left_right"),
        ("What kind of scan is this?", "modality"),
        ("Is the heart bigger or the lung?", "larger"),
        ("Where is the left lung?", None),
        ("Where are the left lung and the right lung?", None),
        ("Show me the right or left ventricle.", None),
        ("Is there an area of bleeding?", None),
        ("Outline the area of the liver.", None),
        ("Does this image show the upper lobe?", None),
    ],
)
def test_questions_in_words_of_ones_own(question: str, kind: str | None) -> None:
    assert asked_kind(question) == kind


def test_every_template_is_of_its_kind() -> None:
    words = {
        "entity": "the wound",
        "one": "the lung",
        "other": "the heart",
        "name": "wound",
        "plural": "wounds",
        "asked": "heart",
    }
    words |= {
        "be": "is",
        "do": "does",
        "lie": "lies",
        "take": "takes",
        "marker": "<box>",
        "scale": "Width 36 mm, height 51 mm.",
    }
    for kind in KINDS:
        for template in measured_templates()[kind]["questions"]:
            expected = None if kind in ("present", "marked") else kind
            assert asked_kind(sentence(template.format(**words))) == expected, template
