"""The small tokenizer: any text survives it, and MIMO's tokens are single ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monai_mimo.data.tokenizer import SPECIAL_TOKENS, train_tokenizer

TOKENIZER = train_tokenizer(["Where is the left kidney?", "It is the <p> left kidney </p> <SEG>."] * 5, 400)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>"), max_size=40))
def test_any_text_survives(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert TOKENIZER.decode(ids).strip() == text.strip()


def test_special_tokens_are_single() -> None:
    for token in SPECIAL_TOKENS:
        ids = TOKENIZER(f"a {token} b", add_special_tokens=False)["input_ids"]
        assert ids == [
            *TOKENIZER("a")["input_ids"],
            TOKENIZER.convert_tokens_to_ids(token),
            *TOKENIZER("b")["input_ids"],
        ]


def test_same_texts_same_tokenizer() -> None:
    texts = ["one two three", "two three four"] * 3
    assert train_tokenizer(texts, 300).get_vocab() == train_tokenizer(texts, 300).get_vocab()
