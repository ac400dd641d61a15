"""From entities and what is known of them to the messages that a model is sent: the texts of `prompts.yaml`, filled in."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from ..knowledge import ASPECTS, Knowledge, relations
from ..words import names_of

TRIPLES = 5  # in each reply, as in the paper

_TEXT = {"type": "string"}
# Strict schemas need an object at the top, every key required, and nothing else allowed. The number of triples is checked
# by the parser: some endpoints refuse a schema that counts.
SCHEMA: dict[str, Any] = {
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


@dataclass(frozen=True)
class Task:
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


def messages(task: Task, knowledge: Mapping[str, Knowledge], faults: Sequence[str] = ()) -> list[dict[str, str]]:
    """The conversation so far: rules, the example and its reply, and the task.

    Args:
        knowledge: the record of each entity of the task.
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


def example_reply(task: Task) -> str:
    """The reply that the example shows for the task's case."""
    triples = [
        {key: text.replace("{marker}", f"<{task.clue}>") for key, text in triple.items()}
        for triple in prompts()["examples"][task.case]["triples"]
    ]
    return json.dumps({"triples": triples}, ensure_ascii=False)


@cache
def example_knowledge() -> dict[str, Knowledge]:
    """The records of the entities in the examples."""
    return {name: Knowledge.model_validate(values) for name, values in prompts()["example_knowledge"].items()}


def facts_text(entities: Sequence[str], knowledge: Mapping[str, Knowledge]) -> str:
    """Each entity with its facts, an aspect a line, and what holds for all together; nothing else is known to the model."""
    blocks = []
    for number, name in enumerate(entities, start=1):
        record = knowledge[name]
        lines = [f"- {aspect}: {'; '.join(facts)}" for aspect in ASPECTS if (facts := record.facts.get(aspect))]
        if record.apart:
            lines.append(f"- what tells it from its relatives: {'; '.join(record.apart)}")
        blocks.append("\n".join([f"Entity {number}: {name}", "Facts about it:", *lines]))
    together = [fact for r in relations() if set(r.entities) == set(entities) for fact in r.facts]
    if together:
        blocks.append("Facts about all of them together:\n- " + "; ".join(together))
    return "\n\n".join(blocks)


def forbidden_text(entities: Sequence[str], knowledge: Mapping[str, Knowledge]) -> str:
    """What a question must not hold."""
    names = dict.fromkeys(word for name in entities for word in names_of(name))
    roots = dict.fromkeys(root for name in entities for root in knowledge[name].give_away)
    text = "No question may hold one of these names, or a word made from one: " + "; ".join(names) + "."
    return text + (" Nor a word that starts with: " + "; ".join(roots) + "." if roots else "")


def variation_text(task: Task, knowledge: Mapping[str, Knowledge]) -> str:
    """Which aspects the questions of this round start with; different rounds and seeds give different requests."""
    known = [a for a in ASPECTS if any(a in knowledge[name].facts for name in task.entities)]
    order = random.Random(f"{task.seed}/{task.round}").sample(known, len(known))
    return f"This is set {task.round + 1} of series {task.seed}. Start from these aspects, in this order: {', '.join(order)}."
