"""A question names what it asks for, or tells of it."""

from __future__ import annotations

import re

import pytest

from monai_mimo.data.asking import asks_for_all, asks_whether_marked, describes, judges, only_points
from monai_mimo.data.other_questions import held_out_questions
from monai_mimo.mimoseg.questions.templates import measured_templates


@pytest.mark.parametrize(
    "question",
    [
        "Where is the liver?",
        "Mark every pixel that belongs to the liver, the aorta and the spleen.",
        "Is the liver visible, and where?",
        "What part of the image is the lung, in percent?",
        "Which is larger, the liver or the spleen?",
        "Is the liver larger than the spleen?",
        "Is it the nerve that <point> marks?",
        "liver",
        "",
    ],
)
def test_by_its_name(question: str) -> None:
    assert not describes(question)


@pytest.mark.parametrize(
    "question",
    [
        "Which organ turns angiotensin I into angiotensin II on the lining of its vessels?",
        "I am looking for a structure that runs behind the subclavian artery. What is it called, and where does it lie?",
        "Here is a riddle about this image. The organ fills most of one half of the chest. What is it?",
        "Which lesion is meant here: it is more dangerous when it is larger than one centimetre, or of high-grade dysplasia?",
        "Please find the organ that lies below the heart.",
    ],
)
def test_by_what_is_told_of_it(question: str) -> None:
    assert describes(question)


POINTS = [
    "What is this?",
    "what's that",
    "Which organ did I click on?",
    "Segment it, please.",
    "I clicked here. What am I looking at?",
    "Outline the structure inside the box",
    "How large is this?",
    "How many are there?",
    "Is it in the left or in the right half of the image?",
]
WHOLE = [
    "What do you see?",
    "Describe the image.",
    "Segment everything",
    "What organs are visible?",
    "Is anything abnormal here?",
    "List all structures",
    "Find the lesion.",
]
NEITHER = [
    "What is 2+2?",
    "Where is the liver?",
    "What kind of image is this?",
    "Was ist das?",
    "Why?",
    "Who painted this picture?",
    "What is at <point>?",
    "Is this the liver, <point>?",
    "liver",
    "",
]


@pytest.mark.parametrize("question", POINTS)
def test_it_means_what_is_marked(question: str) -> None:
    assert only_points(question)


@pytest.mark.parametrize("question", WHOLE)
def test_it_is_about_all_of_an_image(question: str) -> None:
    assert asks_for_all(question)


@pytest.mark.parametrize("question", [*NEITHER, *held_out_questions()])
def test_it_is_about_something_else(question: str) -> None:
    assert not only_points(question)
    assert not asks_for_all(question)


def test_whether_what_is_marked_is_something() -> None:
    assert asks_whether_marked("Is this a cyst?")
    assert asks_whether_marked("Could it be the spleen")
    assert not asks_whether_marked("Is the liver there?")
    assert not asks_whether_marked("Is this the liver, <point>?")
    assert not asks_whether_marked("Is it in the upper or the lower half?")


@pytest.mark.parametrize(
    ("question", "judged"),
    [
        ("Is the heart enlarged?", True),
        ("Does the heart look normal to you?", True),
        ("Is the heart there?", False),
        ("Can you see the heart in this radiograph?", False),
        ("Is the heart in the left or in the right half?", False),
        ("Where is the heart?", False),
    ],
)
def test_what_masks_cannot_tell(question: str, judged: bool) -> None:
    start = question.index("heart")
    assert judges(question, [(start, start + len("heart"))]) == judged
    assert not judges(question, [])


def test_no_question_that_is_taught_is_one_that_masks_cannot_tell() -> None:
    for kind in ("present", "left_right", "upper_lower", "quarter", "larger"):
        for template in measured_templates()[kind]["questions"]:
            words = {
                "be": "is",
                "do": "does",
                "lie": "lies",
                "entity": "the NAME",
                "one": "the NAME",
                "other": "the NAME",
            }
            question = template.format(name="NAME", **words)
            places = [match.span() for match in re.finditer("NAME", question)]
            assert not judges(question, places), question
