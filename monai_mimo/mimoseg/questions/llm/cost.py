"""What requests will cost, before they are sent, and what the answers did cost.

Tokens are counted by `tiktoken` where it is installed and knows the model, and else taken as four characters each, the usual
rule of thumb for English. The reply is taken to be as long as that of the example, scaled by how much more is known of the
entities than of those in the example: explanations weave in all facts. Repeated attempts, and the thinking of models that
think before they write, come on top.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ....errors import DataError
from .progress import Plan, Request
from .prompts import example_knowledge, example_reply, facts_text, prompts

CHARACTERS = 4  # a token


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


def estimate(request: Request, plan: Plan) -> Tokens:
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
