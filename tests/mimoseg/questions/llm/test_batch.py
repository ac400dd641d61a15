"""`mimo questions --batch submit` and `collect`, interrupted, failing in part, expired."""

from __future__ import annotations

import json

import pytest

from monai_mimo.mimoseg.questions.drafts import read_drafts
from monai_mimo.mimoseg.questions.llm import batch as batch_module

from .conftest import Folder
from .server import FakeServer, Fault

TASKS = 12
RUN = ("--count", 5)


def states(folder: Folder) -> list[dict]:
    return [json.loads(f.read_text()) for f in sorted((folder.path / "llm-cache" / "batches").glob("*.json"))]


@pytest.fixture
def by_chat(folder: Folder, server: FakeServer) -> bytes:
    """What the same run writes without a batch."""
    assert folder.run(*RUN, "--cache", folder.path / "other-cache", out="by-chat.jsonl").code == 0
    server.chats.clear()
    return (folder.path / "by-chat.jsonl").read_bytes()


def test_submit_and_collect(folder: Folder, server: FakeServer, by_chat: bytes) -> None:
    submitted = folder.run(*RUN, "--batch", "submit")
    assert submitted.code == 0, submitted.err
    assert "12 requests submitted" in submitted.out
    assert len(server.batches) == 1
    again = folder.run(*RUN, "--batch", "submit")
    assert "0 requests submitted" in again.out
    assert len(server.batches) == 1

    server.batch_status = "in_progress"
    early = folder.run(*RUN, "--batch", "collect")
    assert early.code == 2
    [line] = early.err.splitlines()
    assert "in progress, 0 of 12 done" in line
    assert not (folder.path / "drafts.jsonl").exists()

    server.batch_status = "completed"
    collected = folder.run(*RUN, "--batch", "collect")
    assert collected.code == 0, collected.err
    assert (folder.path / "drafts.jsonl").read_bytes() == by_chat
    assert server.chats == []
    assert folder.holds_key() == []
    before = len(server.others)
    assert folder.run(*RUN, "--batch", "collect").code == 0
    assert len(server.others) == before  # all is there


def test_errors_in_part(folder: Folder, server: FakeServer, by_chat: bytes) -> None:
    """Three requests fail in three ways; only they are submitted again."""
    folder.run(*RUN, "--batch", "submit")
    one, two, three, *_ = states(folder)[0]["keys"]
    refused = {"response": {"status_code": 400, "body": {"error": {"message": "too long"}}}, "error": None}
    expired = {"response": None, "error": {"code": "batch_expired", "message": "not in time"}}
    server.batch_fault = {one: refused, two: expired, three: {}}.get
    result = folder.run(*RUN, "--batch", "collect")
    assert result.code == 2
    assert "3 of 12 requests without an answer" in result.err
    assert not (folder.path / "drafts.jsonl").exists()
    failures = {line["request"]: line["reasons"] for line in folder.lines("drafts.report/failures.jsonl")}
    assert failures == {
        one: ["status 400, too long"],
        two: ["not in time"],
        three: ["batch completed, no result"],
    }

    server.batch_fault = lambda key: None
    assert "3 requests submitted" in folder.run(*RUN, "--batch", "submit").out
    assert folder.run(*RUN, "--batch", "collect").code == 0
    assert (folder.path / "drafts.jsonl").read_bytes() == by_chat
    assert not (folder.path / "drafts.report").exists()
    assert [len(state["keys"]) for state in states(folder)] == [12, 3]


def test_expired_batch_keeps_what_was_done(folder: Folder, server: FakeServer, by_chat: bytes) -> None:
    folder.run(*RUN, "--batch", "submit")
    done = set(states(folder)[0]["keys"][:7])
    late = {"response": None, "error": {"code": "batch_expired", "message": "not in time"}}
    server.batch_status, server.batch_fault = "expired", lambda key: None if key in done else late
    result = folder.run(*RUN, "--batch", "collect")
    assert result.code == 2
    assert "5 of 12 requests without an answer (not in time)" in result.err
    # the rest without a batch
    assert folder.run(*RUN).code == 0
    assert len(server.chats) == 5
    assert (folder.path / "drafts.jsonl").read_bytes() == by_chat


@pytest.mark.parametrize(("status", "reason"), [("failed", "the file is not wanted"), ("cancelled", "no result")])
def test_batch_without_results(folder: Folder, server: FakeServer, status: str, reason: str) -> None:
    folder.run(*RUN, "--batch", "submit")
    server.batch_status = status
    result = folder.run(*RUN, "--batch", "collect")
    assert result.code == 2
    assert f"12 of 12 requests without an answer (batch {status}" in result.err
    assert reason in result.err
    assert "12 requests submitted" in folder.run(*RUN, "--batch", "submit").out


@pytest.mark.parametrize(
    ("faults", "uploads", "made"),
    [
        ([Fault(status=500)], 1, 1),  # the upload fails
        ([Fault(drop=True)], 2, 1),  # it succeeds, but nobody hears of it: an orphaned file costs nothing
        ([None, Fault(status=500)], 1, 1),  # the batch is not made
        ([None, Fault(drop=True)], 1, 1),  # it is made, but nobody hears of it: made once all the same
    ],
    ids=["upload fails", "upload unheard", "creation fails", "creation unheard"],
)
def test_submit_interrupted(
    folder: Folder, server: FakeServer, by_chat: bytes, faults: list[Fault], uploads: int, made: int
) -> None:
    server.fail_next = list(faults)
    result = folder.run(*RUN, "--batch", "submit", "--retries", 0)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert "12 requests submitted" in folder.run(*RUN, "--batch", "submit", "--retries", 0).out
    assert len([name for name in server.files if name.startswith("file_")]) == uploads
    assert len(server.batches) == made
    assert folder.run(*RUN, "--batch", "collect").code == 0
    assert (folder.path / "drafts.jsonl").read_bytes() == by_chat


@pytest.mark.parametrize("which", [0, 1, 2])
def test_collect_interrupted(folder: Folder, server: FakeServer, by_chat: bytes, which: int) -> None:
    """The batch, its errors or its output cannot be fetched; nothing is lost, and the next call gets it."""
    folder.run(*RUN, "--batch", "submit")
    one = states(folder)[0]["keys"][0]
    server.batch_fault = {one: {"response": None, "error": {"code": "x", "message": "unlucky"}}}.get
    server.fail_next = [None] * which + [Fault(drop=True)]
    result = folder.run(*RUN, "--batch", "collect", "--retries", 0)
    assert result.code == 2
    assert "the endpoint: found" in result.err
    assert states(folder)[0]["collected"] is False
    assert "1 of 12 requests without an answer (unlucky)" in folder.run(*RUN, "--batch", "collect").err
    assert folder.run(*RUN).code == 0
    assert len(server.chats) == 1
    assert (folder.path / "drafts.jsonl").read_bytes() == by_chat


def test_bad_replies_in_a_batch_are_handed_in_again(folder: Folder, server: FakeServer, by_chat: bytes) -> None:
    folder.run(*RUN, "--batch", "submit")
    one = states(folder)[0]["keys"][0]
    refusal = {"choices": [{"message": {"content": None, "refusal": "no"}, "finish_reason": "stop"}]}
    server.batch_fault = {one: {"response": {"status_code": 200, "body": refusal}, "error": None}}.get
    assert "1 of 12 requests without an answer (not asked)" in folder.run(*RUN, "--batch", "collect").err
    assert "1 requests submitted" in folder.run(*RUN, "--batch", "submit").out
    uploads = [data for name, data in server.files.items() if name.startswith("file_")]
    line = json.loads(uploads[-1])
    assert "number 1 could not be used: it was a refusal (no)" in line["body"]["messages"][-1]["content"]
    assert folder.run(*RUN, "--batch", "collect").code == 0
    assert len(read_drafts(folder.path / "drafts.jsonl")) == 60


def test_large_submissions_are_divided(
    folder: Folder, server: FakeServer, by_chat: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "MAX_REQUESTS", 5)
    assert "12 requests submitted" in folder.run(*RUN, "--batch", "submit").out
    assert [len(state["keys"]) for state in states(folder)] == [5, 5, 2]
    assert folder.run(*RUN, "--batch", "collect").code == 0
    assert (folder.path / "drafts.jsonl").read_bytes() == by_chat


def test_chunks_keep_to_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "MAX_BYTES", 10)
    lines = [(str(n), "é" * n) for n in (1, 2, 3, 4, 1)]  # two bytes each
    assert [[key for key, _ in chunk] for chunk in batch_module.chunks(lines)] == [["1", "2"], ["3"], ["4", "1"]]


def test_damaged_state(folder: Folder, server: FakeServer) -> None:
    folder.run(*RUN, "--batch", "submit")
    file = folder.path / "llm-cache" / "batches" / "0001.json"
    file.write_text(file.read_text()[:-20])
    result = folder.run(*RUN, "--batch", "collect")
    assert result.code == 2
    assert "0001.json" in result.err


def test_a_batch_that_the_endpoint_does_not_know(folder: Folder, server: FakeServer, by_chat: bytes) -> None:
    """It may be another endpoint's, so it is the user who gives it up."""
    folder.run(*RUN, "--batch", "submit")
    server.fail_next = [Fault(status=404)]
    result = folder.run(*RUN, "--batch", "collect")
    assert result.code == 2
    assert "0001.json: found status 404" in result.err
    assert "0 requests submitted" in folder.run(*RUN, "--batch", "submit").out
    (folder.path / "llm-cache" / "batches" / "0001.json").unlink()
    assert "12 requests submitted" in folder.run(*RUN, "--batch", "submit").out
    assert folder.run(*RUN, "--batch", "collect").code == 0
    assert (folder.path / "drafts.jsonl").read_bytes() == by_chat
