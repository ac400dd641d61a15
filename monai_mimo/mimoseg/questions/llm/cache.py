"""Answers that were paid for, on disk: a request is never sent twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ....files import digest, write_json


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
