"""From the reply of a model to drafts, or the reason why it cannot be used."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from ..draft import Draft
from ..knowledge import ASPECTS, Knowledge
from .prompts import TRIPLES, Task

KEYS = ("question", "answer", "explanation")
_FENCE = re.compile(r"^```\w*\s*(.*?)\s*```$", re.DOTALL)  # models without structured outputs like to wrap their JSON
_TAGS = re.compile(r"<p>\s*|\s*</p>(\s*<SEG>)?", re.IGNORECASE)


class Unusable(Exception):
    """A reply that gives no drafts; its text is the reason."""


def read_reply(answer: dict[str, Any], task: Task, knowledge: dict[str, Knowledge], writer: str) -> list[Draft]:
    """The drafts of a chat completion.

    Args:
        answer: the body of the completion, as the endpoint sent it.

    Raises:
        Unusable: refused, cut off, no JSON, or not five triples of texts.
    """
    choice = answer["choices"][0]
    message, finish = choice["message"], choice.get("finish_reason")
    if message.get("refusal"):
        raise Unusable(f"it was a refusal ({_short(message['refusal'])})")
    if finish == "length":
        raise Unusable("it was cut off at the limit of tokens")
    if finish == "content_filter":
        raise Unusable("it was held back by a content filter")
    aspects = tuple(a for a in ASPECTS if any(a in knowledge[name].facts for name in task.entities))
    return [
        Draft(
            task.perspective,
            task.entities,
            task.clue,
            question=_clean(triple["question"]),
            answer=grounded_answer(_clean(triple["answer"]), task.entities),
            explanation=_clean(triple["explanation"]),
            writer=writer,
            aspects=aspects,
        )
        for triple in read_triples(message.get("content"))
    ]


def read_triples(content: Any) -> list[dict[str, str]]:
    """Five triples from `{"triples": [...]}`, or from the bare list.

    Raises:
        Unusable: it is anything else.
    """
    if not isinstance(content, str) or not content.strip():
        raise Unusable("it was empty")
    text = content.strip()
    if fence := _FENCE.match(text):
        text = fence[1]
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"it was no JSON ({error}; it starts with {_short(text)!r})") from error
    triples = values.get("triples") if isinstance(values, dict) else values
    if not isinstance(triples, list):
        raise Unusable('it held no list "triples"')
    if len(triples) != TRIPLES:
        raise Unusable(f"it held {len(triples)} triples instead of {TRIPLES}")
    for triple in triples:
        if not isinstance(triple, dict) or not all(isinstance(triple.get(k), str) and triple[k].strip() for k in KEYS):
            raise Unusable(f"a triple lacked a text for {', '.join(KEYS)}")
    return triples


def grounded_answer(answer: str, entities: Sequence[str]) -> str:
    """Mark the first mention of each entity for its mask: "<p> entity </p> <SEG>". Upper and lower case are the same."""
    longest_first = sorted(entities, key=len, reverse=True)  # "left kidney" before "kidney"
    names = {name.lower(): name for name in entities}
    pattern = re.compile(r"(?<!\w)(" + "|".join(map(re.escape, longest_first)) + r")(?!\w)", re.IGNORECASE)

    def mark(match: re.Match[str]) -> str:
        name = names.pop(match[1].lower(), None)
        return match[0] if name is None else f"<p> {name} </p> <SEG>"

    return pattern.sub(mark, answer)


def _clean(text: str) -> str:
    """On one line, without the tags of grounding, which are ours to set."""
    return " ".join(_TAGS.sub("", text).split())


def _short(text: str) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= 80 else text[:77] + "..."
