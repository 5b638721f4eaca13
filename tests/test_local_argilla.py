"""The local server as a program: start, stop, crash, and a reviewer's round through the real SDK."""

import os
import signal
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from labeling import local_argilla
from labeling.local_argilla import Server
from tests.local_argilla_fixtures import TEXT_AND_LABEL, ask, eventually, make_dataset, push, record_ids, submit


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
    owner.http_client.close()


def test_up_twice_is_one_server_and_down_stops_it(argilla_home: Path) -> None:
    assert local_argilla.status(argilla_home) is None
    assert local_argilla.down(argilla_home) is False
    first = local_argilla.up(argilla_home)
    assert local_argilla.up(argilla_home) == first
    assert local_argilla.status(argilla_home) == first
    assert local_argilla.down(argilla_home) is True
    assert local_argilla.status(argilla_home) is None
    with pytest.raises(requests.ConnectionError):
        requests.get(first.url, timeout=60)
    again = local_argilla.up(argilla_home)
    assert (again.url, again.api_key, again.password) == (first.url, first.api_key, first.password)


def test_a_killed_server_comes_back_with_every_acknowledged_response(argilla_home: Path) -> None:
    server = local_argilla.up(argilla_home)
    dataset_id = make_dataset(server, "killed", TEXT_AND_LABEL)
    push(server, dataset_id, 200)
    ann = local_argilla.add_user(argilla_home, "ann")
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
    assert local_argilla.status(argilla_home) is None

    server = local_argilla.up(argilla_home)
    answered = ask(server, "GET", f"/datasets/{dataset_id}/records?limit=1000&include=responses")["items"]
    kept = {record["id"] for record in answered if record["responses"]}
    assert set(acknowledged) <= kept
    assert len(kept) <= len(acknowledged) + 1  # one may have been stored and not yet acknowledged
    progress = ask(server, "GET", f"/datasets/{dataset_id}/progress")
    assert progress["completed"] == len(kept)
    submit(server, next(r["id"] for r in answered if not r["responses"]), ann.api_key)


def test_texts_that_a_killed_server_had_not_indexed_are_found_after_its_return(argilla_home: Path) -> None:
    server = local_argilla.up(argilla_home)
    dataset_id = make_dataset(server, "unindexed", TEXT_AND_LABEL)
    push(server, dataset_id, 3)
    os.kill(server.pid, signal.SIGKILL)
    assert eventually(lambda: local_argilla.status(argilla_home) is None)
    with closing(sqlite3.connect(argilla_home / "argilla.db")) as database, database:
        changed = ("UPDATE records SET fields = ?, updated_at = ? WHERE external_id = '0'", "DELETE FROM records")
        database.execute(changed[0], ('{"text": "otherwise"}', "2030-01-01 00:00:00.000000"))
        database.execute(f"{changed[1]} WHERE external_id = '1'")
    server = local_argilla.up(argilla_home)
    query = {"query": {"text": {"q": "otherwise | number"}}}
    answer = ask(server, "POST", f"/datasets/{dataset_id}/records/search", query)
    assert sorted(item["record"]["external_id"] for item in answer["items"]) == ["0", "2"]


def test_statuses_that_a_killed_server_left_wrong_are_right_after_its_return(argilla_home: Path) -> None:
    server = local_argilla.up(argilla_home)
    dataset_id = make_dataset(server, "statuses", TEXT_AND_LABEL)
    push(server, dataset_id, 3)
    first, second, _ = record_ids(server, dataset_id)
    submit(server, first, server.api_key)
    local_argilla.down(argilla_home)
    swap = "UPDATE records SET status = CASE WHEN id = ? THEN 'pending' WHEN id = ? THEN 'completed' ELSE status END"
    with closing(sqlite3.connect(argilla_home / "argilla.db")) as database, database:
        database.execute(swap, [first.replace("-", ""), second.replace("-", "")])
    server = local_argilla.up(argilla_home)
    records = ask(server, "GET", f"/datasets/{dataset_id}/records")["items"]
    assert [record["id"] for record in records if record["status"] == "completed"] == [first]
