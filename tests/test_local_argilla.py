"""The local server as a program: start, stop, crash, secrets, and a reviewer's round through the real SDK."""

import errno
import json
import os
import signal
import socket
import sqlite3
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from labeling import local_argilla
from labeling.local_argilla import Server, environment
from store.errors import MissingError, ProviderError, UsageError
from store.progress import silent
from tests.local_argilla_fixtures import TEXT_AND_LABEL, ask, eventually, make_dataset, push, record_ids, submit


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose server, if a test starts one, does not outlive the test."""
    yield tmp_path / "argilla"
    local_argilla.down(tmp_path / "argilla")


def test_a_review_round_through_the_sdk(argilla_server: Server) -> None:
    import argilla

    owner = argilla.Argilla(api_url=argilla_server.url, api_key=argilla_server.api_key)
    settings = argilla.Settings(
        guidelines="Does the chunk answer the query?",
        fields=[argilla.TextField(name="query"), argilla.TextField(name="chunk", use_markdown=True)],
        questions=[argilla.LabelQuestion(name="label", labels=["yes", "no", "unsure"])],
        metadata=[argilla.IntegerMetadataProperty(name="rank"), argilla.TermsMetadataProperty(name="stream")],
        vectors=[argilla.VectorField(name="meaning", dimensions=3)],
        distribution=argilla.TaskDistribution(min_submitted=1),
    )
    dataset = argilla.Dataset(name="round", workspace="uncited", settings=settings, client=owner)
    dataset.create()
    records = [
        argilla.Record(
            id=f"r{rank}",
            fields={"query": "how to pay", "chunk": f"{'pay by card' if rank % 2 else 'nothing'} {rank}"},
            metadata={"rank": rank, "stream": "audit" if rank > 7 else "targeted"},
            vectors={"meaning": [rank, 1, 0]},
            suggestions=[argilla.Suggestion("label", "yes" if rank % 2 else "no", score=rank / 10, agent="judge")],
        )
        for rank in range(1, 11)
    ]
    dataset.records.log(records)
    dataset.records.log(records)  # a second push updates

    def found(**query: Any) -> list[str]:  # noqa: ANN401
        return [str(record.id) for record in dataset.records(query=argilla.Query(**query))]

    assert len(list(dataset.records)) == 10
    assert sorted(found(query="card")) == ["r1", "r3", "r5", "r7", "r9"]
    assert found(filter=argilla.Filter([("metadata.rank", ">=", 9), ("label.suggestion", "==", "yes")])) == ["r9"]
    similar = argilla.Query(similar=argilla.Similar(name="meaning", value=[10.0, 1.0, 0.0]))
    nearest = [record.id for record, _ in dataset.records(query=similar, limit=2)]
    assert nearest == ["r10", "r9"]

    ann = local_argilla.add_user(argilla_server.home, "ann")
    pending = {"and": [{"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["pending"]}]}
    queue = ask(
        argilla_server, "POST", f"/me/datasets/{dataset.id}/records/search", {"filters": pending}, key=ann.api_key
    )
    assert queue["total"] == 10
    ids = {r["external_id"]: r["id"] for r in ask(argilla_server, "GET", f"/datasets/{dataset.id}/records")["items"]}
    submit(argilla_server, ids["r1"], ann.api_key, "no")
    submit(argilla_server, ids["r2"], ann.api_key, "unsure")

    assert dataset.progress(with_users_distribution=True)["completed"] == 2
    assert sorted(found(filter=argilla.Filter(("status", "==", "completed")))) == ["r1", "r2"]
    assert found(filter=argilla.Filter(("label.response", "==", "no"))) == ["r1"]
    (answered,) = (r for r in dataset.records(with_responses=True) if r.id == "r1")
    (response,) = answered.responses["label"]
    assert response.value == "no"
    assert str(response.user_id) == ask(argilla_server, "GET", "/me", key=ann.api_key)["id"]


def test_up_twice_is_one_server_and_down_stops_it(home: Path) -> None:
    assert local_argilla.status(home) is None
    assert local_argilla.down(home) is False
    first = local_argilla.up(home)
    assert local_argilla.up(home) == first
    assert local_argilla.status(home) == first
    assert local_argilla.down(home) is True
    assert local_argilla.status(home) is None
    with pytest.raises(requests.ConnectionError):
        requests.get(first.url, timeout=60)
    again = local_argilla.up(home)
    assert (again.url, again.api_key, again.password) == (first.url, first.api_key, first.password)


def test_two_ups_at_once_are_one_server(home: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(local_argilla.up, [home, home])
    assert first == second


def test_a_killed_server_comes_back_with_every_acknowledged_response(home: Path) -> None:
    server = local_argilla.up(home)
    dataset_id = make_dataset(server, "killed", TEXT_AND_LABEL)
    push(server, dataset_id, 200)
    ann = local_argilla.add_user(home, "ann")
    acknowledged: list[str] = []

    def review() -> None:
        for record_id in record_ids(server, dataset_id):
            try:
                submit(server, record_id, ann.api_key)
            except requests.RequestException:
                return
            acknowledged.append(record_id)

    reviewing = threading.Thread(target=review)
    reviewing.start()
    assert eventually(lambda: len(acknowledged) > 20)
    os.kill(server.pid, signal.SIGKILL)
    reviewing.join()
    assert 20 < len(acknowledged) < 200
    assert local_argilla.status(home) is None

    server = local_argilla.up(home)
    answered = ask(server, "GET", f"/datasets/{dataset_id}/records?limit=1000&include=responses")["items"]
    kept = {record["id"] for record in answered if record["responses"]}
    assert set(acknowledged) <= kept
    assert len(kept) <= len(acknowledged) + 1  # one may have been stored and not yet acknowledged
    progress = ask(server, "GET", f"/datasets/{dataset_id}/progress")
    assert progress["completed"] == len(kept)
    submit(server, next(r["id"] for r in answered if not r["responses"]), ann.api_key)


def test_texts_that_a_killed_server_had_not_indexed_are_found_after_its_return(home: Path) -> None:
    server = local_argilla.up(home)
    dataset_id = make_dataset(server, "unindexed", TEXT_AND_LABEL)
    push(server, dataset_id, 3)
    os.kill(server.pid, signal.SIGKILL)
    assert eventually(lambda: local_argilla.status(home) is None)
    with closing(sqlite3.connect(home / "argilla.db")) as database, database:
        changed = ("UPDATE records SET fields = ?, updated_at = ? WHERE external_id = '0'", "DELETE FROM records")
        database.execute(changed[0], ('{"text": "otherwise"}', "2030-01-01 00:00:00.000000"))
        database.execute(f"{changed[1]} WHERE external_id = '1'")
    server = local_argilla.up(home)
    query = {"query": {"text": {"q": "otherwise | number"}}}
    answer = ask(server, "POST", f"/datasets/{dataset_id}/records/search", query)
    assert sorted(item["record"]["external_id"] for item in answer["items"]) == ["0", "2"]


def test_a_stale_pid_file_is_not_a_server(home: Path) -> None:
    home.mkdir()
    (home / "server.pid").write_text(json.dumps({"pid": os.getpid(), "port": 6900}))
    assert local_argilla.status(home) is None
    assert local_argilla.down(home) is False  # and this process lives on
    assert local_argilla.up(home).pid != os.getpid()
    local_argilla.down(home)
    (home / "server.pid").write_text("not JSON")
    assert local_argilla.status(home) is None


def test_only_the_owner_of_the_files_can_read_them(argilla_server: Server) -> None:
    home = argilla_server.home
    local_argilla.add_user(home, "ann")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    secret = ["credentials.json", "secret", "server.log", "argilla.db", "search.db", "users/ann.json"]
    for name in secret:
        if (home / name).exists():
            assert stat.S_IMODE((home / name).stat().st_mode) == 0o600, name


def test_it_listens_on_the_loopback_address_only(argilla_server: Server) -> None:
    connections = psutil.Process(argilla_server.pid).net_connections()
    listening = {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_secrets_are_on_no_command_line_and_in_no_log(argilla_server: Server) -> None:
    ann = local_argilla.add_user(argilla_server.home, "ann")
    signed_in = requests.post(
        f"{argilla_server.url}/api/v1/token", data={"username": ann.username, "password": ann.password}, timeout=60
    )
    assert signed_in.status_code == 201
    secrets = [argilla_server.api_key, argilla_server.password, ann.api_key, ann.password]
    secrets.append((argilla_server.home / "secret").read_text().strip())
    log = (argilla_server.home / "server.log").read_text()
    command_lines = " ".join(" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    environment_of_server = " ".join(psutil.Process(argilla_server.pid).environ().values())
    for secret in secrets:
        assert secret not in log
        assert secret not in command_lines
        assert secret not in environment_of_server
        assert secret not in repr(argilla_server) + repr(ann)


def test_pages_of_other_origins_may_not_read_answers(argilla_server: Server) -> None:
    def allowed(origin: str) -> str | None:
        headers = {"Origin": origin, "X-Argilla-Api-Key": argilla_server.api_key}
        return requests.get(f"{argilla_server.url}/api/v1/me", headers=headers, timeout=60).headers.get(
            "access-control-allow-origin"
        )

    assert allowed("http://elsewhere.example") is None
    assert allowed(argilla_server.url) == argilla_server.url


def test_it_asks_nobody_outside_and_serves_the_web_page(argilla_server: Server) -> None:
    page = requests.get(argilla_server.url, timeout=60)
    assert "<html" in page.text
    assert requests.get(f"{argilla_server.url}/api/v1/version", timeout=60).json()["version"] == "2.8.0"
    remote = [c.raddr.ip for c in psutil.Process(argilla_server.pid).net_connections() if c.raddr]
    assert set(remote) <= {"127.0.0.1"}


def test_users_get_accounts_of_their_own(argilla_server: Server) -> None:
    ann = local_argilla.add_user(argilla_server.home, "ann")
    assert local_argilla.add_user(argilla_server.home, "ann") == ann
    assert ann.api_key != argilla_server.api_key
    assert ask(argilla_server, "GET", "/me", key=ann.api_key)["role"] == "annotator"
    assert [w["name"] for w in ask(argilla_server, "GET", "/me/workspaces", key=ann.api_key)["items"]] == ["uncited"]
    assert local_argilla.add_user(argilla_server.home, "chief", role="admin").role == "admin"


def test_a_user_whose_credentials_were_lost_gets_new_ones(argilla_server: Server) -> None:
    first = local_argilla.add_user(argilla_server.home, "forgetful")
    (argilla_server.home / "users" / "forgetful.json").unlink()
    second = local_argilla.add_user(argilla_server.home, "forgetful")
    assert second.password != first.password
    form = {"username": "forgetful", "password": second.password}
    assert requests.post(f"{argilla_server.url}/api/v1/token", data=form, timeout=60).status_code == 201


@pytest.mark.parametrize("name", ["", "owner", "../escape", "a b", "-x", "x" * 101])
def test_names_that_cannot_be_users_are_refused(argilla_server: Server, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a user's name"):
        local_argilla.add_user(argilla_server.home, name)


def test_users_cannot_be_added_without_a_server_or_a_role(argilla_server: Server, home: Path) -> None:
    with pytest.raises(MissingError, match="No Argilla server"):
        local_argilla.add_user(home, "ann")
    with pytest.raises(UsageError, match="not a role"):
        local_argilla.add_user(argilla_server.home, "ann", role="owner")


def test_a_port_in_use_is_refused_by_name(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} of 127.0.0.1 .* in use"):
            local_argilla.up(home, port=port)
    assert local_argilla.status(home) is None


def test_a_damaged_database_is_reported_with_the_log(home: Path) -> None:
    home.mkdir()
    (home / "argilla.db").write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(ProviderError, match=r"(?s)server\.log.*file is not a database"):
        local_argilla.up(home)
    assert local_argilla.status(home) is None


def test_a_full_disk_is_reported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_progress: object) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(environment, "ensure", full)
    with pytest.raises(ProviderError, match=r"disk of .* is full"):
        local_argilla.up(home)


def test_a_failed_installation_tells_why_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("there-is-no-such-package-uncited==1.0\n")
    monkeypatch.setattr(environment, "_REQUIREMENTS", requirements)
    monkeypatch.setenv("UNCITED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ProviderError, match="No matching distribution found for there-is-no-such-package"):
        environment.ensure(silent)
    left = [path.name for path in (tmp_path / "cache" / "uncited").iterdir()]
    assert left == ["argilla-server-2.8.0.lock"]


def test_statuses_that_a_killed_server_left_wrong_are_right_after_its_return(home: Path) -> None:
    server = local_argilla.up(home)
    dataset_id = make_dataset(server, "statuses", TEXT_AND_LABEL)
    push(server, dataset_id, 3)
    first, second, _ = record_ids(server, dataset_id)
    submit(server, first, server.api_key)
    local_argilla.down(home)
    swap = "UPDATE records SET status = CASE WHEN id = ? THEN 'pending' WHEN id = ? THEN 'completed' ELSE status END"
    with closing(sqlite3.connect(home / "argilla.db")) as database, database:
        database.execute(swap, [first.replace("-", ""), second.replace("-", "")])
    server = local_argilla.up(home)
    records = ask(server, "GET", f"/datasets/{dataset_id}/records")["items"]
    assert [record["id"] for record in records if record["status"] == "completed"] == [first]
