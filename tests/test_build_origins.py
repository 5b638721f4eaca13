"""What a report counts of a build's labels: hidden positives, and how long people took."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from store.build_origins import HiddenPositive, ReviewingTime, hidden_positives, label_origins, reviewing_time
from store.candidates import Candidate, put_candidates
from store.database import Store
from store.ids import anchor_id, chunk_id
from store.policies import Policy, add_policy
from store.reviews import Review, add_reviews
from tests.labelled_store import POLICY, START, distinct, judge, log, pair, question, review
from train.triplets import build


def logged(store: Store, queries: int) -> Policy:
    """Log queries with a cited chunk that people confirm, and three uncited ones."""
    policy, _ = add_policy(store, POLICY)
    for i in range(queries):
        log(store, question(i), [cited(i), *(uncited(i, k) for k in range(3))], cited=[cited(i)])
        review(store, question(i), {cited(i): "yes"})
    return policy


def cited(query: int) -> str:
    return distinct("cited", query)


def uncited(query: int, place: int) -> str:
    """Return the chunk that was retrieved at rank `place` + 2."""
    return distinct(f"uncited{place}of", query)


def test_hidden_positives_are_one_a_query_those_first_on_which_the_judge_was_wrong(store: Store) -> None:
    policy = logged(store, 5)
    found = {(0, 0), (0, 2), (1, 0), (2, 1), (3, 1)}
    for i in range(5):
        review(store, question(i), {uncited(i, k): "yes" if (i, k) in found else "no" for k in range(3)})
    review(store, question(3), {uncited(3, 1): "yes"}, reviewer="bea")
    review(store, question(1), {uncited(1, 1): "no"}, reviewer="bea")
    for i, k, label in ((0, 0, "no"), (0, 2, "no"), (3, 1, "no"), (1, 0, "yes"), (4, 0, "no")):
        judge(store, question(i), {uncited(i, k): label})
    put_candidates(
        store, policy.name, [Candidate(anchor_id(question(4)), chunk_id(cited(0)), "search", "negative", "run_1", 1)]
    )
    review(store, question(4), {cited(0): "yes"})
    made = build(store, policy, test_share=0).build

    def told(query: int, place: int, judged: str | None, reviewers: int = 1) -> HiddenPositive:
        return HiddenPositive(question(query), uncited(query, place), place + 2, "yes", judged, reviewers)

    in_order = [told(0, 0, "no"), told(3, 1, "no", 2), told(1, 0, "yes"), told(2, 1, None), told(0, 2, "no")]
    assert hidden_positives(store, policy, made, limit=9) == in_order
    assert hidden_positives(store, policy, made, limit=2) == in_order[:2]
    (other,) = (o for o in label_origins(store, policy, made) if o.source == "searched")
    assert (other.role, other.pairs) == ("positive", 1), "it was not retrieved, so nobody could have cited it"


def test_hidden_positives_are_those_of_the_build(store: Store) -> None:
    policy = logged(store, 3)
    for i in range(3):
        review(store, question(i), {uncited(i, 0): "no"})
    review(store, question(0), {uncited(0, 1): "yes"})
    before = build(store, policy, test_share=0).build
    review(store, question(1), {uncited(1, 1): "yes"})
    after = build(store, policy, test_share=0).build
    assert len(hidden_positives(store, policy, before, limit=9)) == 1
    assert len(hidden_positives(store, policy, after, limit=9)) == 2


def answered(store: Store, reviewer: str, seconds: Sequence[int], origin: str, **changes: object) -> None:
    """Let somebody answer about as many chunks, each at its second."""
    told = Review(
        pair_id="",
        labelling_fingerprint=POLICY.labelling_fingerprint,
        reviewer=reviewer,
        status="submitted",
        label="no",
        stream="targeted",
        reviewed_at=START,
        origin=origin,
    )
    places = [pair(question(n // 3), uncited(n // 3, n % 3)) for n in range(len(seconds))]
    add_reviews(
        store,
        [
            replace(told, pair_id=place, reviewed_at=START + timedelta(seconds=at), **changes)
            for place, at in zip(places, seconds, strict=True)
        ],
    )


def test_the_time_of_people_lies_between_their_answers_and_leaves_pauses_out(store: Store) -> None:
    policy, _ = add_policy(store, POLICY)
    for i in range(3):
        log(store, question(i), [cited(i), *(uncited(i, k) for k in range(3))], cited=[cited(i)])
    assert reviewing_time(store, policy) == ReviewingTime(0, 0, 0, 0.0)
    answered(store, "ann", [0, 20, 50, 800, 815], "terminal")  # of 20, 30 and 15 s, with a pause
    answered(store, "bea", [10, 190, 371], "argilla:dataset/1")  # three minutes count, a second more does not
    answered(store, "cat", [0, 5, 10], "labels.csv:1")
    answered(store, "dan", [0, 5], "terminal", carried_from="review_1")  # nobody was asked
    assert reviewing_time(store, policy) == ReviewingTime(reviewers=3, answers=4, untimed=7, seconds=245.0)
    asked_anew, _ = add_policy(store, replace(POLICY, question="Does it answer?"))
    assert reviewing_time(store, asked_anew) == ReviewingTime(0, 0, 0, 0.0)
