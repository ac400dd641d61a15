"""The Batch API: submit requests today, fetch the answers within 24 hours, for less money.

A batch is a pair of files in the cache's folder `batches`: NUMBER.jsonl holds its requests as they are uploaded, NUMBER.json
where it statuses. Both steps can be interrupted at any moment and called again: nothing is submitted twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ....errors import DataError, InputError
from ....files import write_json, write_text
from .client import api_error_line, raise_if_fatal, read_completion, redacted
from .requests import AnswerCache, Request

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Batch

PATH: Literal["/v1/chat/completions"] = "/v1/chat/completions"
MAX_REQUESTS, MAX_BYTES = 50_000, 200_000_000  # of one batch, as the Batch API documents them
RUNNING = ("validating", "in_progress", "finalizing", "cancelling")


@dataclass
class BatchState:
    """Where a batch statuses.

    Attributes:
        keys: of its requests.
        input_file: the endpoint's name of the uploaded file; "" before it is uploaded.
        batch: the endpoint's name of the batch; "" before it is submitted.
        collected: whether its results have been fetched.
        errors: key of a request -> why it has no answer.
    """

    keys: list[str]
    input_file: str = ""
    batch: str = ""
    collected: bool = False
    errors: dict[str, str] = field(default_factory=dict)


@dataclass
class Batches:
    """The batches of a cache, and the endpoint that works on them."""

    cache: AnswerCache
    client: OpenAI

    @property
    def folder(self) -> Path:
        """Where their files are."""
        return self.cache.folder / "batches"

    def states(self) -> dict[Path, BatchState]:
        """All batches, oldest first.

        Raises:
            DataError: the file of a batch is damaged.
        """
        return {file: read_batch_state(file) for file in sorted(self.folder.glob("*.json"))}

    def submit(self, requests: Sequence[Request]) -> int:
        """Submit the requests that are in no open batch, and finish what an interrupted call began.

        Returns:
            how many requests were submitted.

        Raises:
            InputError: the endpoint does not take them.
            OutputError: the state cannot be written.
        """
        states = self.states()
        open_keys = {key for state in states.values() if not state.collected for key in state.keys}
        new = list({r.key: line_of(r) for r in requests if r.key not in open_keys}.items())
        begun = {file: state for file, state in states.items() if not state.collected and not state.batch}
        for number, chunk in enumerate(chunks(new), start=1 + max((int(file.stem) for file in states), default=0)):
            file = self.folder / f"{number:04d}.json"
            write_text(file.with_suffix(".jsonl"), "".join(line for _, line in chunk))
            begun[file] = BatchState([key for key, _ in chunk])
            write_state(file, begun[file])
        with endpoint_errors():
            for file, state in begun.items():
                self.start_batch(file, state)
        return sum(len(state.keys) for state in begun.values())

    def start_batch(self, file: Path, state: BatchState) -> None:
        """Upload the requests of a batch and start it, from wherever an earlier call got."""
        if not state.input_file:
            with file.with_suffix(".jsonl").open("rb") as requests:
                state.input_file = self.client.files.create(file=requests, purpose="batch").id
            write_state(file, state)
        else:  # the earlier call may have died between starting the batch and noting its name
            started = (b.id for b in self.client.batches.list(limit=100) if b.input_file_id == state.input_file)
            state.batch = next(started, "")
        if not state.batch:
            batch = self.client.batches.create(input_file_id=state.input_file, endpoint=PATH, completion_window="24h")
            state.batch = batch.id
        write_state(file, state)

    def collect(self) -> list[str]:
        """Fetch the results of all batches that have ended, and keep them in the cache.

        Returns:
            a line for each batch that has not ended yet.

        Raises:
            InputError: the endpoint does not answer.
            OutputError: the cache cannot be written.
        """
        running = []
        for file, state in self.states().items():
            if state.collected or not state.batch:
                continue
            with endpoint_errors(), known_batch(file):
                batch = self.client.batches.retrieve(state.batch)
                if batch.status in RUNNING:
                    counts = batch.request_counts
                    done = f", {counts.completed + counts.failed} of {counts.total} done" if counts else ""
                    running.append(f"{batch.id} is {batch.status.replace('_', ' ')}{done}")
                    continue
                self.fetch(file, state, batch)
        return running

    def fetch(self, file: Path, state: BatchState, batch: Batch) -> None:
        """Keep the answers of an ended batch and note the errors; a request that has neither is an error too."""
        bodies = {line["custom_id"]: line["body"] for line in lines_of(file.with_suffix(".jsonl").read_text("utf-8"))}
        reason = f"batch {batch.status}, no result"
        if batch.errors is not None and batch.errors.data:
            reason = f"batch {batch.status}: {batch.errors.data[0].message}"
        errors = dict.fromkeys(state.keys, redacted(reason))
        for name in (batch.error_file_id, batch.output_file_id):
            if not name:
                continue
            for result in lines_of(self.client.files.content(name).text):
                key = str(result.get("custom_id"))
                if key not in bodies:
                    continue
                try:
                    answer = completion_of(result)
                except ValueError as error:
                    errors[key] = redacted(str(error))
                else:
                    self.cache.put(key, bodies[key], answer)
                    errors.pop(key, None)
        state.errors, state.collected = errors, True
        write_state(file, state)

    def errors(self) -> dict[str, str]:
        """Why requests have no answer, from the last batch that each was in."""
        return {key: reason for state in self.states().values() for key, reason in state.errors.items()}


def line_of(request: Request) -> str:
    """The line of a request in the file that is uploaded."""
    line = {"custom_id": request.key, "method": "POST", "url": PATH, "body": request.body}
    return json.dumps(line, ensure_ascii=False) + "\n"


def chunks(lines: Sequence[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Lines (key, text) in batches of an allowed size."""
    chunk: list[tuple[str, str]] = []
    size = 0
    for key, line in lines:
        length = len(line.encode())
        if chunk and (len(chunk) == MAX_REQUESTS or size + length > MAX_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((key, line))
        size += length
    if chunk:
        yield chunk


def lines_of(text: str) -> list[dict[str, Any]]:
    """The objects of a JSONL text; a damaged line is left out, so that its request counts as one without a result."""
    found = []
    for line in text.split("\n"):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def completion_of(result: dict[str, Any]) -> dict[str, Any]:
    """The chat completion of a line of results.

    Raises:
        ValueError: it holds an error instead.
    """
    response = result.get("response") or {}
    if response.get("status_code") == 200:
        return read_completion(json.dumps(response.get("body")))
    error = result.get("error") or (response.get("body") or {}).get("error") or {}
    status = f"status {response['status_code']}, " if response.get("status_code") else ""
    raise ValueError(status + str(error.get("message") or error.get("code") or "no result"))


def read_batch_state(file: Path) -> BatchState:
    """Raises:
    DataError: the file is no state of a batch.
    """
    try:
        return BatchState(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(file, str(error), "the state of a batch") from error


def write_state(file: Path, state: BatchState) -> None:
    """Note where a batch statuses."""
    write_json(file, asdict(state))


@contextmanager
def known_batch(file: Path) -> Iterator[None]:
    """Raises:
    InputError: the endpoint knows nothing of the batch, which may be another endpoint's.
    """
    import openai

    try:
        yield
    except openai.NotFoundError as error:
        expected = "the endpoint that has this batch; without this file, its requests are submitted again"
        raise InputError(file, api_error_line(error), expected) from error


@contextmanager
def endpoint_errors() -> Iterator[None]:
    """Raises:
    InputError: in place of the client's own errors.
    """
    import openai

    try:
        yield
    except openai.APIError as error:
        raise_if_fatal(error)
        raise InputError(
            "the endpoint", api_error_line(error), "an answer; the same command resumes where this one stopped"
        ) from error
