"""A question names what it asks for, or tells of it."""

from __future__ import annotations

import pytest

from monai_mimo.data.asking import describes


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
