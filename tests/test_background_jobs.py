"""Argilla's background jobs: in the server process without Redis, in a worker where ARGILLA_REDIS_URL names one."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from labeling import local_argilla
from labeling.local_argilla import Server
from store.errors import ProviderError
from tests.judge_stub import running
from tests.local_argilla_fixtures import TEXT_AND_LABEL, ask, eventually, make_dataset, push, record_ids, submit


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """The address of a real Redis of our own, on a free port, that keeps nothing on disk."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed here (Debian: apt install redis-server)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as redis:
        try:
            assert eventually(lambda: is_listening(port))
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            redis.kill()


@pytest.fixture(scope="module")
def redis_server(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("argilla_with_redis")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARGILLA_REDIS_URL", redis_url)
        yield local_argilla.up(home)
    local_argilla.down(home)


@pytest.fixture(params=["in the server", "in a worker of Redis"])
def server(request: pytest.FixtureRequest) -> Server:
    """A server that runs its jobs in one of the two ways."""
    where = {"in the server": "argilla_server", "in a worker of Redis": "redis_server"}[request.param]
    started: Server = request.getfixturevalue(where)
    return started


def is_listening(port: int) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def listening(status: int = 204, failures: int = 0) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve a real webhook: yields its address and the events as they arrive; the first `failures` are refused."""
    received: list[dict[str, Any]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.append(event | {"signature": self.headers.get("webhook-signature")})
            self.send_response(500 if len(received) <= failures else status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    with running(http):
        yield f"http://127.0.0.1:{http.server_port}/", received


def completed(server: Server, dataset_id: str) -> int:
    count: int = ask(server, "GET", f"/datasets/{dataset_id}/progress")["completed"]
    return count


def test_a_change_of_the_overlap_gives_every_record_its_status_anew(server: Server) -> None:
    dataset_id = make_dataset(server, "overlap", TEXT_AND_LABEL, min_submitted=2)
    push(server, dataset_id, 4)
    ann = local_argilla.add_user(server.home, "ann").api_key
    once, twice, discarded, _ = record_ids(server, dataset_id)
    for record_id in (once, twice):
        submit(server, record_id, server.api_key)
    submit(server, twice, ann)
    ask(server, "POST", f"/records/{discarded}/responses", {"status": "discarded"})
    assert completed(server, dataset_id) == 1
    for min_submitted, expected in ((1, 2), (3, 0), (2, 1)):
        overlap = {"strategy": "overlap", "min_submitted": min_submitted}
        ask(server, "PATCH", f"/datasets/{dataset_id}", {"distribution": overlap})
        assert eventually(lambda expected=expected: completed(server, dataset_id) == expected, within_s=60)


def test_a_webhook_is_called_from_when_it_is_made_until_it_is_deleted(server: Server) -> None:
    dataset_id = make_dataset(server, "hooked", TEXT_AND_LABEL)
    push(server, dataset_id, 3)  # the server now knows that there are no webhooks
    first, second, third = record_ids(server, dataset_id)
    with listening() as (url, received):
        events = ["response.created", "record.completed"]
        hook = ask(server, "POST", "/webhooks", {"url": url, "events": events})
        submit(server, first, server.api_key)
        assert eventually(lambda: {event["type"] for event in received} == set(events), within_s=60)
        (response,) = (event["data"] for event in received if event["type"] == "response.created")
        assert response["values"] == {"label": {"value": "yes"}}
        assert response["record"]["id"] == first
        assert all(event["signature"] for event in received)
        ask(server, "PATCH", f"/webhooks/{hook['id']}", {"enabled": False})
        submit(server, second, server.api_key)
        ask(server, "PATCH", f"/webhooks/{hook['id']}", {"enabled": True})
        submit(server, third, server.api_key)
        assert eventually(lambda: len(received) == 4, within_s=60)
        ask(server, "DELETE", f"/webhooks/{hook['id']}")
        push(server, dataset_id, 1, first=100)
        time.sleep(0.3)
    assert [event["data"]["id"] for event in received if event["type"] == "record.completed"] == [first, third]


def test_a_webhook_that_does_not_answer_holds_up_nobody(argilla_server: Server) -> None:
    dataset_id = make_dataset(argilla_server, "deaf", TEXT_AND_LABEL)
    push(argilla_server, dataset_id, 5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        hook = ask(argilla_server, "POST", "/webhooks", {"url": url, "events": ["response.created"]})
        begun = time.monotonic()
        for record_id in record_ids(argilla_server, dataset_id):
            submit(argilla_server, record_id, argilla_server.api_key)
        ask(argilla_server, "DELETE", f"/webhooks/{hook['id']}")
        assert time.monotonic() - begun < 10  # a call of the webhook gives up after 20 s


@pytest.mark.slow  # Argilla waits ten seconds before it tries again
def test_a_webhook_that_fails_once_is_called_again(argilla_server: Server) -> None:
    dataset_id = make_dataset(argilla_server, "failing", TEXT_AND_LABEL)
    push(argilla_server, dataset_id, 1)
    with listening(failures=1) as (url, received):
        hook = ask(argilla_server, "POST", "/webhooks", {"url": url, "events": ["response.created"]})
        submit(argilla_server, record_ids(argilla_server, dataset_id)[0], argilla_server.api_key)
        assert eventually(lambda: len(received) == 2, within_s=60)
        ask(argilla_server, "DELETE", f"/webhooks/{hook['id']}")
    assert received[0]["data"] == received[1]["data"]


def test_statuses_are_counted_by_the_job_and_not_by_the_request(server: Server) -> None:
    dataset_id = make_dataset(server, "jobs", TEXT_AND_LABEL)
    push(server, dataset_id, 3)
    for record_id in record_ids(server, dataset_id):
        submit(server, record_id, server.api_key)
    with closing(sqlite3.connect(server.home / "argilla.db", timeout=30)) as database, database:
        database.execute("UPDATE records SET status = 'pending'")
    assert completed(server, dataset_id) == 0
    ask(server, "PATCH", f"/datasets/{dataset_id}", {"guidelines": "Any update makes Argilla count again."})
    assert eventually(lambda: completed(server, dataset_id) == 3, within_s=60)


def test_the_worker_of_redis_ends_with_a_killed_server(redis_url: str, tmp_path: Path) -> None:
    home = tmp_path / "argilla"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARGILLA_REDIS_URL", redis_url)
        server = local_argilla.up(home)
    workers = psutil.Process(server.pid).children()
    assert len(workers) == 1
    os.kill(server.pid, signal.SIGKILL)
    assert psutil.wait_procs(workers, timeout=10)[1] == []


@pytest.mark.parametrize("url", ["redis://:its-password@127.0.0.1:1/0", "its-password"])
def test_a_redis_that_cannot_be_reached_is_told_at_once_and_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("ARGILLA_REDIS_URL", url)
    with pytest.raises(ProviderError, match="Redis that ARGILLA_REDIS_URL names cannot be reached") as refused:
        local_argilla.up(tmp_path / "argilla")
    assert "its-password" not in str(refused.value) + (tmp_path / "argilla" / "server.log").read_text()
    assert local_argilla.status(tmp_path / "argilla") is None
