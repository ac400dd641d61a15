"""What was asked and decided, one JSON line each: nothing in it tells who the patient is or what the image shows."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from monai_mimo.mimoseg.catalogue.vocabulary import vocabulary
from monai_mimo.mimoseg.questions.templates import templates

COMMON_WORDS = (
    "a an and are as at be between by can do does for from how i in is it me my no not of on or show that the there this to what "
    "where which with you"
)
HIDDEN = "[...]"
SCRIBBLES = ("foreground_scribble", "background_scribble")


class AuditLog:
    """A file of JSON lines.

    Ids are written as a keyed hash: lines about one study can be put together, but a study cannot be looked up without the key,
    which stays in a file beside the log that only its owner may read. Of a question only words are kept that the templates and
    the vocabulary have, so that a name which somebody typed does not get in.

    Args:
        file: of the log; its folder is made when it is missing.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()
        file.parent.mkdir(parents=True, exist_ok=True)
        self._key = _key(file.with_suffix(".key"))

    def write(self, task: str, image: Any, decision: str, **more: Any) -> None:
        """Add a line.

        Args:
            task: what was to be done.
            image: the id that the viewer sent.
            decision: what came of it.
            more: prompt, model and the like, fit for JSON and without identifiers.
        """
        line = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "task": task,
            "study": self.hashed(image),
            "decision": decision,
            **more,
        }
        data = (json.dumps(line) + "\n").encode()
        with self._lock, open(self.file, "ab") as log:
            log.write(data)

    def hashed(self, identifier: Any) -> str:
        """16 hex digits that stand for an id."""
        return hmac.new(self._key, str(identifier).encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:16]

    def prompt(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What of a request is kept: numbers, known names, known words."""
        kept: dict[str, Any] = {}
        for name in (*SCRIBBLES, "foreground", "background", "roi", "bbox", "slice"):
            if request.get(name) not in (None, "", [], -1):
                kept[name] = _numbers(request[name])
        for name in ("question", "label"):
            if request.get(name):
                kept[name] = known_words(request[name])
        return kept


def known_words(value: Any) -> str:
    """A text with the words that are not known to be harmless hidden."""
    text = value if isinstance(value, str) else ", ".join(map(str, value)) if isinstance(value, list | dict) else ""
    return re.sub(r"\w+", lambda m: m[0] if m[0].casefold() in _known() else HIDDEN, text)[:1000]


@functools.cache
def _known() -> frozenset[str]:
    texts = [
        yaml.safe_dump(templates()),
        COMMON_WORDS,
        *vocabulary(),
        *(s for e in vocabulary().values() for s in e.synonyms),
    ]
    return frozenset(word.casefold() for text in texts for word in re.findall(r"[^\W\d_]+", text))


def _numbers(value: Any) -> Any:
    """Numbers and lists of them, and nothing else."""
    if isinstance(value, list):
        return [_numbers(v) for v in value[:64]]
    return value if isinstance(value, int | float) and abs(value) < 1e9 else None


def _key(file: Path) -> bytes:
    """Read the key, or make one that only the owner may read."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_bytes()
    key = secrets.token_bytes(32)
    with os.fdopen(handle, "wb") as out:
        out.write(key)
    return key
