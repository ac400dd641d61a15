"""`mimo questions --writer llm` against a server that is well, slow, ill or dead."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from monai_mimo.mimoseg.questions.drafts import read_drafts

from .conftest import ENTITIES, KEY, Folder
from .server import FakeServer, Fault, triples

TASKS = 12  # four entities; III, and IV by box and by point; five drafts, which is one request


@pytest.fixture
def untroubled(folder: Folder) -> bytes:
    """What a run without faults writes; its requests are forgotten."""
    assert folder.run("--cache", folder.path / "other-cache", out="untroubled.jsonl").code == 0
    return (folder.path / "untroubled.jsonl").read_bytes()


def forget(server: FakeServer) -> None:
    server.chats.clear()
    server.most_at_once = 0


def first(count: int, fault: Fault) -> Any:
    """The fault for the first requests."""
    return lambda number, body: fault if number < count else None


def test_drafts_are_as_documented(folder: Folder, server: FakeServer) -> None:
    result = folder.run("--parameter", "temperature=0.5")
    assert result.code == 0, result.err
    drafts = read_drafts(folder.path / "drafts.jsonl")
    assert len(drafts) == 60
    assert {(d.perspective, d.clue) for d in drafts} == {(3, ""), (4, "box"), (4, "point")}
    for draft in drafts:
        assert draft.writer == "llm:m"
        assert draft.answer == f"It is the <p> {draft.entities[0]} </p> <SEG>."
        assert draft.question.count(f"<{draft.clue}>") == (draft.perspective == 4)
        assert draft.aspects == ("function", "anatomy", "treatment")
    assert len(server.chats) == len(server.answers()) == TASKS
    assert set(server.authorizations) == {f"Bearer {KEY}"}
    body = server.chats[0].body
    assert body["temperature"] == 0.5
    assert body["response_format"]["json_schema"]["strict"] is True
    assert "12,000 tokens in, 6,000 out" in result.out
    assert folder.holds_key() == []


def test_again_costs_nothing(folder: Folder, server: FakeServer) -> None:
    folder.run()
    written = (folder.path / "drafts.jsonl").read_bytes()
    assert len(server.chats) == TASKS
    server.close()  # nobody is asked
    assert folder.run().code == 0
    assert (folder.path / "drafts.jsonl").read_bytes() == written


def test_a_larger_count_asks_for_the_further_ones_only(folder: Folder, server: FakeServer) -> None:
    folder.run("--count", 5)
    before = read_drafts(folder.path / "drafts.jsonl")
    assert folder.run("--count", 10).code == 0
    assert len(server.chats) == len(server.answers()) == 2 * TASKS
    after = read_drafts(folder.path / "drafts.jsonl")
    assert [d for n, d in enumerate(after) if n % 10 < 5] == before


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, headers={"retry-after-ms": "5"}),
        Fault(status=500),
        Fault(status=503, headers={"retry-after-ms": "1"}),
        Fault(drop=True),
        Fault(hang_up=True),
        Fault(raw=b'{"choices": [{"mess'),
        Fault(raw=b"<html>gateway</html>"),
        Fault(raw=b'{"choices": []}'),
    ],
    ids=["429", "500", "503", "cut off in the body", "hangs up", "half a body", "HTML", "no choice"],
)
def test_passing_faults_leave_no_trace(folder: Folder, server: FakeServer, untroubled: bytes, fault: Fault) -> None:
    forget(server)
    server.fault = lambda number, body: fault if number in (0, 6) else None  # a task gives up at the third bad reply
    result = folder.run("--concurrency", 3)
    assert result.code == 0, result.err
    assert (folder.path / "drafts.jsonl").read_bytes() == untroubled
    assert len(server.chats) == TASKS + 2
    assert set(server.answers().values()) == {1}
    assert not (folder.path / "drafts.report").exists()


def test_timeouts_are_asked_again(folder: Folder, server: FakeServer, untroubled: bytes) -> None:
    forget(server)
    server.fault = lambda number, body: Fault(status=500, wait_s=1.5) if number in (1, 5) else None
    assert folder.run("--timeout", 0.6).code == 0
    assert (folder.path / "drafts.jsonl").read_bytes() == untroubled
    assert len(server.chats) == TASKS + 2


def test_retry_after_is_waited_for(folder: Folder, server: FakeServer) -> None:
    server.fault = first(1, Fault(status=429, headers={"Retry-After": "0.4"}))
    folder.run("--count", 5, "--perspective", 3, entities=ENTITIES[:1])
    [refused, answered] = server.chats
    assert refused.key == answered.key
    assert answered.time - refused.time >= 0.4


def reply(triple: dict[str, Any], count: int = 5) -> Fault:
    return Fault(content=json.dumps({"triples": [triple] * count}))


GOOD_TRIPLE = {"question": "x", "answer": "x", "explanation": "x"}
REFUSAL = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
BAD_REPLIES = {
    "no JSON": (Fault(content="Here are your triples: {"), "no JSON"),
    "empty": (Fault(content=""), "empty"),
    "no list": (Fault(content='{"questions": []}'), 'no list "triples"'),
    "four triples": (reply(GOOD_TRIPLE, 4), "4 triples"),
    "a triple without answer": (reply({"question": "x", "explanation": "x"}), "lacked"),
    "a number for a text": (reply({**GOOD_TRIPLE, "question": 1}), "lacked"),
    "refusal": (Fault(message=REFUSAL), "refusal (I cannot"),
    "cut off": (Fault(finish="length"), "limit of tokens"),
    "filtered": (Fault(finish="content_filter"), "content filter"),
}


@pytest.mark.parametrize("name", BAD_REPLIES)
def test_a_bad_reply_is_asked_for_anew(folder: Folder, server: FakeServer, untroubled: bytes, name: str) -> None:
    forget(server)
    fault, reason = BAD_REPLIES[name]
    server.fault = first(2, fault)
    assert folder.run("--concurrency", 1).code == 0
    assert (folder.path / "drafts.jsonl").read_bytes() == untroubled
    assert len(server.chats) == TASKS + 2
    third = server.chats[2].body["messages"][-1]["content"]
    assert "number 1 could not be used" in third
    assert "number 2 could not be used" in third
    assert third.count(reason) == 2


@pytest.mark.parametrize("name", BAD_REPLIES)
def test_bad_replies_to_the_end_are_recorded(folder: Folder, server: FakeServer, name: str) -> None:
    fault, reason = BAD_REPLIES[name]
    server.fault = lambda number, body: fault if ENTITIES[1] in body["messages"][-1]["content"] else None
    run = ("--count", 5, "--perspective", 3)
    result = folder.run(*run)
    assert result.code == 0
    assert "1 requests given up; see " in result.out
    assert [d.entities[0] for d in read_drafts(folder.path / "drafts.jsonl")[::5]] == [ENTITIES[0], *ENTITIES[2:]]
    [failure] = folder.lines("drafts.report/failures.jsonl")
    assert failure["kind"] == "unusable"
    assert failure["entities"] == [ENTITIES[1]]
    assert len(failure["reasons"]) == 3
    assert all(reason in text for text in failure["reasons"])
    for answer in failure["answers"]:  # what was paid for can be looked at
        assert (folder.path / "llm-cache" / answer).is_file()
    assert len(server.chats) == 6

    forget(server)
    folder.run(*run)
    assert server.chats == []
    server.fault = first(0, fault)
    assert folder.run(*run, "--attempts", 4).code == 0
    assert len(server.chats) == 1
    assert len(read_drafts(folder.path / "drafts.jsonl")) == 20
    assert not (folder.path / "drafts.report").exists()


@pytest.mark.parametrize("concurrency", [1, 5])
def test_a_server_that_dies_half_way(folder: Folder, server: FakeServer, untroubled: bytes, concurrency: int) -> None:
    forget(server)
    server.fault = lambda number, body: Fault(hang_up=True) if number >= 5 else None
    result = folder.run("--concurrency", concurrency, "--retries", 1)
    assert result.code == 2
    [line] = result.err.splitlines()
    assert "7 of 12 requests without an answer" in line
    assert not (folder.path / "drafts.jsonl").exists()
    missing = folder.lines("drafts.report/failures.jsonl")
    assert len(missing) == 7
    assert {m["kind"] for m in missing} == {"unanswered"}
    assert len(server.chats) <= 5 + 2 * (max(3, concurrency) + concurrency)  # it is not asked to the end
    assert {m["request"] for m in missing}.isdisjoint(server.answers())

    server.fault = lambda number, body: None
    assert folder.run("--concurrency", concurrency).code == 0
    assert (folder.path / "drafts.jsonl").read_bytes() == untroubled
    assert len(server.answers()) == TASKS
    assert set(server.answers().values()) == {1}
    assert not (folder.path / "drafts.report").exists()


def test_nobody_there(folder: Folder, server: FakeServer) -> None:
    server.close()
    result = folder.run("--retries", 0)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert "12 of 12" in result.err


def test_one_request_that_the_endpoint_calls_bad(folder: Folder, server: FakeServer) -> None:
    """It alone is missing, also with one request at a time."""
    server.fault = lambda n, body: Fault(status=400) if ENTITIES[1] in body["messages"][-1]["content"] else None
    result = folder.run("--concurrency", 1)
    assert result.code == 2
    assert "3 of 12 requests without an answer (status 400, " in result.err
    assert {tuple(line["entities"]) for line in folder.lines("drafts.report/failures.jsonl")} == {(ENTITIES[1],)}


@pytest.mark.parametrize(("status", "where"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "--model")])
def test_what_no_further_request_can_mend(folder: Folder, server: FakeServer, status: int, where: str) -> None:
    """The error of the server repeats the key; neither the line nor a file does."""
    server.fault = lambda number, body: Fault(status=status)
    result = folder.run("--concurrency", 2)
    assert result.code == 2
    [line] = result.err.splitlines()
    assert line.startswith(f"mimo questions: {where}")
    assert len(server.chats) <= 2
    assert folder.holds_key() == []


def test_a_key_in_an_error_or_answer_is_not_kept(folder: Folder, server: FakeServer) -> None:
    server.fault = lambda number, body: Fault(status=500) if number % 2 else Fault(content=f"your key is {KEY}")
    result = folder.run("--retries", 0, "--count", 5, "--attempts", 2)
    assert result.code == 2
    assert "***" in (folder.path / "drafts.report/failures.jsonl").read_text()
    assert folder.holds_key() == []


def test_concurrency_is_bounded(folder: Folder, server: FakeServer) -> None:
    server.delay_s = 0.2
    folder.run("--concurrency", 4)
    assert 1 < server.most_at_once <= 4  # a busy machine may not reach four


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT interrupts, also where the tests were started as a background job of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_interrupted_and_taken_up(folder: Folder, server: FakeServer, untroubled: bytes) -> None:
    """Ctrl-C ends it without words; what was answered is not asked again."""
    forget(server)
    server.delay_s = 0.2  # far from done when the signal comes
    server.fault = lambda number, body: os.kill(os.getpid(), signal.SIGINT) if number == 6 else None
    result = folder.run("--concurrency", 2)
    assert (result.code, result.err) == (130, "")
    kept = len(list((folder.path / "llm-cache").glob("*/*.json")))
    assert 5 <= kept < TASKS
    assert not (folder.path / "drafts.jsonl").exists()

    server.delay_s, server.fault = 0.0, lambda number, body: None
    forget(server)
    assert folder.run().code == 0
    assert len(server.chats) == TASKS - kept
    assert (folder.path / "drafts.jsonl").read_bytes() == untroubled


def test_drafts_that_break_a_rule_are_recorded(folder: Folder, server: FakeServer) -> None:
    """One triple names the entity; a reply of such triples only is asked for anew."""

    def naming(count: int, body: dict[str, Any]) -> Fault:
        made = triples(body)
        for triple in made[:count]:
            triple["question"] = f"What is the {ENTITIES[0]}? " + triple["question"]
        return Fault(content=json.dumps({"triples": made}))

    server.fault = lambda number, body: naming(1 if number else 5, body)
    result = folder.run("--count", 5, "--perspective", 3, entities=ENTITIES[:1])
    assert result.code == 0, result.err
    assert len(server.chats) == 2
    assert "each triple broke a rule" in server.chats[1].body["messages"][-1]["content"]
    assert len(read_drafts(folder.path / "drafts.jsonl")) == 4
    [line] = folder.lines("drafts.report/rejected.jsonl")
    assert line["draft"]["question"].startswith(f"What is the {ENTITIES[0]}?")
    assert line["rules"]
    assert "1 rejected; see " in result.out


def test_several_entities(folder: Folder, server: FakeServer) -> None:
    result = folder.run("--several", 2, "--count", 5)
    assert result.code == 0, result.err
    drafts = read_drafts(folder.path / "drafts.jsonl")
    assert len({d.entities for d in drafts}) == 6  # choices of two out of four
    assert {(d.perspective, d.clue) for d in drafts} == {(3, ""), (4, "box")}
    for draft in drafts:
        one, two = draft.entities
        assert draft.answer == f"It is the <p> {one} </p> <SEG> and the <p> {two} </p> <SEG>."
    forget(server)
    assert folder.run("--several", 2, "--count", 5, "--most", 2).code == 0
    assert server.chats == []
    assert len({d.entities for d in read_drafts(folder.path / "drafts.jsonl")}) == 2
