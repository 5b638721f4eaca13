"""An audit through a real Argilla: drawn, asked blind, brought home, certified."""

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from labeling.certify import certify
from labeling.review import submit_reviews
from labeling.review_next import next_reviews
from labeling.review_pull import pull_reviews
from labeling.review_push import push_reviews
from store.audit_draws import draw_audit, drawable_pairs
from store.audits import audits_by_group
from store.database import Store
from store.errors import MissingError
from tests.reviewing import POLICY, TARGETED_ONLY, fill, judge, large_log, on_server

if TYPE_CHECKING:
    from argilla import Argilla


def test_a_drawn_audit_is_answered_blind_in_argilla_and_certified(store: Store, client: "Argilla") -> None:
    policy = fill(store, large_log(10, 6), replace(POLICY, name=f"audit-{uuid4().hex[:8]}"))
    judge(store, policy, dict.fromkeys((pair.pair_id for pair in drawable_pairs(store, policy)), "related"))
    draw_audit(store, policy, 40)
    audit = audits_by_group(store, policy, resolution="majority")["negatives"]
    drawn = {pair.pair_id for pair in audit.pairs if pair.sampled}
    first = next_reviews(store, policy, TARGETED_ONLY, 100, client, audit=True)
    assert (first.answers, first.audit, first.beside, first.left) == (40, 40, 0, 20)
    assert set(on_server(client, policy)) == drawn, "nothing else is asked"
    push_reviews(store, policy, client, TARGETED_ONLY)
    assert next_reviews(store, policy, TARGETED_ONLY, 100, client, audit=True).beside == 20
    records = on_server(client, policy)
    assert {p for p, record in records.items() if record["metadata"]["stream"] == "audit"} == drawn
    unseen = {pair.pair_id for pair in drawable_pairs(store, policy) if not pair.shown}
    assert unseen == drawn, "the others have been put before reviewers"
    submit_reviews(client, policy, {pair: "related" for pair in drawn})
    pull_reviews(store, policy, client, TARGETED_ONLY)
    (group,) = certify(store, policy, resolution="majority", max_error=0.2).groups
    assert (group.finding.sample.answered, group.finding.sample.against) == (40, 0)
    assert group.certificate_id
    with pytest.raises(MissingError, match="drawn for a pilot or an audit waits for an answer"):
        next_reviews(store, policy, TARGETED_ONLY, 100, client, audit=True)


def test_a_pair_that_stood_there_with_a_suggestion_is_asked_without_it_once_it_is_drawn(
    store: Store, client: "Argilla"
) -> None:
    policy = fill(store, large_log(2, 3), replace(POLICY, name=f"shown-{uuid4().hex[:8]}"))
    judge(store, policy, dict.fromkeys((pair.pair_id for pair in drawable_pairs(store, policy)), "related"))
    push_reviews(store, policy, client, TARGETED_ONLY)
    assert all(record["suggestions"] for record in on_server(client, policy).values())
    assert draw_audit(store, policy, 2, group="negatives", include_shown=True).shown == 2
    push_reviews(store, policy, client, TARGETED_ONLY)
    records = on_server(client, policy).values()
    assert sorted(bool(found["suggestions"]) for found in records) == [False, False, True, True, True, True]
    assert all(bool(found["suggestions"]) == (found["metadata"]["stream"] == "targeted") for found in records)
    assert push_reviews(store, policy, client, TARGETED_ONLY).updated == 0
