"""An answer without its tags, as people read it."""

from __future__ import annotations

import re

PHRASE = re.compile(r"<p> (.+?) </p> <SEG>")


def plain_answer(answer: str) -> tuple[str, list[tuple[int, int]]]:
    """ "The <p> liver </p> <SEG>." -> "The liver." and the span (start, end) in it of each phrase, in order."""
    text, spans, position = "", [], 0
    for match in PHRASE.finditer(answer):
        text += answer[position : match.start()]
        spans.append((len(text), len(text) + len(match[1])))
        text += match[1]
        position = match.end()
    return text + answer[position:], spans
