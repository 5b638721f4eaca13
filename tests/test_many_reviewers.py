"""Twenty reviewers at work while records are pushed, over real HTTP: nothing is lost, and nobody sees an error."""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from labeling import local_argilla
from labeling.local_argilla import Server
from tests.local_argilla_fixtures import TEXT_AND_LABEL, ask, make_dataset, push, record_ids

_REVIEWERS = 20
_LABELS = ("yes", "no", "unsure")
_PENDING = {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["pending"]}


@dataclass(slots=True)
class Reviewer:
    """Someone with a browser of their own: a key, a kept-open connection, and what the server acknowledged."""

    key: str
    number: int
    acknowledged: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # record -> (status, label)
    statuses: Counter[int] = field(default_factory=Counter)

    def work(self, server: Server, dataset_id: str, records: list[str]) -> None:
        """Answer every record, and look at the queue and the progress between answers as the page does."""
        with requests.Session() as session:
            session.headers["X-Argilla-Api-Key"] = self.key
            for position, record_id in enumerate(records):
                status, label = self._answer(position)
                values = {"label": {"value": label}} if label else None
                answer = {"status": status, "values": values}
                if position % 3:
                    done = self._ask(session, server, "POST", f"/records/{record_id}/responses", answer).ok
                else:  # as the page does when several records are answered together
                    items = [{**answer, "record_id": record_id}]
                    bulk = self._ask(session, server, "POST", "/me/responses/bulk", {"items": items})
                    done = bulk.ok and bulk.json()["items"][0]["error"] is None
                if done:
                    self.acknowledged[record_id] = (status, label)
                search = f"/me/datasets/{dataset_id}/records/search?limit=10"
                self._ask(session, server, "POST", search, {"filters": {"and": [_PENDING]}})
                self._ask(session, server, "GET", f"/me/datasets/{dataset_id}/metrics")

    def _answer(self, position: int) -> tuple[str, str | None]:
        choice = (self.number + position) % 4
        return ("discarded", None) if choice == 3 else ("submitted", _LABELS[choice])

    def _ask(
        self, session: requests.Session, server: Server, method: str, path: str, body: dict[str, Any] | None = None
    ) -> requests.Response:
        response = session.request(method, f"{server.url}/api/v1{path}", json=body, timeout=120)
        self.statuses[response.status_code] += 1
        return response


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own, whose log holds nothing but what happens here."""
    home: Path = tmp_path_factory.mktemp("argilla_of_many")
    yield local_argilla.up(home)
    local_argilla.down(home)


@pytest.fixture(scope="module")
def keys(server: Server) -> list[str]:
    return [local_argilla.add_user(server.home, f"reviewer{n}").api_key for n in range(_REVIEWERS)]


@pytest.mark.parametrize(
    ("records", "batches"),
    [
        pytest.param(6, 5, id="6 records each"),
        pytest.param(30, 20, id="30 records each", marks=pytest.mark.slow),
    ],
)
def test_twenty_reviewers_and_a_push_at_once_lose_nothing(
    server: Server, keys: list[str], records: int, batches: int
) -> None:
    dataset_id = make_dataset(server, f"busy {records}", TEXT_AND_LABEL, min_submitted=_REVIEWERS)
    push(server, dataset_id, records)
    targets = record_ids(server, dataset_id)
    reviewers = [Reviewer(key, number) for number, key in enumerate(keys)]
    with ThreadPoolExecutor(_REVIEWERS + 1) as pool:
        pushing = pool.submit(lambda: [push(server, dataset_id, 100, 1000 * n) for n in range(1, batches + 1)])
        for done in [pool.submit(reviewer.work, server, dataset_id, targets) for reviewer in reviewers]:
            done.result()
        pushing.result()

    assert sum((reviewer.statuses for reviewer in reviewers), Counter()).keys() <= {200, 201}
    assert all(len(reviewer.acknowledged) == records for reviewer in reviewers)
    kept = stored_responses(server, dataset_id)
    expected = {
        (record_id, reviewer.number): answer
        for reviewer in reviewers
        for record_id, answer in reviewer.acknowledged.items()
    }
    users = {user["username"]: user["id"] for user in ask(server, "GET", "/users")["items"]}
    numbers = {users[f"reviewer{n}"]: n for n in range(_REVIEWERS)}
    assert {(record_id, numbers[user]): answer for (record_id, user), answer in kept.items()} == expected
    assert ask(server, "GET", f"/datasets/{dataset_id}/progress")["total"] == records + 100 * batches
    log = (server.home / "server.log").read_text()
    assert "database is locked" not in log
    assert "Traceback" not in log


def stored_responses(server: Server, dataset_id: str) -> dict[tuple[str, str], tuple[str, str | None]]:
    """Return every response as the API tells it: (record, user) -> (status, label)."""
    answered = {"type": "terms", "scope": {"entity": "response", "property": "status"}}
    body = {"filters": {"and": [{**answered, "values": ["submitted", "discarded", "draft"]}]}}
    path = f"/datasets/{dataset_id}/records/search?limit=100&include=responses"
    found = ask(server, "POST", path, body)
    return {
        (item["record"]["id"], response["user_id"]): (
            response["status"],
            (response["values"] or {}).get("label", {}).get("value"),
        )
        for item in found["items"]
        for response in item["record"]["responses"]
    }


def test_a_page_of_records_is_read_while_somebody_else_writes(server: Server, keys: list[str]) -> None:
    properties = [
        {"name": "rank", "settings": {"type": "integer"}, "visible_for_annotators": True},
        {"name": "grade", "settings": {"type": "integer"}, "visible_for_annotators": False},
    ]
    dataset_id = make_dataset(server, "read", TEXT_AND_LABEL | {"metadata-properties": properties})
    items = [
        {"external_id": str(n), "fields": {"text": f"text {n}"}, "metadata": {"rank": n, "grade": n}} for n in range(50)
    ]
    ask(server, "PUT", f"/datasets/{dataset_id}/records/bulk", {"items": items})
    search = f"/me/datasets/{dataset_id}/records/search?limit=50"
    with closing(sqlite3.connect(server.home / "argilla.db")) as writing:
        writing.execute("BEGIN IMMEDIATE")  # argilla-server as published would wait for this to end, and then fail
        begun = time.monotonic()
        found = ask(server, "POST", search, {}, keys[0])["items"]
        assert time.monotonic() - begun < 15
    shown = {item["record"]["external_id"]: item["record"]["metadata"] for item in found}
    assert shown == {str(n): {"rank": n} for n in range(50)}
    everything = ask(server, "POST", search, {})["items"]
    assert {tuple(item["record"]["metadata"]) for item in everything} == {("rank", "grade")}
