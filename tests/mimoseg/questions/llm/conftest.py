"""A server, knowledge of four made-up entities, and `mimo questions` against them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from monai_mimo.cli import main

from .server import FakeServer

KEY = "sk-test-0123456789abcdef"
ENTITIES = ("gland of Alpha", "Beta duct", "left Gamma lobe", "right Gamma lobe")
VERBS = ("carries", "filters", "stores", "moistens", "supports", "drains", "cools", "anchors", "guides", "warms")
PLACES = (
    "behind the ribs",
    "under the fascia",
    "beside the spine",
    "above the basin",
    "next to the wall",
    "in the fold",
)


def facts_of(number: int) -> dict[str, list[str]]:
    """Ten facts about an entity, no two alike over all entities."""
    lines = [f"{v} fluid {chr(97 + number)}{n} {PLACES[(n + number) % 6]}" for n, v in enumerate(VERBS)]
    return {"function": lines[:5], "anatomy": lines[5:8], "treatment": lines[8:]}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    server = FakeServer()
    yield server
    server.close()


@dataclass
class Result:
    code: int
    out: str
    err: str


@dataclass
class Folder:
    """A folder with knowledge and a way to run the command in it."""

    path: Path
    run: Callable[..., Result]

    def lines(self, name: str) -> list[dict]:
        return [json.loads(line) for line in (self.path / name).read_text().splitlines()]

    def holds_key(self) -> list[str]:
        return [str(f) for f in self.path.rglob("*") if f.is_file() and KEY.encode() in f.read_bytes()]


@pytest.fixture
def folder(
    tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Folder:
    pytest.importorskip("openai")
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.002)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.002)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    records = {
        name: {"kind": "structure", "facts": facts_of(number), "sources": ["a", "b"]}
        for number, name in enumerate(ENTITIES)
    }
    knowledge = tmp_path / "knowledge.yaml"
    knowledge.write_text(yaml.safe_dump(records))

    def run(*arguments: object, entities: tuple[str, ...] = ENTITIES, out: str = "drafts.jsonl") -> Result:
        fixed = ["questions", "--writer", "llm", "--model", "m", "--knowledge", str(knowledge), "--entity", *entities]
        fixed += ["--count", "5"]
        capsys.readouterr()
        code = main([*fixed, "--out", str(tmp_path / out), *map(str, arguments)])
        streams = capsys.readouterr()
        assert KEY not in streams.out + streams.err
        return Result(code, streams.out, streams.err)

    return Folder(tmp_path, run)
