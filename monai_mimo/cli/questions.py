"""`mimo questions`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .common import parse_numbers

if TYPE_CHECKING:
    from ..mimoseg.questions.groups import Group
    from ..mimoseg.questions.llm import LlmWriter


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
    parser = commands.add_parser("questions", help="write questions of perspectives III and IV")
    add = parser.add_argument
    add("--writer", choices=["offline", "llm"], default="offline", help="from the knowledge entries, or by a model")
    add("--out", type=Path, required=True, metavar="DRAFTS.jsonl")
    add("--entity", nargs="+", action="extend", default=[], metavar="NAME", help="to write about")
    add(
        "--dataset-entities",
        nargs="+",
        action="extend",
        default=[],
        metavar="SET",
        help="all entities of a set of the catalogue",
    )
    add(
        "--knowledge",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="your own knowledge entries; repeatable",
    )
    add("--perspective", nargs="+", type=int, choices=[3, 4], default=[3, 4], metavar="P", help="3, 4 (default both)")
    add("--several", type=positive, default=1, metavar="N", help="ask about N entities at once (default 1)")
    add("--most", type=positive, metavar="N", help="no more than N choices of entities, drawn at random")
    add("--count", type=positive, default=10, metavar="N", help="drafts for each choice and clue (default 10)")
    add("--seed", type=int, default=0, metavar="S")
    llm = parser.add_argument_group("with --writer llm", "the key is read from the environment variable OPENAI_API_KEY")
    add = llm.add_argument
    add("--model", metavar="NAME")
    add("--base-url", metavar="URL", help="of an OpenAI-compatible endpoint (default: OPENAI_BASE_URL, or OpenAI's)")
    add("--parameter", action="append", default=[], metavar="KEY=VALUE", help="of the request, as JSON; repeatable")
    add("--concurrency", type=positive, default=8, metavar="N", help="requests at once (default 8)")
    add("--attempts", type=positive, default=3, metavar="N", help="until a reply can be used (default 3)")
    add("--retries", type=int, default=6, metavar="N", help="after 429, 5xx and lost connections (default 6)")
    add("--timeout", type=float, default=300, metavar="SECONDS", help="for one answer (default 300)")
    add("--cache", type=Path, metavar="DIR", help="of answers (default: llm-cache beside --out)")
    add("--dry-run", action="store_true", help="print requests, tokens and cost, and ask nothing")
    add("--show", action="store_true", help="with --dry-run: print the first request in full")
    add("--price", metavar="IN,OUT", help="dollars for a million tokens")
    add("--prices", type=Path, metavar="FILE", help="a table of prices instead of the packaged one")
    add("--batch", choices=["submit", "collect"], help="with the Batch API: submit, and collect the answers later")
    parser.set_defaults(run=questions)


def questions(options: argparse.Namespace) -> None:
    """Write drafts about entities."""
    from ..mimoseg.questions.groups import make_groups, named_entities, source_entities
    from ..mimoseg.questions.knowledge import load_knowledge

    knowledge = load_knowledge(options.knowledge)
    sets = [named_entities(options.entity, knowledge)] if options.entity else []
    for source in options.dataset_entities:
        entities = source_entities(source, options.perspective)
        if unknown := [name for name in entities if name not in knowledge]:
            print(f"{source}: nothing is known of {', '.join(unknown)}")
        sets.append([name for name in entities if name in knowledge])
    if not any(sets):
        raise InputError("--entity", "none", "--entity NAME or --dataset-entities SET")
    perspectives = sorted(set(options.perspective))
    groups = make_groups(sets, perspectives, options.several, options.most, options.seed)
    if options.writer == "llm":
        by_model(options, make_writer(options, knowledge), groups)
    else:
        offline(options, knowledge, groups)


def offline(options: argparse.Namespace, knowledge: dict[str, Any], groups: list[Group]) -> None:
    """Write drafts from the knowledge entries."""
    from collections import Counter

    from ..mimoseg.questions.drafts import write_drafts
    from ..mimoseg.questions.offline import OfflineWriter
    from ..mimoseg.questions.pool import keep_valid

    if options.dry_run or options.batch:
        raise InputError("--dry-run" if options.dry_run else "--batch", "--writer offline", "--writer llm")
    writer = OfflineWriter(knowledge)
    rejected: Counter[str] = Counter()
    drafts = []
    for group in groups:
        written = writer.write(group.entities, group.perspective, group.clue, options.count, options.seed)
        drafts += keep_valid(written, knowledge, rejected)
    write_drafts(options.out, drafts)
    rules = ", ".join(f"{count} {rule}" for rule, count in sorted(rejected.items()))
    print(f"{options.out}: {len(drafts)} drafts" + (f"; rejected: {rules}" if rules else ""))


def by_model(options: argparse.Namespace, writer: LlmWriter, groups: list[Group]) -> None:
    """Write drafts by a language model: estimate, ask, or submit and collect a batch."""
    from tqdm import tqdm

    from ..mimoseg.questions.llm.batch import Batches
    from ..mimoseg.questions.llm.requests import Request
    from ..mimoseg.questions.llm.run import estimate_lines, finish, load_prices

    tasks = [task for group in groups for task in writer.tasks(group, options.count, options.seed)]
    price = parse_numbers("--price", options.price, (2,)) if options.price else None
    if options.batch != "collect":
        rate = (price[0], price[1]) if price else None
        for line in estimate_lines(writer, tasks, load_prices(options.prices), rate, options.batch == "submit"):
            print(line)
    requests = [status for task in tasks if isinstance(status := writer.plan.status(task, writer.cache), Request)]
    if options.dry_run:
        if options.show and requests:
            print(json.dumps(requests[0].body, indent=1, ensure_ascii=False))
        return
    errors: dict[str, str] = {}
    if options.batch:
        batches = Batches(writer.cache, writer.endpoint.client())
        if options.batch == "submit":
            print(
                f"{batches.submit(requests)} requests submitted; collect the answers with --batch collect within 24 hours"
            )
            return
        if running := batches.collect():
            more = f" and {len(running) - 1} more" if len(running) > 1 else ""
            raise InputError("--batch collect", running[0] + more, "a batch that has ended; call again later")
        errors = batches.errors()
    else:
        with tqdm(total=len(tasks), unit="request", disable=None) as bar:  # none: only on a terminal
            errors = writer.ask(tasks, bar.update)
    print(finish(writer, groups, options.count, options.seed, options.out, errors))


def make_writer(options: argparse.Namespace, knowledge: dict[str, Any]) -> LlmWriter:
    """The writer that the options describe.

    Raises:
        InputError: no model, or a parameter that is no KEY=VALUE.
    """
    from ..mimoseg.questions.llm import AnswerCache, Endpoint, LlmWriter, RequestPlan
    from ..mimoseg.questions.validate import broken_rules

    if not options.model:
        raise InputError("--model", "none", "the name of a model of the endpoint")
    plan = RequestPlan(
        options.model,
        knowledge,
        check=lambda draft: broken_rules(draft, knowledge),
        attempts=options.attempts,
        parameters=dict(map(parameter, options.parameter)),
    )
    endpoint = Endpoint(options.base_url, max(0, options.retries), options.timeout, options.concurrency)
    return LlmWriter(plan, AnswerCache(options.cache or options.out.parent / "llm-cache"), endpoint)


def parameter(text: str) -> tuple[str, Any]:
    """KEY=VALUE, the value as JSON, or a plain word.

    Raises:
        InputError: the text has another form.
    """
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InputError("--parameter", repr(text), "KEY=VALUE, e.g. temperature=0.8")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def positive(text: str) -> int:
    """A whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return value
