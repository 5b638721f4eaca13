"""A server that speaks the OpenAI protocol over a real socket and misbehaves on demand.

`with serving(answer) as stub` answers by a function of the request, or by a script: a list of responses, one a
request, whose end is a failure of the test.
"""

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any

import pytest

MODEL = "stub-1"
USAGE = {
    "prompt_tokens": 500,
    "completion_tokens": 40,
    "total_tokens": 540,
    "prompt_tokens_details": {"cached_tokens": 400},
    "completion_tokens_details": {"reasoning_tokens": 10},
}


@dataclass(frozen=True)
class Response:
    """What goes back over the wire; `drop` closes the connection instead."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    delay_s: float = 0.0
    drop: bool = False


@dataclass(frozen=True)
class Call:
    """One request as it arrived. `texts` are the delimited ones of the prompt: anchor, candidate, perhaps cited."""

    body: dict[str, Any]
    headers: dict[str, str]  # names in lower case
    arrived_at: float

    @property
    def texts(self) -> dict[str, str]:
        return _texts(self.body["messages"][-1]["content"])

    @property
    def questions(self) -> list[dict[str, str]]:
        """The texts of each question of a request to the Decisions API, with those of the input that they share."""
        shared = _texts(self.body["input"][-1]["content"])
        return [shared | _texts(question["instructions"]) for question in self.body["questions"]]


def _texts(prompt: str) -> dict[str, str]:
    found = re.findall(r"<(\w+)-(\w+)>\n(.*?)\n</\1-\2>", prompt, flags=re.DOTALL)
    return {name: text for name, _, text in found}


Answer = Callable[[Call], Response]


def completion(
    content: str | None,
    *,
    finish_reason: str = "stop",
    refusal: str | None = None,
    model: str = MODEL,
    usage: object = USAGE,
    logprobs: object = None,
    delay_s: float = 0.0,
) -> Response:
    """A chat completion that says `content`."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    body = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": message, "logprobs": logprobs}],
        "usage": usage,
    }
    return Response(body=json.dumps(body), delay_s=delay_s)


def labelled(label: str, *, quote: str = "", reason: str = "because", delay_s: float = 0.0) -> Response:
    """A well-formed judgment."""
    return completion(json.dumps({"quote": quote, "label": label, "reason": reason}), delay_s=delay_s)


DECISION_USAGE = {
    "input_tokens": 901,
    "input_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 0},
    "output_tokens": 10,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 911,
}


def chosen(label: str, **probabilities: float) -> dict[str, object]:
    """An answer of the Decisions API to a question of type `choice`."""
    values = [{"value": name.replace("_", "-"), "probability": p} for name, p in probabilities.items()]
    return {"type": "choice", "choice": label, "confidence": 0.5, "name": None, "probabilities": values}


REFUSED = {"type": "refusal", "name": None}


def decision(*answers: dict[str, object], usage: object = DECISION_USAGE) -> Response:
    """A reply of the Decisions API, answers in the order of the questions."""
    return Response(body=json.dumps({"answers": answers, "model": "gpt-6-luna-2026", "usage": usage}))


def failing(
    status: int, message: str = "no", *, code: str | None = None, param: str | None = None, retry_after: str = "0.01"
) -> Response:
    """An error in OpenAI's shape."""
    body = {"error": {"message": message, "type": "error", "code": code, "param": param}}
    return Response(status, json.dumps(body), {"retry-after": retry_after})


class Stub:
    """A running server: where it is, and what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls: list[Call] = []
        self.complaints: list[str] = []

    @property
    def candidates(self) -> list[str]:
        """The candidate text of every call."""
        return [call.texts["candidate"] for call in self.calls]


@contextlib.contextmanager
def running(server: HTTPServer) -> Iterator[None]:
    """Let a server answer for the length of the block, and close it."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def serving(answer: Answer | Sequence[Response]) -> Iterator[Stub]:
    """Serve for the length of the block; fails at its end if a script was too short."""
    lock = threading.Lock()
    script = None if callable(answer) else list(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = Call(json.loads(raw), headers, time.monotonic())
            with lock:
                stub.calls.append(call)
                if self.path not in ("/v1/chat/completions", "/v1/decisions"):
                    stub.complaints.append(f"asked for {self.path}")
                response = _next(call)
            time.sleep(response.delay_s)
            if response.drop:
                self.close_connection = True
                return
            content = response.body.encode()
            with contextlib.suppress(ConnectionError):  # the client may have given up, or been killed
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.send_header("content-type", response.content_type)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    def _next(call: Call) -> Response:
        if callable(answer):
            return answer(call)
        if script:
            return script.pop(0)
        stub.complaints.append(f"request {len(stub.calls)} is beyond the end of the script")
        return failing(500, "the script has ended")

    class Server(ThreadingHTTPServer):
        request_queue_size = 256

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a killed client is no news

    server = Server(("127.0.0.1", 0), Handler)
    stub = Stub(f"http://127.0.0.1:{server.server_port}/v1")
    with running(server):
        yield stub
    assert not stub.complaints, stub.complaints


@pytest.fixture
def judge_stub() -> Iterator[Callable[[Answer | Sequence[Response]], Stub]]:
    """A function that starts stubs which live as long as the test."""
    with contextlib.ExitStack() as stack:
        yield lambda answer: stack.enter_context(serving(answer))
