"""A server with OpenAI's files and batches endpoints, over a real socket; batches end when a test says so."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.judge_stub import Call, Response, failing, running

Answer = Callable[[Call], Response]


class BatchStub:
    """What the server holds. `answer` makes the body of each request's reply; it serves single requests too."""

    def __init__(self, url: str, answer: Answer) -> None:
        self.url = url
        self.answer = answer
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.singles: list[Call] = []
        self.lose_answers = False  # batches are taken, but nobody is told
        self.refuse: Response | None = None  # instead of taking a batch
        self.without_batches = False  # like most servers
        self.drop_requests = False  # the connection breaks before a batch is taken

    def requests(self, batch_id: str) -> list[dict[str, Any]]:
        """The lines of a batch's input file."""
        lines = self.files[self.batches[batch_id]["input_file_id"]].decode().splitlines()
        return [json.loads(line) for line in lines]

    def finish(self, batch_id: str, *, status: str = "completed", answered: int | None = None) -> None:
        """Let a batch end; only the first `answered` requests were worked on."""
        output, errors = [], []
        for number, request in enumerate(self.requests(batch_id)):
            line: dict[str, Any] = {"id": f"r{number}", "custom_id": request["custom_id"]}
            if answered is not None and number >= answered:
                errors.append(line | {"response": None, "error": {"code": "batch_expired", "message": "too late"}})
                continue
            said = self.answer(Call(request["body"], {}, 0.0))
            line |= {"response": {"status_code": said.status, "body": json.loads(said.body)}, "error": None}
            (output if said.status == 200 else errors).append(line)
        batch = self.batches[batch_id]
        batch |= {"status": status, "output_file_id": self._keep(output), "error_file_id": self._keep(errors)}
        batch["request_counts"] = {"total": len(output) + len(errors), "completed": len(output), "failed": len(errors)}

    def take(self, body: Mapping[str, Any]) -> dict[str, Any]:
        batch_id = f"batch_{len(self.batches)}"
        self.batches[batch_id] = {
            "id": batch_id,
            "object": "batch",
            "created_at": 1_790_000_000 + len(self.batches),
            "status": "validating",
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            **body,
        }
        return self.batches[batch_id]

    def keep(self, content: bytes) -> str:
        file_id = f"file-{len(self.files)}"
        self.files[file_id] = content
        return file_id

    def _keep(self, lines: list[dict[str, Any]]) -> str | None:
        return self.keep("".join(json.dumps(line) + "\n" for line in lines).encode()) if lines else None


class _Handler(BaseHTTPRequestHandler):
    stub: BatchStub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        if self.stub.without_batches and self.path != "/v1/chat/completions":
            self._send(404, failing(404, "File Not Found").body.encode())
        elif self.path == "/v1/files":
            self._json(
                {
                    "id": self.stub.keep(_uploaded(raw)),
                    "object": "file",
                    "filename": "f",
                    "purpose": "batch",
                    "bytes": len(raw),
                    "created_at": 1,
                    "status": "processed",
                }
            )
        elif self.path == "/v1/batches":
            if self.stub.refuse:
                self._send(self.stub.refuse.status, self.stub.refuse.body.encode())
            elif self.stub.drop_requests:
                self.close_connection = True
            else:
                taken = self.stub.take(json.loads(raw))
                if self.stub.lose_answers:
                    self.close_connection = True
                else:
                    self._json(taken)
        else:
            call = Call(json.loads(raw), {}, 0.0)
            self.stub.singles.append(call)
            said = self.stub.answer(call)
            self._send(said.status, said.body.encode())

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if match := re.fullmatch(r"/v1/files/([\w-]+)/content", path):
            self._send(200, self.stub.files[match[1]])
        elif path == "/v1/batches":
            newest = list(reversed(self.stub.batches.values()))
            self._json({"object": "list", "data": newest, "has_more": False})
        elif (match := re.fullmatch(r"/v1/batches/([\w-]+)", path)) and match[1] in self.stub.batches:
            self._json(self.stub.batches[match[1]])
        else:
            self._send(404, failing(404, "no such batch").body.encode())

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving_batches(answer: Answer) -> Iterator[BatchStub]:
    """Serve for the length of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {}))
    stub = BatchStub(f"http://127.0.0.1:{server.server_port}/v1", answer)
    server.RequestHandlerClass.stub = stub
    with running(server):
        yield stub


def _uploaded(raw: bytes) -> bytes:
    """The file in a multipart form."""
    boundary = raw[: raw.index(b"\r\n")]
    for part in raw.split(boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        if b'name="file"' in head:
            return content.removesuffix(b"\r\n")
    raise AssertionError("no file in the form")
