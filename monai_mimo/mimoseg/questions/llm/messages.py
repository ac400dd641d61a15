"""What a model is sent (the texts of `prompts.yaml`, filled in), and from its reply to drafts, or the reason why it cannot be
used."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from ..drafts import Draft
from ..knowledge import ASPECTS, Knowledge, relations
from ..words import all_names

TRIPLES = 5  # in each reply, as in the paper

_TEXT = {"type": "string"}
# Strict schemas need an object at the top, every key required, and nothing else allowed. The number of triples is checked
# by the parser: some endpoints refuse a schema that counts.
REPLY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "triples": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"question": _TEXT, "answer": _TEXT, "explanation": _TEXT},
                "required": ["question", "answer", "explanation"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["triples"],
    "additionalProperties": False,
}


KEYS = ("question", "answer", "explanation")
_FENCE = re.compile(r"^```\w*\s*(.*?)\s*```$", re.DOTALL)  # models without structured outputs like to wrap their JSON
_TAGS = re.compile(r"<p>\s*|\s*</p>(\s*<SEG>)?", re.IGNORECASE)


@dataclass(frozen=True)
class WritingTask:
    """Five triples to be written.

    Attributes:
        entities, perspective, clue: as of `Draft`.
        seed, round: tell tasks about the same entities apart; the round counts from 0.
    """

    entities: tuple[str, ...]
    perspective: int
    clue: str
    seed: int
    round: int

    @property
    def case(self) -> str:
        """Which of the four cases of `prompts.yaml` this is."""
        return ("reasoning" if self.perspective == 3 else "clue") + ("_one" if len(self.entities) == 1 else "_several")


@cache
def prompts() -> dict[str, Any]:
    """All texts."""
    return yaml.safe_load((resources.files(__package__) / "prompts.yaml").read_text(encoding="utf-8"))


def messages(task: WritingTask, knowledge: Mapping[str, Knowledge], faults: Sequence[str] = ()) -> list[dict[str, str]]:
    """The conversation so far: rules, the example and its reply, and the task.

    Args:
        knowledge: the entry of each entity of the task.
        faults: why each earlier reply to this task could not be used.
    """
    marker = f"<{task.clue}>"
    rules = prompts()["rules"] + "\n" + prompts()["cases"][task.case]
    example = prompts()["examples"][task.case]
    asked = [
        facts_text(task.entities, knowledge),
        forbidden_text(task.entities, knowledge),
        variation_text(task, knowledge),
    ]
    asked += [
        f"Your reply number {number} could not be used: {fault}. Write all triples anew and keep every rule."
        for number, fault in enumerate(faults, start=1)
    ]
    return [
        {"role": "system", "content": rules.format(count=TRIPLES, marker=marker)},
        {"role": "user", "content": facts_text(example["entities"], example_knowledge())},
        {"role": "assistant", "content": example_reply(task)},
        {"role": "user", "content": "\n\n".join(asked)},
    ]


def example_reply(task: WritingTask) -> str:
    """The reply that the example shows for the task's case."""
    triples = [
        {key: text.replace("{marker}", f"<{task.clue}>") for key, text in triple.items()}
        for triple in prompts()["examples"][task.case]["triples"]
    ]
    return json.dumps({"triples": triples}, ensure_ascii=False)


@cache
def example_knowledge() -> dict[str, Knowledge]:
    """The entries of the entities in the examples."""
    return {name: Knowledge.model_validate(values) for name, values in prompts()["example_knowledge"].items()}


def facts_text(entities: Sequence[str], knowledge: Mapping[str, Knowledge]) -> str:
    """Each entity with its facts, an aspect a line, and what holds for all together; nothing else is known to the model."""
    blocks = []
    for number, name in enumerate(entities, start=1):
        entry = knowledge[name]
        lines = [f"- {aspect}: {'; '.join(facts)}" for aspect in ASPECTS if (facts := entry.facts.get(aspect))]
        if entry.apart:
            lines.append(f"- what tells it from its relatives: {'; '.join(entry.apart)}")
        blocks.append("\n".join([f"Entity {number}: {name}", "Facts about it:", *lines]))
    together = [fact for r in relations() if set(r.entities) == set(entities) for fact in r.facts]
    if together:
        blocks.append("Facts about all of them together:\n- " + "; ".join(together))
    return "\n\n".join(blocks)


def forbidden_text(entities: Sequence[str], knowledge: Mapping[str, Knowledge]) -> str:
    """What a question must not hold."""
    names = dict.fromkeys(word for name in entities for word in all_names(name))
    roots = dict.fromkeys(root for name in entities for root in knowledge[name].give_away)
    text = "No question may hold one of these names, or a word made from one: " + "; ".join(names) + "."
    return text + (" Nor a word that starts with: " + "; ".join(roots) + "." if roots else "")


def variation_text(task: WritingTask, knowledge: Mapping[str, Knowledge]) -> str:
    """Which aspects the questions of this round start with; different rounds and seeds give different requests."""
    known = [a for a in ASPECTS if any(a in knowledge[name].facts for name in task.entities)]
    order = random.Random(f"{task.seed}/{task.round}").sample(known, len(known))
    return f"This is set {task.round + 1} of series {task.seed}. Start from these aspects, in this order: {', '.join(order)}."


class Unusable(Exception):
    """A reply that gives no drafts; its text is the reason."""


def read_reply(answer: dict[str, Any], task: WritingTask, knowledge: dict[str, Knowledge], writer: str) -> list[Draft]:
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
