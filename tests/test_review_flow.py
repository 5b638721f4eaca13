"""Reviews over time, through a real Argilla: two streams, several people, new pairs, and what people do to records."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from labeling.argilla_client import call
from labeling.review import review_status, submit_reviews
from labeling.review_layout import ENCODED_BY, QUEUE, VECTOR
from labeling.review_pull import PullResult, pull_reviews
from labeling.review_push import PushResult, push_reviews
from labeling.review_queue import review_queue
from store.candidates import Candidate, put_candidates
from store.database import Store
from store.ids import anchor_id, chunk_id
from store.policies import Policy, add_policy
from store.reviews import carry_reviews, pairs_to_review
from store.workspace import Overlap, ReviewSettings
from tests.labelled_store import review_pairs
from tests.reviewing import LOG, POLICY, TARGETED_ONLY, dataset_of, fill, judge, large_log, on_server, pair

if TYPE_CHECKING:
    from argilla import Argilla

Verb = Callable[[Store, Policy, "Argilla", ReviewSettings], PushResult | PullResult]
PAIRS = sum(len(chunks) for _, chunks in LOG.values())
BOTH_STREAMS = ReviewSettings(audit_share=0.5, overlap=Overlap(targeted=1, audit=2), similarity_model="")


@pytest.fixture
def policy(store: Store) -> Policy:
    return fill(store, policy=replace(POLICY, name=f"flow-{uuid4().hex[:8]}"))


def waiting_for(reviewer: "Argilla", policy: Policy) -> list[str]:
    """What a reviewer finds behind the link that a push prints: pending, in the queue, by order."""
    body = {
        "filters": {
            "and": [
                {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["pending"]},
                {"type": "terms", "scope": {"entity": "metadata", "metadata_property": QUEUE}, "values": ["open"]},
            ]
        },
        "sort": [{"scope": {"entity": "metadata", "metadata_property": "order"}, "order": "asc"}],
    }
    path = f"/api/v1/me/datasets/{dataset_of(reviewer, policy).dataset_id}/records/search"
    found = call(reviewer, "POST", path, json=body, params={"limit": 1000})["items"]
    return [item["record"]["external_id"] for item in found if item["record"]["status"] == "pending"]


def discard(reviewer: "Argilla", found: dict[str, Any]) -> None:
    body = {"items": [{"status": "discarded", "record_id": found["id"]}]}
    call(reviewer, "POST", "/api/v1/me/responses/bulk", json=body)


def streams_of(store: Store, policy: Policy, settings: ReviewSettings) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"audit": [], "targeted": []}
    for queued in review_queue(store, policy, settings):
        found[queued.stream].append(queued.pair.pair_id)
    return found


class TestStreams:
    def test_audit_records_are_blind_and_a_review_tells_what_was_suggested(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla"
    ) -> None:
        everything = [p.pair_id for p in pairs_to_review(store, policy)]
        judge(store, policy, dict.fromkeys(everything, "related"))
        result = push_reviews(store, policy, client, BOTH_STREAMS)
        streams = streams_of(store, policy, BOTH_STREAMS)
        assert {c.stream: c.pairs for c in result.streams} == {k: len(v) for k, v in streams.items() if v}
        records = on_server(client, policy)
        for pair_id in streams["audit"]:
            assert records[pair_id]["suggestions"] == []
            assert "reason" not in records[pair_id]["fields"]
        assert all(records[pair_id]["suggestions"] for pair_id in streams["targeted"])
        submit_reviews(ana, policy, dict.fromkeys(everything, "answers"))
        assert pull_reviews(store, policy, client, BOTH_STREAMS).new == PAIRS
        told = {(r["stream"], r["suggested"]) for r in store.rows("SELECT stream, suggested FROM reviews")}
        assert told == {(s, {"audit": None, "targeted": "related"}[s]) for s, pairs in streams.items() if pairs}

    def test_the_link_and_the_status_tell_of_both(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla"
    ) -> None:
        result = push_reviews(store, policy, client, BOTH_STREAMS)
        assert result.url.endswith(f"status=pending&metadata={QUEUE}.open&sort=metadata.order.asc")
        assert waiting_for(ana, policy) == [q.pair.pair_id for q in review_queue(store, policy, BOTH_STREAMS)]
        status = review_status(store, policy, client)
        assert sum(c.pairs for c in status.streams) == PAIRS
        assert status.on_server is not None
        assert (status.on_server.min_submitted, status.on_server.closed) == (2, 0)


class TestOverlap:
    def test_each_stream_is_asked_as_often_as_it_needs(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla", bob: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, BOTH_STREAMS)
        streams = streams_of(store, policy, BOTH_STREAMS)
        everything = [*streams["audit"], *streams["targeted"]]
        submit_reviews(ana, policy, dict.fromkeys(everything, "related"))
        assert sorted(waiting_for(bob, policy)) == sorted(everything)
        result = pull_reviews(store, policy, client, BOTH_STREAMS)
        assert (result.new, result.closed) == (PAIRS, len(streams["targeted"]))
        assert sorted(waiting_for(bob, policy)) == sorted(streams["audit"])
        submit_reviews(bob, policy, dict.fromkeys(streams["audit"], "related"))
        again = pull_reviews(store, policy, client, BOTH_STREAMS)
        assert (again.new, again.closed) == (len(streams["audit"]), 0), "Argilla itself completes what is full"
        pushed = push_reviews(store, policy, client, BOTH_STREAMS)
        assert (pushed.new, pushed.updated, pushed.kept, pushed.closed) == (0, 0, PAIRS, 0)

    def test_a_push_takes_out_of_the_queue_what_was_answered_since_the_last_pull(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla", bob: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, BOTH_STREAMS)
        streams = streams_of(store, policy, BOTH_STREAMS)
        submit_reviews(ana, policy, dict.fromkeys(streams["targeted"], "related"))
        assert push_reviews(store, policy, client, BOTH_STREAMS).closed == len(streams["targeted"])
        assert sorted(waiting_for(bob, policy)) == sorted(streams["audit"])

    def test_a_changed_overlap_is_taken_over(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla", bob: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        twice = TARGETED_ONLY.model_copy(update={"overlap": Overlap(targeted=2, audit=2)})
        assert push_reviews(store, policy, client, twice).problems == ()
        assert dataset_of(client, policy).min_submitted == 2
        submit_reviews(ana, policy, {pair(1, 2): "related"})
        assert pair(1, 2) in waiting_for(bob, policy)
        push_reviews(store, policy, client, TARGETED_ONLY)
        assert pair(1, 2) not in waiting_for(bob, policy)
        push_reviews(store, policy, client, twice)
        assert pair(1, 2) in waiting_for(bob, policy), "and it is back in the queue"

    def test_an_argilla_that_keeps_its_number_gets_along_with_it_and_the_push_says_what_to_do(
        self, store: Store, policy: Policy, client: "Argilla", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        asked = client.http_client.request

        def request(method: str, path: str, **arguments: Any) -> Any:  # noqa: ANN401
            import httpx

            # What a server says that keeps the number of a dataset once somebody has answered.
            refusal = {"code": "update_distribution_with_existing_responses", "message": "not any more"}
            return httpx.Response(422, json=refusal) if method == "PATCH" else asked(method, path, **arguments)

        monkeypatch.setattr(client.http_client, "request", request)
        thrice = TARGETED_ONLY.model_copy(update={"overlap": Overlap(targeted=3, audit=1)})
        (problem,) = push_reviews(store, policy, client, thrice).problems
        assert "asks 1 of the 3 people" in problem
        assert f"delete the dataset {dataset_of(client, policy).name}" in problem

    def test_who_comes_second_and_who_goes_on_find_no_more_of_the_audit_at_the_front_than_further_on(
        self, store: Store, client: "Argilla", ana: "Argilla", bob: "Argilla"
    ) -> None:
        policy = fill(store, large_log(20, 6), replace(POLICY, name=f"spread-{uuid4().hex[:8]}"))
        settings = BOTH_STREAMS.model_copy(update={"audit_share": 0.2})
        push_reviews(store, policy, client, settings)
        submit_reviews(ana, policy, dict.fromkeys(waiting_for(ana, policy)[:60], "related"))
        pull_reviews(store, policy, client, settings)
        audit = set(streams_of(store, policy, settings)["audit"])
        for reviewer in (ana, bob):
            found = [pair_id in audit for pair_id in waiting_for(reviewer, policy)]
            assert sum(found) > 0
            for length in range(14, len(found) + 1):
                assert abs(sum(found[:length]) - length * sum(found) / len(found)) <= 4
        held = {pair_id: record["updated_at"] for pair_id, record in on_server(client, policy).items()}
        pull_reviews(store, policy, client, settings)
        assert push_reviews(store, policy, client, settings).moved == 0
        assert {pair_id: record["updated_at"] for pair_id, record in on_server(client, policy).items()} == held

    def test_a_push_spreads_the_audit_anew_as_a_pull_does(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla", bob: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, BOTH_STREAMS)
        submit_reviews(ana, policy, dict.fromkeys(waiting_for(ana, policy)[:6], "related"))
        push_reviews(store, policy, client, BOTH_STREAMS)
        pushed = waiting_for(bob, policy)
        pull_reviews(store, policy, client, BOTH_STREAMS)
        assert waiting_for(bob, policy) == pushed
        assert pushed == [q.pair.pair_id for q in review_queue(store, policy, BOTH_STREAMS) if q.open]


class TestIncremental:
    def test_records_move_to_where_the_queue_has_them_now(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla"
    ) -> None:
        expected = {
            p.pair_id: "answers" if p.proposed == "positive" else "related" for p in pairs_to_review(store, policy)
        }
        judge(store, policy, expected)
        push_reviews(store, policy, client, TARGETED_ONLY)
        *_, last = before = waiting_for(ana, policy)
        submit_reviews(ana, policy, {before[4]: "related"})
        judge(store, policy, {last: "related" if expected[last] == "answers" else "answers"})
        result = push_reviews(store, policy, client, TARGETED_ONLY)
        assert result.updated == 1
        assert result.moved > 0
        answered = {before[4]: {"ana"}}  # on the server, and not at home yet: each answer about a query counts
        wanted = [q.pair.pair_id for q in review_queue(store, policy, TARGETED_ONLY, answered=answered)]
        assert wanted.index(last) < PAIRS - 2, "what is disputed now moves forward"
        there = on_server(client, policy)
        waiting = waiting_for(ana, policy)
        assert waiting == [pair_id for pair_id in wanted if pair_id in waiting]
        orders = [there[pair_id]["metadata"]["order"] for pair_id in waiting]
        assert orders == sorted(set(orders)), "no two in one place"
        assert len(waiting) == PAIRS - 1
        again = push_reviews(store, policy, client, TARGETED_ONLY)
        assert (again.updated, again.moved) == (0, 0)

    def test_new_candidates_join_and_nothing_else_is_sent(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, BOTH_STREAMS)
        submit_reviews(ana, policy, {pair(1, 2): "related"})
        before = on_server(client, policy)
        first, second, *_ = LOG
        other = Candidate(anchor_id(first), chunk_id(LOG[second][1][0]), "bm25", "negative")
        put_candidates(store, policy.name, [other])
        result = push_reviews(store, policy, client, BOTH_STREAMS)
        assert (result.new, result.updated) == (1, 0)
        after = on_server(client, policy)
        assert all(after[pair_id]["fields"] == found["fields"] for pair_id, found in before.items())
        assert len(after) == PAIRS + 1

    @pytest.mark.parametrize("verb", [push_reviews, pull_reviews])
    def test_what_is_answered_elsewhere_or_discarded_is_not_asked_any_more(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla", bob: "Argilla", verb: Verb
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        review_pairs(store, policy, {pair(1, 2): "related"}, reviewer="ana")
        discard(ana, on_server(client, policy)[pair(1, 3)])
        assert verb(store, policy, client, TARGETED_ONLY).closed == 2
        assert not {pair(1, 2), pair(1, 3)} & set(waiting_for(bob, policy))
        assert len(waiting_for(bob, policy)) == PAIRS - 2
        assert verb(store, policy, client, TARGETED_ONLY).closed == 0

    def test_a_withdrawn_candidate_leaves_the_queue_and_comes_back_with_it(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        store.execute("CREATE TABLE kept AS FROM candidates WHERE pair_id = ?", [pair(1, 2)])
        store.execute("DELETE FROM candidates WHERE pair_id = ?", [pair(1, 2)])
        assert push_reviews(store, policy, client, TARGETED_ONLY).closed == 1
        assert pair(1, 2) not in waiting_for(ana, policy)
        submit_reviews(ana, policy, {pair(1, 2): "related"})
        assert pull_reviews(store, policy, client, TARGETED_ONLY).new == 1, "an answer is an answer"
        store.execute("INSERT INTO candidates FROM kept")
        result = push_reviews(store, policy, client, TARGETED_ONLY)
        assert (result.new, result.kept) == (0, 1)

    def test_a_deleted_record_is_reported_and_does_not_come_back(
        self, store: Store, policy: Policy, client: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        call(client, "DELETE", f"/api/v1/records/{on_server(client, policy)[pair(1, 2)]['id']}")
        pulled = pull_reviews(store, policy, client, TARGETED_ONLY)
        assert pulled.problems == ("1 records were deleted in Argilla",)
        pushed = push_reviews(store, policy, client, TARGETED_ONLY)
        assert pushed.new == 0
        assert "1 records were deleted in Argilla and are not sent again" in pushed.problems[0]
        assert pair(1, 2) not in on_server(client, policy)
        call(client, "DELETE", f"/api/v1/datasets/{dataset_of(client, policy).dataset_id}")
        assert push_reviews(store, policy, client, TARGETED_ONLY).new == PAIRS, "the way on that the message names"

    def test_an_edited_record_is_reported_and_not_overwritten(
        self, store: Store, policy: Policy, client: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        found = on_server(client, policy)[pair(1, 2)]
        edited = {**found["fields"], "query": "Another question?"}
        call(client, "PATCH", f"/api/v1/records/{found['id']}", json={"fields": edited})
        judge(store, policy, {pair(1, 2): "answers"})
        pushed = push_reviews(store, policy, client, TARGETED_ONLY)
        assert (pushed.updated, pushed.problems) == (0, ("1 records were edited in Argilla and are left as they are",))
        assert on_server(client, policy)[pair(1, 2)]["fields"] == edited
        (problem,) = pull_reviews(store, policy, client, TARGETED_ONLY).problems
        assert "was edited in Argilla" in problem

    def test_carried_reviews_are_not_asked_again_in_the_dataset_of_the_new_question(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        submit_reviews(ana, policy, {pair(1, 2): "related", pair(1, 3): "answers", pair(1, 4): "unrelated"})
        pull_reviews(store, policy, client, TARGETED_ONLY)
        asked, _ = add_policy(store, replace(policy, question="Another question?"))
        carried = carry_reviews(
            store,
            old_fingerprint=policy.labelling_fingerprint,
            new_fingerprint=asked.labelling_fingerprint,
            labels={"related": "related", "unrelated": "unrelated"},
        )
        assert carried == 2
        assert [row["carried"] for row in review_status(store, asked, client).at_home] == [1, 1]
        result = push_reviews(store, asked, client, TARGETED_ONLY)
        assert (result.new, result.kept) == (PAIRS - 2, 2)
        assert result.dataset != dataset_of(client, policy).name
        assert {pair(1, 2), pair(1, 4)}.isdisjoint(waiting_for(ana, asked))
        assert pair(1, 3) in waiting_for(ana, asked)

    def test_answers_to_an_earlier_wording_are_still_brought_home_and_carried_where_they_hold(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla", bob: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        submit_reviews(ana, policy, {pair(1, 2): "related"})
        explained, _ = add_policy(store, replace(policy, examples=()))  # another wording of the same question
        result = pull_reviews(store, explained, client, TARGETED_ONLY)  # which is not pushed yet
        assert (result.new, result.earlier, result.carried) == (0, 1, 1)
        push_reviews(store, explained, client, TARGETED_ONLY)
        assert pair(1, 2) not in waiting_for(ana, explained)

        submit_reviews(bob, policy, {pair(1, 3): "answers"})  # by the old link
        result = pull_reviews(store, explained, client, TARGETED_ONLY)
        assert (result.new, result.earlier, result.carried, result.closed) == (0, 1, 1, 1)
        assert pair(1, 3) not in waiting_for(ana, explained)
        assert pull_reviews(store, explained, client, TARGETED_ONLY).earlier == 0

        other, _ = add_policy(store, replace(explained, question="Another question?"))
        submit_reviews(bob, policy, {pair(1, 4): "unrelated"})
        result = pull_reviews(store, other, client, TARGETED_ONLY)
        assert (result.earlier, result.carried) == (1, 0)
        held = store.rows("SELECT reviewer, count(*) AS n FROM reviews GROUP BY labelling_fingerprint, reviewer")
        assert sorted((row["reviewer"], row["n"]) for row in held) == [("ana", 1), ("ana", 1), ("bob", 1), ("bob", 2)]

    def test_a_new_question_closes_the_dataset_of_the_old_one_and_a_return_opens_it_again(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla", bob: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, BOTH_STREAMS)
        submit_reviews(ana, policy, {pair(1, 2): "related"})
        asked, _ = add_policy(store, replace(policy, question="Another question?"))
        assert push_reviews(store, asked, client, BOTH_STREAMS).retired >= PAIRS - 1
        assert waiting_for(bob, policy) == []
        assert len(waiting_for(bob, asked)) == PAIRS
        assert push_reviews(store, asked, client, BOTH_STREAMS).retired == 0
        submit_reviews(bob, policy, {pair(1, 3): "related"})  # who had the page open still
        assert pull_reviews(store, asked, client, BOTH_STREAMS).earlier == 2
        assert waiting_for(bob, policy) == []
        again, _ = add_policy(store, policy)
        assert push_reviews(store, again, client, BOTH_STREAMS).retired == PAIRS
        assert waiting_for(ana, asked) == []
        opened = {q.pair.pair_id for q in review_queue(store, again, BOTH_STREAMS) if q.open}
        assert opened
        assert set(waiting_for(ana, again)) == opened - {pair(1, 2)}


class TestVectors:
    def similar(self, client: "Argilla", policy: Policy, pair_id: str) -> list[str]:
        found = on_server(client, policy)[pair_id]
        body = {"query": {"vector": {"name": VECTOR, "record_id": found["id"]}}}
        path = f"/api/v1/me/datasets/{dataset_of(client, policy).dataset_id}/records/search"
        items = call(client, "POST", path, json=body, params={"limit": 3})["items"]
        return [item["record"]["external_id"] for item in items]

    def test_find_similar_finds_the_pairs_of_the_query_and_only_what_is_new_is_encoded(
        self, store: Store, policy: Policy, client: "Argilla", minilm: str
    ) -> None:
        settings = TARGETED_ONLY.model_copy(update={"similarity_model": minilm})
        result = push_reviews(store, policy, client, settings)
        assert (result.new, result.problems) == (PAIRS, ())
        assert set(self.similar(client, policy, pair(1, 2))) == {pair(1, rank) for rank in (1, 3, 4)}
        texts = store.count("SELECT count(*) FROM embeddings")
        assert texts == len(LOG) + PAIRS
        again = push_reviews(store, policy, client, settings)
        assert (again.new, again.updated, again.unchanged) == (0, 0, PAIRS)
        assert store.count("SELECT count(*) FROM embeddings") == texts

    def test_without_the_model_a_push_goes_on_and_vectors_are_added_once_it_is_there(
        self, store: Store, policy: Policy, client: "Argilla", minilm: str
    ) -> None:
        lacking = TARGETED_ONLY.model_copy(update={"similarity_model": "no/such-model"})
        result = push_reviews(store, policy, client, lacking)
        assert result.new == PAIRS
        (problem,) = result.problems
        assert "without vectors" in problem
        assert "similarity_model" in problem
        assert push_reviews(store, policy, client, lacking).unchanged == PAIRS
        there = TARGETED_ONLY.model_copy(update={"similarity_model": minilm})
        assert push_reviews(store, policy, client, there).updated == PAIRS
        assert len({r["metadata"][ENCODED_BY] for r in on_server(client, policy).values()}) == 1
        assert len(self.similar(client, policy, pair(1, 2))) == 3
