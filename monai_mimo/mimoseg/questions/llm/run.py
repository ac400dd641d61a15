"""A run of the LLM writer over many groups of entities: what it will cost, what it did cost, and what it leaves on disk."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ....errors import DataError, InputError
from ..drafts import Draft, write_drafts, write_lines
from ..groups import Group, clues
from ..validate import NEAR_DUPLICATE, near_duplicates
from .client import NOT_ASKED, Asking, Endpoint
from .messages import TRIPLES, WritingTask, example_knowledge, example_reply, facts_text, prompts
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

    def tasks(self, group: Group, count: int, seed: int) -> list[WritingTask]:
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
        return [WritingTask(group.entities, group.perspective, group.clue, seed, number) for number in range(rounds)]

    def ask(self, tasks: Sequence[WritingTask], advance: Callable[[], object] = lambda: None) -> dict[str, str]:
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


CHARACTERS = 4  # a token


CASES = {
    "reasoning_one": "III, one entity",
    "reasoning_several": "III, several entities",
    "clue_one": "IV, one entity",
    "clue_several": "IV, several entities",
}


class Prices(BaseModel):
    """US dollars for a million tokens, by model: (input, output). `batch` is what a batch costs, as a share of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_of: str
    batch: float = 1.0
    models: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Tokens:
    """Of the prompts and of the replies."""

    sent: int = 0
    received: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.sent + other.sent, self.received + other.received)

    def cost(self, price: tuple[float, float]) -> float:
        """In US dollars, at (input, output) for a million tokens."""
        return (self.sent * price[0] + self.received * price[1]) / 1e6


def load_prices(file: Path | None = None) -> Prices:
    """The user's table, or the one that comes with the package.

    Raises:
        DataError: the file is no table of prices.
    """
    source = file or Path(str(resources.files(__package__) / "prices.yaml"))
    try:
        values = yaml.safe_load(source.read_text(encoding="utf-8"))
        return Prices.model_validate({**values, "as_of": str(values.get("as_of", "an unknown date"))})
    except (OSError, yaml.YAMLError, TypeError, AttributeError) as error:
        raise DataError(source, str(error), "a table of prices") from error
    except ValidationError as error:
        fault = error.errors()[0]
        raise DataError(source, f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}", "a table of prices") from error


@cache
def counter(model: str) -> tuple[Callable[[str], int], str]:
    """How to count tokens for a model, and in words how that is."""
    try:
        import tiktoken

        encoding = tiktoken.encoding_for_model(model)
        return lambda text: len(encoding.encode(text, disallowed_special=())), "counted by tiktoken"
    except Exception:  # not installed, a model it does not know, or no network for the encoding that it loads
        return lambda text: -(-len(text) // CHARACTERS), f"estimated at {CHARACTERS} characters a token"


def estimate(request: Request, plan: RequestPlan) -> Tokens:
    """The tokens of a request and of its likely reply."""
    count, _ = counter(plan.model)
    sent = sum(count(message["content"]) for message in request.body["messages"])
    sent += count(json.dumps(request.body["response_format"]))
    task = request.task
    example = facts_text(prompts()["examples"][task.case]["entities"], example_knowledge())
    more = max(1.0, len(facts_text(task.entities, plan.knowledge)) / len(example))
    return Tokens(sent, round(count(example_reply(task)) * more))


def total(tokens: Iterable[Tokens]) -> Tokens:
    """The sum."""
    return sum(tokens, Tokens())


def used(answers: Sequence[dict[str, Any]]) -> Tokens:
    """What the endpoint says that its answers took; an answer that does not tell counts as nothing."""
    usages = [answer.get("usage") or {} for answer in answers]
    return total(Tokens(int(u.get("prompt_tokens") or 0), int(u.get("completion_tokens") or 0)) for u in usages)


def estimate_lines(
    writer: LlmWriter, tasks: Sequence[WritingTask], prices: Prices, price: tuple[float, float] | None, batch: bool
) -> Iterator[str]:
    """What is still to be asked, a line for each case, with tokens and cost."""
    model = writer.plan.model
    requests = [s for task in tasks if isinstance(s := writer.plan.status(task, writer.cache), Request)]
    yield f"{len(requests)} requests to {model}, {len(tasks) - len(requests)} answered already"
    sums: dict[str, list[Tokens]] = {}
    for request in requests:
        sums.setdefault(request.task.case, []).append(estimate(request, writer.plan))
    for case, name in CASES.items():
        if case in sums:
            tokens = total(sums[case])
            yield f"  {name}: {len(sums[case])} requests, {tokens.sent:,} tokens in, {tokens.received:,} out"
    tokens = total(t for case in sums.values() for t in case)
    yield f"tokens: {tokens.sent:,} in, {tokens.received:,} out ({counter(model)[1]})"
    if price is None and model not in prices.models:
        yield f"cost: unknown, no price for {model}; give --price IN,OUT in dollars for a million tokens"
        return
    share, words = (prices.batch, f", batch x {prices.batch:g}") if batch else (1.0, "")
    rate = price or prices.models[model]
    source = "--price" if price else f"prices of {prices.as_of}"
    yield f"cost: {tokens.cost(rate) * share:.4f} USD ({rate[0]:g} in, {rate[1]:g} out, {source}{words})"


def finish(
    writer: LlmWriter, groups: Sequence[Group], count: int, seed: int, out: Path, errors: Mapping[str, str]
) -> str:
    """Write the drafts, and where there is something to tell, a folder NAME.report beside NAME.jsonl with rejected.jsonl
    (drafts that break a rule) and failures.jsonl (requests without an answer, and replies that cannot be used).

    Drafts are written only when every request has been answered, so that the file is the same however often the run was
    interrupted.

    Args:
        errors: key of a request -> why it has no answer.

    Returns:
        what was made, in words.

    Raises:
        DataError: requests are without an answer; failures.jsonl lists them.
        OutputError: a file cannot be written.
    """
    report = out.with_suffix(".report")  # a folder, so that a folder of drafts holds nothing else
    failures_file, rejected_file = report / "failures.jsonl", report / "rejected.jsonl"
    statuses = {g: [writer.plan.status(t, writer.cache) for t in writer.tasks(g, count, seed)] for g in groups}
    every = [status for group in statuses.values() for status in group]
    write_or_remove(failures_file, [failure_line(s, errors, writer) for s in every if not isinstance(s, TaskDone)])
    missing = [status for status in every if isinstance(status, Request)]
    if missing:
        reasons = Counter(errors.get(request.key, NOT_ASKED) for request in missing)
        [(reason, _)] = (reasons - Counter({NOT_ASKED: reasons[NOT_ASKED]}) or reasons).most_common(1)
        raise DataError(
            failures_file,
            f"{len(missing)} of {len(every)} requests without an answer ({reason})",
            "all answered; the same command asks for what is missing",
        )
    made = {group: select_drafts(group_stands, count) for group, group_stands in statuses.items()}
    drafts = [draft for kept, _ in made.values() for draft in kept]
    rejected = [{"rules": rules, "draft": asdict(draft)} for _, left in made.values() for draft, rules in left]
    write_or_remove(rejected_file, rejected)
    write_drafts(out, drafts)
    return run_summary(writer, every, drafts, rejected, out)


def run_summary(
    writer: LlmWriter, statuses: Sequence[Any], drafts: Sequence[Any], rejected: Sequence[Any], out: Path
) -> str:
    """What was made, and what the answers took in tokens."""
    keys = {key for status in statuses for key in status.keys}
    tokens = used([answer for key in sorted(keys) if (answer := writer.cache.get(key)) is not None])
    given_up = sum(isinstance(status, TaskFailed) for status in statuses)
    text = f"{out}: {len(drafts)} drafts from {len(keys)} answers ({tokens.sent:,} tokens in, {tokens.received:,} out)"
    text += f"; {len(rejected)} rejected" if rejected else ""
    text += f"; {given_up} requests given up" if given_up else ""
    return text + (f"; see {out.with_suffix('.report')}" if rejected or given_up else "")


def failure_line(status: Request | TaskFailed, errors: Mapping[str, str], writer: LlmWriter) -> dict[str, Any]:
    """A request that has no answer, or a task whose answers cannot be used, with the reasons and where the answers are."""
    if isinstance(status, Request):
        details = {"kind": "unanswered", "request": status.key, "reasons": [errors.get(status.key, NOT_ASKED)]}
    else:
        paths = [str(writer.cache.path(key).relative_to(writer.cache.folder)) for key in status.keys]
        details = {"kind": "unusable", "reasons": status.reasons, "answers": paths}
    return {**asdict(status.task), **details}


def write_or_remove(file: Path, lines: Sequence[Any]) -> None:
    """A file that tells of the last run only: without lines there is none, nor an empty folder."""
    if lines:
        write_lines(file, lines)
    elif file.exists():
        file.unlink()
        if not any(file.parent.iterdir()):
            file.parent.rmdir()
