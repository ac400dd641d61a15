"""A writer of questions that asks a language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ....errors import DataError, InputError
from ..drafts import Draft
from ..groups import Group, clues
from ..validate import NEAR_DUPLICATE, near_duplicates
from .client import NOT_ASKED, Asking, Endpoint
from .messages import TRIPLES, Task
from .requests import AnswerCache, Request, RequestPlan, TaskDone, TaskFailed

TaskStatus = Request | TaskDone | TaskFailed


@dataclass
class LlmWriter:
    """A `QuestionWriter` whose answers are kept: what was asked once is not asked again.

    The same arguments give the same drafts as long as the cache is kept. A larger count asks for the further ones only.
    """

    plan: RequestPlan
    cache: AnswerCache
    endpoint: Endpoint

    @property
    def name(self) -> str:
        """ "llm:MODEL"."""
        return self.plan.writer

    def write(self, entities: Sequence[str], perspective: int, clue: str, count: int, seed: int) -> list[Draft]:
        """Up to `count` distinct drafts that keep the rules.

        Raises:
            InputError: the endpoint cannot be asked, or nothing is known of an entity.
            DataError: it left a request without an answer; what it did answer is in the cache.
        """
        tasks = self.tasks(Group(tuple(entities), perspective, clue), count, seed)
        errors = self.ask(tasks)
        statuses = [self.plan.status(task, self.cache) for task in tasks]
        for status in statuses:
            if isinstance(status, Request):
                raise DataError(self.name, errors.get(status.key, NOT_ASKED), "an answer to each request")
        return select_drafts(statuses, count)[0]

    def tasks(self, group: Group, count: int, seed: int) -> list[Task]:
        """What is to be asked for `count` drafts: five at a time.

        Raises:
            InputError: nothing is known of an entity, or the clue does not fit the perspective.
        """
        for name in group.entities:
            if name not in self.plan.knowledge:
                raise InputError("entity", f"{name!r}, which has no knowledge entry", "an entity that has one")
        fitting = clues(group.perspective, len(group.entities))
        if group.clue not in fitting:
            raise InputError("clue", repr(group.clue), " or ".join(map(repr, fitting)))
        rounds = -(-count // TRIPLES)
        return [Task(group.entities, group.perspective, group.clue, seed, number) for number in range(rounds)]

    def ask(self, tasks: Sequence[Task], advance: Callable[[], object] = lambda: None) -> dict[str, str]:
        """Ask for what the cache lacks; see `Asking.run`. Where it lacks nothing, nobody is asked."""
        if not any(isinstance(self.plan.status(task, self.cache), Request) for task in tasks):
            return {}
        return Asking(self.plan, self.cache, self.endpoint, advance).run(tasks)


def select_drafts(statuses: Sequence[TaskStatus], count: int) -> tuple[list[Draft], list[tuple[Draft, list[str]]]]:
    """The first `count` drafts of one group, and those that were left out with the rules that they break."""
    written = [status for status in statuses if isinstance(status, TaskDone)]
    drafts = [draft for status in written for draft in status.drafts]
    rejected = [pair for status in written for pair in status.rejected]
    doubles = near_duplicates([draft.question for draft in drafts])
    rejected += [(drafts[number], [NEAR_DUPLICATE]) for number in sorted(doubles)]
    return [draft for number, draft in enumerate(drafts) if number not in doubles][:count], rejected
