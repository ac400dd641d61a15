"""`mimo build`: source sets -> rows of questions and answers, split by patient."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from ...errors import DataError, InputError, OutputError
from ..categories import PERSPECTIVES, SPLITS
from ..describe.card import CARD, REPORT, data_card, make_report
from ..sources.cases import SourceSpec
from .case import CaseResult, CaseTask, build_case
from .plan import BuildPlan, SourceBudget, SourceUse, plan_build
from .runners import WorkerCrash, in_process, on_processes, on_ray
from .shards import PartialBuild, Piece, store_files, write_file

CASES_PER_WORKER = 4  # cases for each process, or starting it is not worth it
Runner = Callable[
    [Callable, Iterable], Generator
]  # a function and its tasks -> (task, result or `WorkerCrash`), in any order


def build(
    specs: Sequence[SourceSpec],
    out: str | Path,
    *,
    ratio: str = "auto",
    seed: int = 0,
    slices_per_volume: int = 6,
    questions_per_image: int = 8,
    perspectives: Sequence[int] = PERSPECTIVES,
    drafts: str | Path | None = None,
    knowledge: Sequence[str | Path] = (),
    uses: Mapping[str, SourceUse] | None = None,
    workers: int = 1,
    ray: str | None = None,
    strict: bool = False,
    progress: bool = True,
    allow_empty_splits: bool = False,
) -> dict[str, Any]:
    """Build a data set and return its report, which is also written to OUT/dataset.json.

    Finished cases are kept in `.OUT.partial` beside OUT until the set is complete: after a crash, a kill or a full disk the
    same call resumes from there and gives the same bytes.

    Args:
        specs: the source sets.
        out: a folder that does not exist yet.
        ratio: train:validation:test, or "auto" for the published one for large sets and 80:10:10 for small ones.
        seed: decides split, questions and prompts.
        slices_per_volume: the most slices of a volume that are asked about.
        questions_per_image: about how many rows an image gives, in equal parts for each of perspectives I to IV; those of V
            are half as many besides.
        perspectives: which questions are made, where a source allows them (V everywhere). Sets that were published as
            questions without masks keep all of theirs, as perspective 0.
        drafts: questions of perspectives III and IV that were written before, e.g. by a language model.
        knowledge: knowledge entries of the user's own.
        uses: source name -> how much of it is used.
        workers: processes, where there are cases enough for them. More than 1 needs a main module that can be imported, as
            always with multiprocessing.
        ray: the address of a Ray cluster, which then does the work.
        strict: stop at the first case that fails.
        allow_empty_splits: continue when there are too few patients for validation or test, though `ratio` gives them a share.

    Raises:
        DataError, InputError: a source cannot be used, nobody is in validation or test, all cases of a source fail, or one fails
            and `strict`; nothing is written.
        OutputError: `out` exists or cannot be written; the error names the partial folder if it can be resumed.
    """
    out = Path(out)
    partial = PartialBuild(out)
    if out.exists() and not partial.path.exists():
        raise OutputError(out, "an existing path", "a new folder for the data set")
    plan = plan_build(
        specs,
        ratio=ratio,
        seed=seed,
        slices_per_volume=slices_per_volume,
        questions_per_image=questions_per_image,
        perspectives=perspectives,
        drafts=Path(drafts) if drafts else None,
        knowledge=[Path(path) for path in knowledge],
        uses=uses,
        allow_empty_splits=allow_empty_splits,
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with partial.opened(plan.identity()):
            if out.exists():  # an earlier run was ended between its last two steps
                report = finished_report(out, plan)
            else:
                run = runner(workers, ray, len(plan.cases))
                results = build_cases(plan, partial, run, strict, progress)
                report = assemble(plan, partial, results, run, progress)
                partial.new.rename(out)
            partial.remove()
    except OSError as error:
        found = error.strerror or str(error)
        raise OutputError(error.filename or out, found, "a place that can be written") from error
    return report


def runner(workers: int, ray: str | None, cases: int) -> Runner:
    """Who works: Ray if there is an address, else processes if there is work for several (they take seconds to start), else
    this process."""
    if ray is not None:
        return lambda function, tasks: on_ray(function, tasks, ray)
    if workers < 1:
        raise InputError("workers", str(workers), "1 or more")
    if workers == 1 or cases < CASES_PER_WORKER * workers:
        return in_process
    return lambda function, tasks: on_processes(function, tasks, workers)


def build_cases(
    plan: BuildPlan, partial: PartialBuild, run: Runner, strict: bool, progress: bool
) -> dict[int, CaseResult]:
    """Build what is missing, and return the results of all cases, by number. A case that fails is named on stderr.

    Raises:
        DataError: all cases of a source fail, or one fails and `strict`.
    """
    results = partial.finished_cases(len(plan.cases))
    chosen = Counter(plan.origins)
    failed: Counter[str] = Counter()
    tasks = (
        CaseTask(n, plan.cases[n], plan.settings[plan.origins[n]], plan.slices_per_volume, partial.shard(n))
        for n in missing_cases(plan, results)
    )
    limits = {name: min(use.images or len(plan.cases), use.rows or len(plan.cases)) for name, use in plan.uses.items()}
    total = sum(min(count, limits[name]) for name, count in chosen.items())  # a case gives at least one row, mostly
    with (
        tqdm(
            total=total, initial=len(results), desc="building", unit="case", disable=not progress, smoothing=0.05
        ) as bar,
        closing(run(build_case, tasks)) as finished,
    ):
        for task, result in finished:
            if isinstance(result, WorkerCrash):
                found = "a crash of the process that read it (was memory short?)"
                result = CaseResult(failure=(str(task.case.image), found, "a case that can be read"))
            results[task.number] = result
            bar.update()
            if result.failure is None:
                continue
            source = plan.origins[task.number]
            failed[source] += 1
            fault = DataError(*result.failure)
            if strict or failed[source] == chosen[source]:
                stop_build(fault, strict, source, chosen[source], partial, finished)
            tqdm.write(f"left out: {fault}", file=sys.stderr)
    return results


def stop_build(
    fault: DataError, strict: bool, source: str, count: int, partial: PartialBuild, finished: Generator
) -> NoReturn:
    """End the build because of a case that failed; if `strict`, nothing of it stays."""
    finished.close()
    if strict:
        partial.remove_cases()
    elif count > 1:
        fault = DataError(fault.where, f"{fault.found}; all {count} cases of {source} fail", fault.expected)
    raise fault


def missing_cases(plan: BuildPlan, results: Mapping[int, CaseResult]) -> Iterator[int]:
    """Numbers of the cases that are still to be built. Of a limited source there are no more when those before, as far as
    `results` knows by then, have used up its limits."""
    budgets = {name: SourceBudget(use) for name, use in plan.uses.items()}
    unpaid: dict[str, deque[int]] = {name: deque() for name in plan.uses}
    for number, origin in enumerate(plan.origins):
        budget, queue = budgets[origin], unpaid[origin]
        if number not in results and budget.spent:
            continue
        queue.append(number)
        while queue and queue[0] in results:
            budget.take(results[queue.popleft()].rows)
        if number not in results and not budget.spent:
            yield number


def assemble(
    plan: BuildPlan, partial: PartialBuild, results: Mapping[int, CaseResult], run: Runner, progress: bool
) -> dict[str, Any]:
    """Put the shards together in `partial.new`, with report and card, and return the report.

    Raises:
        DataError: there is not one row.
    """
    budgets = {name: SourceBudget(use) for name, use in plan.uses.items()}
    kept: dict[int, tuple[int, ...]] = {}
    for number, origin in enumerate(plan.origins):
        if not budgets[origin].spent:
            kept[number] = budgets[origin].take(results[number].rows)
    shutil.rmtree(partial.new, ignore_errors=True)
    files = [
        file
        for split in SPLITS
        for file in store_files(partial.new / split, pieces(plan, partial, results, kept, split))
    ]
    if len(files) == len(SPLITS):
        run = in_process  # one file each is too little for several
    counts: Counter = Counter()
    split_bytes = dict.fromkeys(SPLITS, 0)
    with (
        tqdm(total=len(kept), desc="putting together", unit="case", disable=not progress) as bar,
        closing(run(write_file, files)) as finished,
    ):
        for file, written in finished:
            if isinstance(written, WorkerCrash):
                raise OutputError(file.path, "a crash of the process that wrote it", "memory and disk enough for it")
            counts.update(written.counts)
            split_bytes[file.path.parent.name] += written.bytes
            bar.update(len(file.pieces))
    if not counts:
        partial.remove_cases()
        raise DataError("sources", "no row of the chosen perspectives", "entities that can be asked about")
    report = make_report(plan, {number: results[number] for number in kept}, kept, counts)
    (partial.new / REPORT).write_text(json.dumps(report, indent=2))
    (partial.new / CARD).write_text(data_card(report, split_bytes))
    return report


def pieces(
    plan: BuildPlan,
    partial: PartialBuild,
    results: Mapping[int, CaseResult],
    kept: Mapping[int, tuple[int, ...]],
    split: str,
) -> Iterator[tuple[Piece, int]]:
    """What a split is made of; see `store_files`."""
    for number, rows in kept.items():
        case = plan.cases[number]
        if plan.split(case) == split:
            cell = (split, plan.origins[number], case.source, case.modality)
            yield Piece(partial.shard(number), rows, cell), results[number].size


def finished_report(out: Path, plan: BuildPlan) -> dict[str, Any]:
    """The report of a set that was finished by an earlier run of the same plan.

    Raises:
        OutputError: `out` is something else.
    """
    try:
        report = json.loads((out / REPORT).read_text())
        if report["arguments"] == plan.arguments:
            return report
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise OutputError(out, "an existing path", "a new folder for the data set")
