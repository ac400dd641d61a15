"""Requests to a model, and where each task statuses by the answers that are on disk: a request is never sent twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....files import digest, write_json
from ..drafts import Draft
from ..knowledge import Knowledge
from .messages import REPLY_SCHEMA, Unusable, WritingTask, messages, read_reply

DraftCheck = Callable[[Draft], list[str]]


def request_key(body: dict[str, Any]) -> str:
    """32 hex digits for the body of a request: model, messages, schema and parameters, whatever their order."""
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return digest(text)[:32]


class AnswerCache:
    """A folder with one file for each answered request, which holds request and answer as they were."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Where the answer to a request is kept."""
        return self.folder / key[:2] / f"{key}.json"

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer to a request; none when it was not asked yet, or its file is damaged."""
        try:
            answer = json.loads(self.path(key).read_text(encoding="utf-8"))["answer"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return answer if isinstance(answer, dict) else None

    def put(self, key: str, body: dict[str, Any], answer: dict[str, Any]) -> None:
        """Keep an answer.

        Raises:
            OutputError: it cannot be written.
        """
        write_json(self.path(key), {"request": body, "answer": answer})


@dataclass(frozen=True)
class Request:
    """What is to be asked next for a task.

    Attributes:
        body: of POST /chat/completions.
        attempt: counts from 0.
    """

    task: WritingTask
    body: dict[str, Any]
    key: str
    attempt: int


@dataclass(frozen=True)
class TaskDone:
    """A task with drafts that keep the rules.

    Attributes:
        rejected: the other drafts of the reply, each with the rules that it breaks.
    """

    task: WritingTask
    drafts: list[Draft]
    rejected: list[tuple[Draft, list[str]]]
    keys: list[str]


@dataclass(frozen=True)
class TaskFailed:
    """A task whose every attempt brought a reply that cannot be used.

    Attributes:
        reasons: one for each attempt; keys: where the replies are in the cache.
    """

    task: WritingTask
    reasons: list[str]
    keys: list[str]


@dataclass
class RequestPlan:
    """How tasks become requests and replies become drafts.

    Attributes:
        model: as the endpoint calls it.
        knowledge: the entries of all entities that are asked about.
        check: gives the rules that a draft breaks.
        attempts: how often a task is asked at most, until a reply can be used.
        parameters: of the request, beside model, messages and schema.
    """

    model: str
    knowledge: dict[str, Knowledge]
    check: DraftCheck
    attempts: int = 3
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def writer(self) -> str:
        """The writer's name in a draft."""
        return f"llm:{self.model}"

    def request(self, task: WritingTask, faults: Sequence[str]) -> Request:
        """What to ask after replies with these faults."""
        body = {
            "model": self.model,
            "messages": messages(task, self.knowledge, faults),
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "triples", "strict": True, "schema": REPLY_SCHEMA},
            },
            **self.parameters,
        }
        return Request(task, body, request_key(body), len(faults))

    def status(self, task: WritingTask, cache: AnswerCache) -> Request | TaskDone | TaskFailed:
        """Go through the answers that the cache has for a task, up to the first that can be used or is missing."""
        faults: list[str] = []
        keys: list[str] = []
        while len(faults) < self.attempts:
            request = self.request(task, faults)
            answer = cache.get(request.key)
            if answer is None:
                return request
            keys.append(request.key)
            try:
                return self.written(task, answer, keys)
            except Unusable as reason:
                faults.append(str(reason))
        return TaskFailed(task, faults, keys)

    def written(self, task: WritingTask, answer: dict[str, Any], keys: list[str]) -> TaskDone:
        """The drafts of an answer, sorted by whether they keep the rules.

        Raises:
            Unusable: it cannot be read, or none of its drafts keeps the rules.
        """
        drafts = read_reply(answer, task, self.knowledge, self.writer)
        broken = [self.check(draft) for draft in drafts]
        if all(broken):
            raise Unusable(
                f"each triple broke a rule ({'; '.join(sorted({rule for rules in broken for rule in rules}))})"
            )
        rejected = [(draft, rules) for draft, rules in zip(drafts, broken) if rules]
        return TaskDone(task, [draft for draft, rules in zip(drafts, broken) if not rules], rejected, keys)
