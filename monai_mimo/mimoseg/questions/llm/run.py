"""A run of the LLM writer over many groups of entities: what it will cost, and what it leaves on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ....errors import DataError
from ..draft_files import write_drafts, write_lines
from ..groups import Group
from .client import NOT_ASKED
from .cost import Prices, Tokens, counter, estimate, total, used
from .progress import GivenUp, Request, Written
from .prompts import Task
from .writer import LlmWriter, chosen

CASES = {
    "reasoning_one": "III, one entity",
    "reasoning_several": "III, several entities",
    "clue_one": "IV, one entity",
    "clue_several": "IV, several entities",
}


def estimate_lines(
    writer: LlmWriter, tasks: Sequence[Task], prices: Prices, price: tuple[float, float] | None, batch: bool
) -> Iterator[str]:
    """What is still to be asked, a line for each case, with tokens and cost."""
    model = writer.plan.model
    requests = [s for task in tasks if isinstance(s := writer.plan.stand(task, writer.cache), Request)]
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
    stands = {g: [writer.plan.stand(t, writer.cache) for t in writer.tasks(g, count, seed)] for g in groups}
    every = [stand for group in stands.values() for stand in group]
    write_or_remove(failures_file, [failure_line(s, errors, writer) for s in every if not isinstance(s, Written)])
    missing = [stand for stand in every if isinstance(stand, Request)]
    if missing:
        reasons = Counter(errors.get(request.key, NOT_ASKED) for request in missing)
        [(reason, _)] = (reasons - Counter({NOT_ASKED: reasons[NOT_ASKED]}) or reasons).most_common(1)
        raise DataError(
            failures_file,
            f"{len(missing)} of {len(every)} requests without an answer ({reason})",
            "all answered; the same command asks for what is missing",
        )
    made = {group: chosen(group_stands, count) for group, group_stands in stands.items()}
    drafts = [draft for kept, _ in made.values() for draft in kept]
    rejected = [{"rules": rules, "draft": asdict(draft)} for _, left in made.values() for draft, rules in left]
    write_or_remove(rejected_file, rejected)
    write_drafts(out, drafts)
    return summary(writer, every, drafts, rejected, out)


def summary(writer: LlmWriter, stands: Sequence[Any], drafts: Sequence[Any], rejected: Sequence[Any], out: Path) -> str:
    """What was made, and what the answers took in tokens."""
    keys = {key for stand in stands for key in stand.keys}
    tokens = used([answer for key in sorted(keys) if (answer := writer.cache.get(key)) is not None])
    given_up = sum(isinstance(stand, GivenUp) for stand in stands)
    text = f"{out}: {len(drafts)} drafts from {len(keys)} answers ({tokens.sent:,} tokens in, {tokens.received:,} out)"
    text += f"; {len(rejected)} rejected" if rejected else ""
    text += f"; {given_up} requests given up" if given_up else ""
    return text + (f"; see {out.with_suffix('.report')}" if rejected or given_up else "")


def failure_line(stand: Request | GivenUp, errors: Mapping[str, str], writer: LlmWriter) -> dict[str, Any]:
    """A request that has no answer, or a task whose answers cannot be used, with the reasons and where the answers are."""
    if isinstance(stand, Request):
        told = {"kind": "unanswered", "request": stand.key, "reasons": [errors.get(stand.key, NOT_ASKED)]}
    else:
        paths = [str(writer.cache.path(key).relative_to(writer.cache.folder)) for key in stand.keys]
        told = {"kind": "unusable", "reasons": stand.reasons, "answers": paths}
    return {**asdict(stand.task), **told}


def write_or_remove(file: Path, lines: Sequence[Any]) -> None:
    """A file that tells of the last run only: without lines there is none, nor an empty folder."""
    if lines:
        write_lines(file, lines)
    elif file.exists():
        file.unlink()
        if not any(file.parent.iterdir()):
            file.parent.rmdir()
