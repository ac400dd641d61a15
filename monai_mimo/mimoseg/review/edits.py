"""Which changes of a question and its answer are allowed: wording, not what is pointed at, named or grounded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...errors import InputError
from ..numerals import MEASURED
from ..plain_text import PHRASE
from ..questions.draft import Draft
from ..questions.knowledge import load_knowledge
from ..questions.measured_value import is_right, parse_value
from ..questions.validate import check

TAG = re.compile(r"</?[a-zA-Z]+>")
# Those of the rules for writers that a person keeps too: people may know what no record says, and choose other words.
RULES = {
    "gives away": "a question without a name of what is asked for, a synonym, or a word that tells it",
    "modality": "no word that tells how the image was made",
}


def check_edit(row: Mapping[str, Any], question: str, answer: str) -> None:
    """Check an edited question and answer of a row.

    Raises:
        InputError: a text is empty, the markers of prompts or the grounded phrases are not those of the row, a question
            that must not name its entities names one, or an answer that is measured gives another value.
    """
    for name, text in (("question", question), ("answer", answer)):
        if not text.strip():
            raise InputError(name, "an empty text", "a text; to take the row out, drop it")
    markers = re.findall("<point>|<box>", row["question"])
    if re.findall("<point>|<box>", question) != markers:
        raise InputError("question", "other markers", f"{' '.join(markers) or 'no <point> and no <box>'}, as before")
    phrases = [entity["phrase"] for entity in row["entities"]]
    if PHRASE.findall(answer) != phrases:
        expected = ", ".join(f"<p> {phrase} </p> <SEG>" for phrase in phrases)
        raise InputError("answer", "other grounded phrases", f"{expected or 'none'}, in this order")
    for name, rest in (("question", re.sub("<point>|<box>", "", question)), ("answer", PHRASE.sub("", answer))):
        if tag := TAG.search(rest):
            raise InputError(name, f"the tag {tag[0]}", "no tag besides those of the row")
    if row["perspective"] in (2, 3, 4):
        named = [p for p in phrases if re.search(rf"\b{re.escape(p)}\b", question, re.IGNORECASE)]
        if named:
            raise InputError("question", f"{named[0]!r} named", "a question that does not give its answer away")
    if row["perspective"] in (3, 4) and phrases:
        clue = "box" if "<box>" in markers else "point" if markers else ""
        draft = Draft(row["perspective"], tuple(phrases), clue, question, answer, "", "review")
        for rule in check(draft, load_knowledge()):
            if rule in RULES:
                raise InputError("question and answer", f"the rule {rule!r} broken", RULES[rule])
    if row["perspective"] == MEASURED:
        kind, value = row["value"]["kind"], row["value"]["answer"]
        if not is_right(kind, said := parse_value(kind, answer), value):
            raise InputError("answer", f"the value {said!r}", f"{value!r}, in words of the templates")
