"""When two phrases are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_mimo.metrics import normalise_phrase


@pytest.mark.parametrize(
    ("phrase", "normal"),
    [
        ("The  Left kidney.", "left kidney"),
        ("left-kidney", "left kidney"),
        ("left_kidney", "left kidney"),
        ("an edema", "edema"),
        ("the", "the"),
        ("theca", "theca"),
        ("ﬁbroid", "fibroid"),
        ("", ""),
    ],
)
def test_examples(phrase: str, normal: str) -> None:
    assert normalise_phrase(phrase) == normal


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=30))
def test_case_and_outer_punctuation_do_not_matter(text: str) -> None:
    assert normalise_phrase(text) == normalise_phrase(f" {text.upper()}. ") == normalise_phrase(f"({text})")
