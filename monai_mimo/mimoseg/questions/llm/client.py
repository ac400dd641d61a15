"""Asking an OpenAI-compatible endpoint: a bounded number of requests at once, each answer kept as soon as it is there."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ....errors import InputError
from .messages import WritingTask
from .requests import AnswerCache, Request, RequestPlan

if TYPE_CHECKING:
    from openai import APIError, AsyncOpenAI, OpenAI

NOT_ASKED = "not asked"


@dataclass(frozen=True)
class Endpoint:
    """Where to ask. The key is taken from the environment when a client is made, and is kept nowhere else.

    Attributes:
        base_url: none: that of the environment variable OPENAI_BASE_URL, or else OpenAI's own.
        retries: how often the client sends a request again after 408, 409, 429, 5xx, a timeout or a lost connection; it
            waits as long as Retry-After says, or twice as long each time.
        timeout_s: how long it waits for an answer.
        concurrency: how many requests are under way at once, at most.
    """

    base_url: str | None = None
    retries: int = 6
    timeout_s: float = 300.0
    concurrency: int = 8

    def async_client(self) -> AsyncOpenAI:
        """A client for many requests at once.

        Raises:
            InputError: as of `client_options`.
        """
        options = self.client_options()
        from openai import AsyncOpenAI

        return AsyncOpenAI(**options)

    def client(self) -> OpenAI:
        """A client for one request after the other.

        Raises:
            InputError: as of `client_options`.
        """
        options = self.client_options()
        from openai import OpenAI

        return OpenAI(**options)

    def client_options(self) -> dict[str, Any]:
        """Raises:
        InputError: the package openai is missing, there is no key, or the address is none.
        """
        try:
            import openai  # noqa: F401
        except ImportError as error:
            raise InputError("--writer llm", "no package openai", "pip install 'monai-mimo[llm]'") from error
        url = self.base_url or os.environ.get("OPENAI_BASE_URL") or None
        if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
            raise InputError("--base-url", "no address", "http://HOST:PORT/v1 or https://HOST/v1")
        key = api_key()
        if key is None and url is None:
            expected = "a key in that environment variable, or --base-url of a server that needs none"
            raise InputError("OPENAI_API_KEY", "nothing", expected)
        # A server of one's own asks for no key, but the client insists on one.
        return {
            "api_key": key or "none",
            "base_url": url,
            "max_retries": self.retries,
            "timeout": self.timeout_s,
        }


def api_key() -> str | None:
    """The key of the environment, if there is one."""
    return os.environ.get("OPENAI_API_KEY") or None


def redacted(text: str) -> str:
    """A text of the endpoint without the key, should it repeat it."""
    key = api_key()
    return text.replace(key, "***") if key else text


def read_completion(text: str) -> dict[str, Any]:
    """The body of a chat completion.

    Raises:
        ValueError: it is no JSON, or holds no message.
    """
    text = redacted(text)
    answer = json.loads(text)
    try:
        if isinstance(answer["choices"][0]["message"], dict):
            return answer
    except (TypeError, KeyError, IndexError):
        pass
    raise ValueError(f"no message in {text[:80]!r}")


def api_error_line(error: APIError) -> str:
    """What went wrong, on one line, without the key."""
    status = getattr(error, "status_code", None)
    message = error.body.get("message") if isinstance(error.body, dict) else None
    text = " ".join(redacted(str(message or error.message)).split())[:200]
    return text if status is None else f"status {status}, {text}"


def raise_if_fatal(error: APIError) -> None:
    """Stop where no further request can do better.

    Raises:
        InputError: the key is not accepted, or there is no such model or address.
    """
    import openai

    # The server's own words are left out for a refused key: some repeat part of it.
    if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
        found = f"a key that the endpoint refuses (status {error.status_code})"
        raise InputError("OPENAI_API_KEY", found, "a key with access to the model")
    if isinstance(error, openai.NotFoundError):
        raise InputError("--model or --base-url", api_error_line(error), "a model that the endpoint has")


async def complete(client: AsyncOpenAI, body: dict[str, Any]) -> dict[str, Any]:
    """One chat completion, as the endpoint sent it.

    Raises:
        openai.APIError: the client's own retries were of no use.
        ValueError: several replies in a row were no completion.
    """
    # Everything but these two goes as it is, so that a parameter which the client does not know reaches the endpoint.
    extra = {key: value for key, value in body.items() if key not in ("model", "messages")}
    create = client.chat.completions.with_raw_response.create
    for last in (False, False, True):
        reply = await create(model=body["model"], messages=body["messages"], extra_body=extra)
        try:
            return read_completion(reply.text)
        except ValueError:
            if last:
                raise
    raise AssertionError("the loop ends above")


@dataclass
class Asking:
    """The requests of one run.

    Attributes:
        advance: called once for each task that is done with.
        errors: key of a request -> why it has no answer.
    """

    plan: RequestPlan
    cache: AnswerCache
    endpoint: Endpoint
    advance: Callable[[], object] = lambda: None
    errors: dict[str, str] = field(default_factory=dict)
    answered: int = 0
    failures_in_a_row: int = 0
    fatal: InputError | None = None

    def run(self, tasks: Sequence[WritingTask]) -> dict[str, str]:
        """Ask for every task until it is written or given up, and return the errors.

        When as many requests in a row as are under way at once fail for good, the endpoint is taken for dead and no more
        is asked; requests that it calls bad count only while it has answered none. What has been answered is in the
        cache, also when this is interrupted.

        Raises:
            InputError: there is no way to ask: package, key, model or address.
            OutputError: the cache cannot be written.
        """
        asyncio.run(self._run(tasks))
        if self.fatal is not None:
            raise self.fatal
        return self.errors

    async def _run(self, tasks: Sequence[WritingTask]) -> None:
        waiting = iter(tasks)
        async with self.endpoint.async_client() as client:
            await asyncio.gather(*(self._work(waiting, client) for _ in range(self.endpoint.concurrency)))

    async def _work(self, waiting: Any, client: AsyncOpenAI) -> None:
        """One of `concurrency` workers; they take tasks from the same iterator."""
        for task in waiting:
            status = self.plan.status(task, self.cache)
            while isinstance(status, Request):
                if self.stopped or not await self._ask(status, client):
                    break
                status = self.plan.status(task, self.cache)
            self.advance()
            if self.stopped:
                return

    @property
    def stopped(self) -> bool:
        """Whether nothing more is asked."""
        return self.fatal is not None or self.failures_in_a_row >= max(3, self.endpoint.concurrency)

    async def _ask(self, request: Request, client: AsyncOpenAI) -> bool:
        """Send one request and keep its answer; whether there is one."""
        import openai

        try:
            answer = await complete(client, request.body)
        except openai.APIError as error:
            try:
                raise_if_fatal(error)
            except InputError as fatal:
                self.fatal = fatal
            self.errors[request.key] = api_error_line(error)
            if isinstance(error, (openai.BadRequestError, openai.UnprocessableEntityError)) and self.answered:
                return False
        except ValueError as error:
            self.errors[request.key] = redacted(f"no completion ({error})")
        else:
            self.cache.put(request.key, request.body, answer)
            self.answered, self.failures_in_a_row = self.answered + 1, 0
            return True
        self.failures_in_a_row += 1
        return False
