"""Conflicts through a real Argilla: what an adjudicator is shown, and that nothing settled is asked again."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from labeling.argilla_client import call
from labeling.conflicts import push_conflicts
from labeling.local_argilla import Server
from labeling.review_dataset import find_dataset, read_records
from labeling.review_layout import LABEL, NOTE, QUEUE, conflicts_name
from labeling.review_pull import pull_reviews
from labeling.review_push import push_reviews
from store.database import Store
from store.disputes import disputes
from store.labels import Resolution, labelled_candidates
from store.policies import Policy
from store.progress import silent
from store.workspace import ReviewSettings
from tests.labelled_store import review_pairs
from tests.reviewing import POLICY, TARGETED_ONLY, connected, fill, judge, pair

if TYPE_CHECKING:
    from argilla import Argilla


@pytest.fixture
def eve(argilla_server: Server) -> Iterator["Argilla"]:
    """The adjudicator, signed in as herself."""
    with connected(argilla_server, "eve") as adjudicator:
        yield adjudicator


def _policy(request: pytest.FixtureRequest) -> Policy:
    """A policy of this test's own, since the server is shared."""
    return replace(POLICY, name=f"p{abs(hash(request.node.name)) % 10**9}")


def _say(store: Store, policy: Policy, who: str, label: str | None, about: str, note: str | None = None) -> None:
    review_pairs(store, policy, {about: label}, reviewer=who, note=note)


def _records(client: "Argilla", policy: Policy) -> dict[str, dict[str, Any]]:
    dataset = find_dataset(client, policy, adjudication=True)
    assert dataset is not None
    return {str(r["external_id"]): r for r in read_records(client, dataset, silent)}


def _decide(eve: "Argilla", record: dict[str, Any], label: str | None, note: str = "") -> None:
    values = ({LABEL: {"value": label}} if label else {}) | ({NOTE: {"value": note}} if note else {})
    response = {"record_id": record["id"], "status": "submitted" if label else "discarded", "values": values}
    call(eve, "POST", "/api/v1/me/responses/bulk", json={"items": [response]})


def _label(store: Store, policy: Policy, about: str, resolution: Resolution) -> object:
    rows = labelled_candidates(store, policy, resolution=resolution).to_pylist()
    return next(row["label"] for row in rows if row["pair_id"] == about)


def test_an_adjudicator_sees_who_said_what_and_nothing_of_the_judge(
    store: Store, client: "Argilla", eve: "Argilla", request: pytest.FixtureRequest
) -> None:
    policy = fill(store, policy=_policy(request))
    push_reviews(store, policy, client, TARGETED_ONLY)
    judge(store, policy, {pair(1, 2): "answers"}, reason="JUDGE SAYS")
    _say(store, policy, "ann", "answers", pair(1, 2), note="<b>dry</b> flakes")
    _say(store, policy, "bob", "related", pair(1, 2))
    _say(store, policy, "cyd", None, pair(1, 2))
    _say(store, policy, "ann", "related", pair(1, 3))
    pushed = push_conflicts(store, policy, client)
    assert (pushed.dataset, pushed.new, pushed.refused) == (conflicts_name(policy), 1, ())
    (record,) = _records(client, policy).values()
    shown = str(record["fields"])
    for text in ("ann", "bob", "cyd", "answers", "related", "discarded", "&lt;b&gt;dry", "Spread a thin layer"):
        assert text in shown, text
    assert "JUDGE SAYS" not in shown
    assert not record["suggestions"]
    assert record["metadata"]["stream"] == "adjudication"
    assert push_conflicts(store, policy, client).unchanged == 1

    _decide(eve, record, "related", note="it says how to dry it, not how to keep it")
    pulled = pull_reviews(store, policy, client, TARGETED_ONLY)
    assert (pulled.adjudicated, pulled.new, pulled.problems) == (1, 0, ())
    (found,) = disputes(store, policy)
    assert found.adjudication is not None
    assert (found.adjudication.reviewer, found.adjudication.label) == ("eve", "related")
    assert found.adjudication.note == "it says how to dry it, not how to keep it"
    assert not found.open
    assert [_label(store, policy, pair(1, 2), rule) for rule in ("majority", "strict", "adjudicated")] == [
        "related",
        None,
        "related",
    ]
    again = pull_reviews(store, policy, client, TARGETED_ONLY)
    assert (again.adjudicated, again.new) == (0, 0)
    settled = push_conflicts(store, policy, client)
    assert (settled.new, settled.updated, settled.unchanged, settled.closed) == (0, 0, 0, 0)


def test_what_is_answered_and_not_pulled_is_left_alone_and_a_discard_settles_too(
    store: Store, client: "Argilla", eve: "Argilla", request: pytest.FixtureRequest
) -> None:
    policy = fill(store, policy=_policy(request))
    push_reviews(store, policy, client, TARGETED_ONLY)
    _say(store, policy, "ann", "answers", pair(1, 2))
    _say(store, policy, "bob", "related", pair(1, 2))
    push_conflicts(store, policy, client)
    (record,) = _records(client, policy).values()
    _decide(eve, record, None)
    assert push_conflicts(store, policy, client).answered == 1
    assert pull_reviews(store, policy, client, TARGETED_ONLY).adjudicated == 1
    assert not disputes(store, policy)[0].open
    assert _label(store, policy, pair(1, 2), "majority") is None


def test_a_conflict_that_reviewers_end_leaves_the_queue_and_one_that_changes_is_updated(
    store: Store, client: "Argilla", request: pytest.FixtureRequest
) -> None:
    policy = fill(store, policy=_policy(request))
    for about in (pair(1, 2), pair(2, 2)):
        _say(store, policy, "ann", "answers", about)
        _say(store, policy, "bob", "related", about)
    push_conflicts(store, policy, client)
    _say(store, policy, "bob", "answers", pair(1, 2))
    _say(store, policy, "cyd", "unrelated", pair(2, 2))
    pushed = push_conflicts(store, policy, client)
    assert (pushed.new, pushed.updated, pushed.closed) == (0, 1, 1)
    records = _records(client, policy)
    assert {r["external_id"]: r["metadata"][QUEUE] for r in records.values()} == {
        pair(1, 2): "closed",
        pair(2, 2): "open",
    }
    assert "cyd" in str(records[pair(2, 2)]["fields"])
    _say(store, policy, "bob", "unrelated", pair(1, 2))
    assert push_conflicts(store, policy, client).updated == 1
    assert _records(client, policy)[pair(1, 2)]["metadata"][QUEUE] == "open"


def test_a_new_answer_against_the_adjudicator_is_asked_as_a_record_of_its_own(
    store: Store, client: "Argilla", eve: "Argilla", request: pytest.FixtureRequest
) -> None:
    policy, about = fill(store, policy=_policy(request)), pair(1, 2)
    push_reviews(store, policy, client, TARGETED_ONLY)
    _say(store, policy, "ann", "answers", about)
    _say(store, policy, "bob", "related", about)
    push_conflicts(store, policy, client)
    _decide(eve, _records(client, policy)[about], "answers")
    pull_reviews(store, policy, client, TARGETED_ONLY)
    _say(store, policy, "cyd", "unrelated", about)
    assert push_conflicts(store, policy, client).new == 1
    records = _records(client, policy)
    assert set(records) == {about, f"{about}-1"}
    assert "eve (adjudicated)" in str(records[f"{about}-1"]["fields"])
    _decide(eve, records[f"{about}-1"], "unrelated")
    assert pull_reviews(store, policy, client, TARGETED_ONLY).adjudicated == 1
    assert _label(store, policy, about, "adjudicated") == "unrelated"
    assert not any(dispute.open for dispute in disputes(store, policy))


def test_reviewers_elsewhere_and_an_adjudicator_in_argilla(
    store: Store, client: "Argilla", eve: "Argilla", request: pytest.FixtureRequest
) -> None:
    policy = fill(store, policy=_policy(request))
    _say(store, policy, "ann", "answers", pair(1, 2))
    _say(store, policy, "bob", "related", pair(1, 2))
    push_conflicts(store, policy, client)
    _decide(eve, _records(client, policy)[pair(1, 2)], "answers")
    pulled = pull_reviews(store, policy, client, TARGETED_ONLY)
    assert (pulled.dataset, pulled.adjudicated, pulled.new) == (conflicts_name(policy), 1, 0)
    assert find_dataset(client, policy) is None
    assert not disputes(store, policy)[0].open


def test_without_conflicts_nothing_is_made(store: Store, client: "Argilla", request: pytest.FixtureRequest) -> None:
    policy = fill(store, policy=_policy(request))
    assert push_conflicts(store, policy, client).url is None
    assert find_dataset(client, policy, adjudication=True) is None
    push_reviews(store, policy, client, ReviewSettings())
    assert pull_reviews(store, policy, client, ReviewSettings()).adjudicated == 0


def test_an_adjudication_of_an_edited_record_is_not_taken(
    store: Store, client: "Argilla", eve: "Argilla", request: pytest.FixtureRequest
) -> None:
    policy = fill(store, policy=_policy(request))
    push_reviews(store, policy, client, TARGETED_ONLY)
    _say(store, policy, "ann", "answers", pair(1, 2))
    _say(store, policy, "bob", "related", pair(1, 2))
    push_conflicts(store, policy, client)
    (record,) = _records(client, policy).values()
    fields = record["fields"] | {"query": "something else"}
    call(client, "PATCH", f"/api/v1/records/{record['id']}", json={"fields": fields})
    _decide(eve, record, "answers")
    pulled = pull_reviews(store, policy, client, TARGETED_ONLY)
    assert pulled.adjudicated == 0
    assert any("was edited in Argilla; answers not taken: 1" in problem for problem in pulled.problems)
