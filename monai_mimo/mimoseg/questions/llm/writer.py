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
from .requests import AnswerCache, GivenUp, Plan, Request, Written

Stand = Request | Written | GivenUp


@dataclass
class LlmWriter:
    """A `QuestionWriter` whose answers are kept: what was asked once is not asked again.

    The same arguments give the same drafts as long as the cache is kept. A larger count asks for the further ones only.
    """

    plan: Plan
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
        stands = [self.plan.stand(task, self.cache) for task in tasks]
        for stand in stands:
            if isinstance(stand, Request):
                raise DataError(self.name, errors.get(stand.key, NOT_ASKED), "an answer to each request")
        return chosen(stands, count)[0]

    def tasks(self, group: Group, count: int, seed: int) -> list[Task]:
        """What is to be asked for `count` drafts: five at a time.

        Raises:
            InputError: nothing is known of an entity, or the clue does not fit the perspective.
        """
        for name in group.entities:
            if name not in self.plan.knowledge:
                raise InputError("entity", f"{name!r}, of which no knowledge record tells", "an entity with a record")
        fitting = clues(group.perspective, len(group.entities))
        if group.clue not in fitting:
            raise InputError("clue", repr(group.clue), " or ".join(map(repr, fitting)))
        rounds = -(-count // TRIPLES)
        return [Task(group.entities, group.perspective, group.clue, seed, number) for number in range(rounds)]

    def ask(self, tasks: Sequence[Task], advance: Callable[[], object] = lambda: None) -> dict[str, str]:
        """Ask for what the cache lacks; see `Asking.run`. Where it lacks nothing, nobody is asked."""
        if not any(isinstance(self.plan.stand(task, self.cache), Request) for task in tasks):
            return {}
        return Asking(self.plan, self.cache, self.endpoint, advance).run(tasks)


def chosen(stands: Sequence[Stand], count: int) -> tuple[list[Draft], list[tuple[Draft, list[str]]]]:
    """The first `count` drafts of one group, and those that were left out with the rules that they break."""
    written = [stand for stand in stands if isinstance(stand, Written)]
    drafts = [draft for stand in written for draft in stand.drafts]
    rejected = [pair for stand in written for pair in stand.rejected]
    doubles = near_duplicates([draft.question for draft in drafts])
    rejected += [(drafts[number], [NEAR_DUPLICATE]) for number in sorted(doubles)]
    return [draft for number, draft in enumerate(drafts) if number not in doubles][:count], rejected
