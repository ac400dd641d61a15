"""A small server that speaks the protocol of chat completions, files and batches, with faults on demand."""

from __future__ import annotations

import email.policy
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from monai_mimo.mimoseg.questions.llm.requests import request_key


@dataclass
class Fault:
    """What to do instead of answering well. All but `content`, `message` and `finish` answer nothing.

    Attributes:
        status: of the response, with an error that repeats the request's key, as some servers do.
        wait_s: before answering; longer than the client's patience makes it give up.
        drop: send half of the body, then close the connection.
        hang_up: close the connection without a word.
        raw: the body of a response of status 200.
        content: of the message; message, finish: what replaces the message, or the finish_reason.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    drop: bool = False
    hang_up: bool = False
    raw: bytes | None = None
    content: str | None = None
    message: dict[str, Any] | None = None
    finish: str | None = None


@dataclass
class Seen:
    """One chat request."""

    time: float
    key: str
    body: dict[str, Any]
    answered: bool


class FakeServer:
    """Runs in a thread on a free port of 127.0.0.1.

    Attributes:
        fault: (number of the chat request, its body) -> the fault to show, or none.
        chats: the chat requests, in the order of their arrival; most_at_once: how many were under way together.
        batch_status: of a batch that is asked for; batch_fault: custom_id -> the line of its result, instead of an answer.
    """

    def __init__(self) -> None:
        self.fault: Callable[[int, dict[str, Any]], Fault | None] = lambda number, body: None
        self.delay_s = 0.0
        self.chats: list[Seen] = []
        self.others: list[str] = []
        self.at_once = self.most_at_once = 0
        self.authorizations: Counter[str] = Counter()
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.batch_status = "completed"
        self.batch_fault: Callable[[str], dict[str, Any] | None] = lambda key: None
        self.fail_next: list[Fault] = []  # for requests other than chats
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"server_state": self}))
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None  # a client that hangs up is what some tests are about
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def answers(self) -> Counter[str]:
        """How often each request was answered."""
        return Counter(seen.key for seen in self.chats if seen.answered)

    def start_batch(self, values: dict[str, Any]) -> dict[str, Any]:
        name = f"batch_{len(self.batches)}"
        self.batches[name] = {"id": name, "input_file_id": values["input_file_id"]}
        return self.batch(name)

    def batch(self, name: str) -> dict[str, Any]:
        """The batch object; its results are made when it ends."""
        batch = self.batches[name]
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].decode().splitlines()]
        made = {
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "created_at": 0,
            "status": self.batch_status,
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            **batch,
        }
        if self.batch_status == "failed":
            made["errors"] = {"object": "list", "data": [{"code": "x", "message": "the file is not wanted"}]}
        if self.batch_status not in ("completed", "expired"):
            return made
        good, bad = [], []
        for line in lines:
            fault = self.batch_fault(line["custom_id"])
            if fault is None:
                response = {"status_code": 200, "request_id": "r", "body": completion(line["body"])}
                good.append({"id": "x", "custom_id": line["custom_id"], "response": response, "error": None})
            elif fault:
                bad.append({"id": "x", "custom_id": line["custom_id"], **fault})
        for kind, results in (("output_file_id", good), ("error_file_id", bad)):
            if results:
                made[kind] = f"{name}-{kind}"
                text = "".join(json.dumps(result) + "\n" for result in reversed(results))  # in any order
                self.files[made[kind]] = text.encode()
        return made


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_state: FakeServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(b"")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        if len(data) < length:  # the client was interrupted while it sent
            self.close_connection = True
        else:
            self.answer(data)

    def answer(self, data: bytes) -> None:
        state, path = self.server_state, urlsplit(self.path).path.removeprefix("/v1")
        with state.lock:
            state.authorizations[self.headers.get("Authorization", "")] += 1
        try:
            if path == "/chat/completions":
                self.chat(json.loads(data))
            else:
                self.other(path, data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def chat(self, body: dict[str, Any]) -> None:
        state = self.server_state
        with state.lock:
            fault = state.fault(len(state.chats), body)
            seen = Seen(time.monotonic(), request_key(body), body, False)
            state.chats.append(seen)
            state.at_once += 1
            state.most_at_once = max(state.most_at_once, state.at_once)
        try:
            time.sleep(fault.wait_s if fault else state.delay_s)
            text = json.dumps(completion(body, fault)).encode()
            if fault is None or fault.content is not None or fault.message is not None or fault.finish is not None:
                seen.answered = True
                self.send(200, text)
            elif fault.raw is not None:
                self.send(200, fault.raw)
            else:
                self.fail(fault, text)
        finally:
            with state.lock:
                state.at_once -= 1

    def other(self, path: str, data: bytes) -> None:
        state = self.server_state
        with state.lock:
            state.others.append(f"{self.command} {path}")
            fault = state.fail_next.pop(0) if state.fail_next else None
        if fault is not None and not fault.drop:
            return self.fail(fault, b"")
        with state.lock:
            if path == "/files":
                name = f"file_{len(state.files)}"
                state.files[name] = uploaded(self.headers["Content-Type"], data)
                values: Any = {
                    "id": name,
                    "object": "file",
                    "bytes": 1,
                    "created_at": 0,
                    "filename": "f",
                    "purpose": "batch",
                }
                values["status"] = "processed"
            elif path.startswith("/files/"):
                text = state.files[path.split("/")[2]]
                return self.fail(fault, text) if fault else self.send(200, text, "application/octet-stream")
            elif path == "/batches" and self.command == "POST":
                values = state.start_batch(json.loads(data))
            elif path == "/batches":
                listed = [state.batch(name) for name in state.batches]
                values = {"object": "list", "data": listed, "has_more": False, "first_id": None, "last_id": None}
            else:
                values = state.batch(path.split("/")[2])
        text = json.dumps(values).encode()
        return self.fail(fault, text) if fault else self.send(200, text)

    def fail(self, fault: Fault, text: bytes) -> None:
        if fault.status:
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            error = {"error": {"message": f"not with {key}", "type": "x", "param": None, "code": None}}
            self.send(fault.status, json.dumps(error).encode(), headers=fault.headers)
        elif fault.drop:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text[: len(text) // 2])
            self.close_connection = True
        else:
            self.close_connection = True

    def send(
        self, status: int, data: bytes, kind: str = "application/json", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def completion(body: dict[str, Any], fault: Fault | None = None) -> dict[str, Any]:
    """The answer to a chat request, good but for what the fault says."""
    fault = fault or Fault()
    content = fault.content if fault.content is not None else json.dumps({"triples": triples(body)})
    message = fault.message or {"role": "assistant", "content": content, "refusal": None}
    return {
        "id": "chat",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": fault.finish or "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500},
    }


POINTING = (
    "What is at *?",
    "Please tell me the name of *.",
    "How would you describe *, and what is it called?",
    "I marked *. Which structure is this, and why does it matter?",
    "For which purpose is there *, and what am I looking at?",
    "To a student, how would you explain *?",
    "Name * and say what is known about it.",
    "Could you identify *, with reasons?",
    "Which treatment exists for *, and of what?",
    "Where in the body would one look for *?",
)


def triples(body: dict[str, Any]) -> list[dict[str, str]]:
    """Five triples that keep the rules, made of the facts of the request."""
    text = body["messages"][-1]["content"]
    rules = body["messages"][0]["content"]
    names = re.findall(r"^Entity \d+: (.+)$", text, re.MULTILINE)
    facts = [re.findall(r"^- \w+: (.+)$", block, re.MULTILINE) for block in text.split("Entity ")[1:]]
    facts = [[fact for line in lines for fact in line.split("; ")] for lines in facts]
    first = 5 * (int(re.findall(r"This is set (\d+)", text)[0]) - 1)
    marker = next(iter(re.findall(r"the marker (<\w+>)", rules)), "")
    listed = " and ".join(f"the {name}" for name in names)
    made = []
    for number in range(first, first + 5):
        details = [lines[number % len(lines)] for lines in facts]
        if marker:
            question = POINTING[number].replace("*", " and ".join([marker] * len(names)))
        else:
            question = f"What {' and what '.join(details)}?"
        made.append({"question": question, "answer": f"It is {listed}.", "explanation": f"It {'; it '.join(details)}."})
    return made


def uploaded(kind: str, data: bytes) -> bytes:
    """The file in a multipart form."""
    message = BytesParser(policy=email.policy.HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + data)
    [part] = [p for p in message.iter_parts() if p.get_filename()]
    return part.get_payload(decode=True)
