"""An answer's text while it is being written."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from .answer import parse_answer

HALF_A_CHARACTER = "\N{REPLACEMENT CHARACTER}"  # what tokenizers decode the first bytes of a character to


class TextStream:
    """Takes the tokens of one answer one by one and hands on the text that each adds; together it is `Answer.text`.

    Args:
        on_text: is called with each piece that is not empty.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, on_text: Callable[[str], None]) -> None:
        self.tokenizer, self.on_text = tokenizer, on_text
        self.ids: list[int] = []
        self.sent = ""

    def __call__(self, tokens: Tensor) -> None:
        """The next token, [1]."""
        self.ids += tokens.tolist()
        text, _ = parse_answer(self.ids, self.tokenizer)
        if not text.endswith(HALF_A_CHARACTER):
            self._send(text)

    def finish(self) -> None:
        """No token follows: send what was held back."""
        self._send(parse_answer(self.ids, self.tokenizer)[0])

    def _send(self, text: str) -> None:
        piece, self.sent = text[len(self.sent) :], text
        if piece:
            self.on_text(piece)
