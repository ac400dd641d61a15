"""What it will cost, details before anybody is asked; and options that cannot be used."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from monai_mimo.errors import DataError
from monai_mimo.mimoseg.questions.llm import run as cost
from monai_mimo.mimoseg.questions.llm.run import Tokens, load_prices, used

from .conftest import ENTITIES, Folder
from .server import FakeServer


def test_dry_run_asks_nobody(folder: Folder, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs neither key nor client, and leaves nothing behind."""
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.setattr(cost, "counter", lambda model: (lambda text: -(-len(text) // 4), "four"))
    before = sorted(folder.path.rglob("*"))
    result = folder.run("--dry-run", "--show", "--price", "2,10", "--count", 5, "--perspective", 3)
    assert result.code == 0, result.err
    assert server.chats == []
    assert server.others == []
    assert sorted(folder.path.rglob("*")) == before
    assert result.out.startswith("4 requests to m, 0 answered already\n  III, one entity: 4 requests, ")

    shown = json.loads(result.out[result.out.index("{") :])
    texts = [message["content"] for message in shown["messages"]] + [json.dumps(shown["response_format"])]
    sent = sum(-(-len(text) // 4) for text in texts)
    details = result.out.splitlines()[1].split()
    assert abs(int(details[5].replace(",", "")) - 4 * sent) <= 8  # the names of the entities differ in length
    sent, received = (int(details[n].replace(",", "")) for n in (5, 8))
    assert f"cost: {(2 * sent + 10 * received) / 1e6:.4f} USD" in result.out


def test_what_is_answered_costs_nothing(folder: Folder, server: FakeServer) -> None:
    folder.run("--count", 5)
    result = folder.run("--count", 10, "--dry-run")
    assert result.out.startswith("12 requests to m, 12 answered already")


def test_a_batch_costs_a_share(folder: Folder) -> None:
    table = folder.path / "prices.yaml"
    table.write_text(yaml.safe_dump({"as_of": "2030-01", "batch": 0.25, "models": {"m": [4, 8]}}))
    costs = {}
    for batch in ((), ("--batch", "submit")):
        result = folder.run("--dry-run", "--prices", table, *batch)
        [line] = [line for line in result.out.splitlines() if line.startswith("cost: ")]
        assert "prices of 2030-01" in line
        costs[batch] = float(line.split()[1])
    full, shared = costs.values()
    assert shared == pytest.approx(full / 4, abs=1e-4)


def test_unknown_price(folder: Folder) -> None:
    assert "cost: unknown, no price for m; give --price" in folder.run("--dry-run").out


def test_tokens() -> None:
    assert Tokens(1, 2) + Tokens(3, 4) == Tokens(4, 6)
    assert Tokens(1_000_000, 500_000).cost((0.4, 1.6)) == pytest.approx(1.2)
    answers = [{"usage": {"prompt_tokens": 3, "completion_tokens": 5}}, {"usage": None}, {}]
    assert used(answers) == Tokens(3, 5)


def test_packaged_prices_are_dated() -> None:
    prices = load_prices()
    assert prices.as_of[:3] == "202"
    assert all(0 < sent < received for sent, received in prices.models.values())


@pytest.mark.parametrize(
    "text", ["", "[]", "models: 3", "as_of: x\nmodels: {m: [1]}", "as_of: x\nmodels: {}\nx: 1", "{"]
)
def test_bad_prices(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(DataError, match=r"prices\.yaml"):
        load_prices(file)


BAD = {
    "no model": (("--model", ""), "--model"),
    "no address": (("--base-url", "localhost:8000"), "--base-url"),
    "no such entity": (("--entity", "flux capacitor"), "flux capacitor"),
    "no such set": (("--dataset-entities", "Nowhere"), "Nowhere"),
    "too many at once": (("--several", 9), "--several"),
    "none at once": (("--several", 0), "--several"),
    "a parameter without value": (("--parameter", "temperature"), "--parameter"),
    "a price of words": (("--price", "cheap"), "--price"),
    "no such table": (("--prices", "nowhere.yaml"), "nowhere.yaml"),
    "no such knowledge": (("--knowledge", "nowhere.yaml"), "nowhere.yaml"),
    "perspective II": (("--perspective", 2), "--perspective"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options(folder: Folder, server: FakeServer, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    options, found = BAD[name]
    try:
        result = folder.run(*options)
        code, err = result.code, result.err
    except SystemExit as stop:  # argparse
        code, err = stop.code, capsys.readouterr().err
    assert code == 2
    [line] = err.splitlines()
    assert found in line
    assert server.chats == []


def test_without_the_package(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    result = folder.run()
    assert result.code == 2
    [line] = result.err.splitlines()
    assert "pip install 'monai-mimo[llm]'" in line


def test_without_a_key(folder: Folder, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's own endpoint needs one; a server of one's own does not."""
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    result = folder.run("--count", 5, "--perspective", 3, entities=ENTITIES[:1])
    assert result.code == 2
    [line] = result.err.splitlines()
    assert "OPENAI_API_KEY" in line
    run = folder.run("--count", 5, "--perspective", 3, "--base-url", server.url, entities=ENTITIES[:1])
    assert run.code == 0, run.err
    assert len(server.chats) == 1


def test_a_cache_that_cannot_be_written(folder: Folder, server: FakeServer) -> None:
    (folder.path / "llm-cache").write_text("a file, not a folder")
    result = folder.run()
    assert result.code == 2
    [line] = result.err.splitlines()
    assert "llm-cache" in line
