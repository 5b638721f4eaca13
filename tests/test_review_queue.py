"""The order in which people are asked: what comes first, what stands together, and that the audit does not show."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from random import Random
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from labeling import review_queue as queue_module
from labeling.review_queue import RUN, review_queue
from labeling.review_value import values_of
from store.database import Store
from store.policies import Policy
from store.review_streams import ReviewStream, audit_place, draw_streams, stream_counts
from store.reviews import PairToReview, Review, add_reviews, pairs_to_review
from store.workspace import Overlap, ReviewSettings
from tests.reviewing import POLICY, fill, judge, large_log, pair

WORDS = ("salt", "flour", "water", "yeast", "oven", "crust", "crumb", "rye", "steam", "knead", "fold", "rest")


def in_review_order(
    policy: Policy, pairs: list[PairToReview], streams: Mapping[str, ReviewStream], *, seed: str
) -> list[PairToReview]:
    """Order pairs of which nothing is known but what stands in them."""
    return queue_module.in_review_order(pairs, streams, values_of(policy, pairs, {}, {}), seed=seed)


def some_pair(
    number: int,
    anchor: int,
    proposed: str = "negative",
    label: str | None = None,
    triage: float | None = None,
    *,
    chunk: str | None = None,
) -> PairToReview:
    return PairToReview(
        pair_id=f"pair_{number:03}",
        anchor=f"query {anchor}",
        chunk=chunk or f"chunk {number}",
        kind="text",
        proposed=proposed,
        sources=("uncited",),
        rank=number + 1,
        score=None,
        grade=None,
        reference=None,
        answer=None,
        log_source=None,
        label=label,
        reason=None,
        quote=None,
        judge_model=None,
        judges_disagree=False,
        triage_score=triage,
        reviewers=(),
    )


def near_duplicate(topic: int, version: int) -> str:
    """A chunk of which most runs of words are the same for every version of a topic."""
    words = [f"{word}{topic}" for word in WORDS]
    return " ".join([*words, f"version{version}"])


@st.composite
def some_pairs(draw: st.DrawFn) -> list[PairToReview]:
    """Pairs of a few queries, some of whose chunks nearly repeat each other."""
    one = st.tuples(
        st.integers(0, 4),
        st.sampled_from(["positive", "negative"]),
        st.sampled_from(["answers", "related", "unsure", None]),
        st.one_of(st.none(), st.floats(-1, 1)),
        st.one_of(st.none(), st.integers(0, 3)),
    )
    drawn = draw(st.lists(one, max_size=40))
    return [
        some_pair(number, *values, chunk=None if topic is None else near_duplicate(topic, number))
        for number, (*values, topic) in enumerate(drawn)
    ]


@st.composite
def some_queues(draw: st.DrawFn) -> tuple[list[PairToReview], dict[str, ReviewStream], str]:
    pairs = draw(some_pairs())
    share = draw(st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0]))
    streams: dict[str, ReviewStream] = {
        p.pair_id: "audit" if draw(st.floats(0, 1, exclude_max=True)) < share else "targeted" for p in pairs
    }
    return pairs, streams, draw(st.text(max_size=4))


def targeted(pairs: list[PairToReview]) -> dict[str, ReviewStream]:
    return {p.pair_id: "targeted" for p in pairs}


def cluster_of(p: PairToReview) -> tuple[str, str]:
    """What near-duplicates of one query share."""
    return p.anchor, p.chunk.rpartition(" version")[0] or p.chunk


class TestOrder:
    @settings(deadline=None)
    @given(some_queues(), st.randoms())
    def test_every_pair_comes_once_and_the_order_of_rows_is_no_matter(
        self, queue: tuple[list[PairToReview], dict[str, ReviewStream], str], chance: Random
    ) -> None:
        pairs, streams, seed = queue
        ordered = in_review_order(POLICY, pairs, streams, seed=seed)
        assert sorted(p.pair_id for p in ordered) == [p.pair_id for p in pairs]
        shuffled = list(pairs)
        chance.shuffle(shuffled)
        assert in_review_order(POLICY, shuffled, streams, seed=seed) == ordered

    @settings(deadline=None)
    @given(some_pairs(), st.integers(0, 9))
    def test_no_query_comes_more_than_a_few_times_in_a_row_while_another_waits(
        self, pairs: list[PairToReview], audited: int
    ) -> None:
        streams = targeted(pairs) | {p.pair_id: "audit" for p in pairs[audited::10]}
        ordered = in_review_order(POLICY, pairs, streams, seed="seed")
        end = 0
        for anchor, run in groupby(ordered, key=lambda p: p.anchor):
            members = list(run)
            end += len(members)
            clusters = [len(list(group)) for _, group in groupby(members, key=cluster_of)]
            waiting = any(p.anchor != anchor and streams[p.pair_id] == "targeted" for p in ordered[end:])
            assert len(members) <= max(RUN, *clusters) or not waiting

    @settings(deadline=None)
    @given(some_queues())
    def test_near_duplicates_of_a_query_stand_together_with_the_first_audit_pair_among_them(
        self, queue: tuple[list[PairToReview], dict[str, ReviewStream], str]
    ) -> None:
        pairs, streams, seed = queue
        places: dict[tuple[str, str], list[int]] = {}
        audited = set()
        for place, p in enumerate(in_review_order(POLICY, pairs, streams, seed=seed)):
            if streams[p.pair_id] == "audit":
                if cluster_of(p) in audited:
                    continue
                audited.add(cluster_of(p))
            places.setdefault(cluster_of(p), []).append(place)
        for found in places.values():
            assert found == list(range(found[0], found[0] + len(found)))

    @settings(deadline=None)
    @given(st.integers(1, 400), st.sampled_from([0.02, 0.1, 0.3, 0.5, 0.9]), st.integers(1, 30), st.text(max_size=4))
    def test_every_prefix_holds_its_share_of_the_audit(self, n: int, share: float, queries: int, seed: str) -> None:
        pairs = [some_pair(number, number % queries, label=("answers", None)[number % 2]) for number in range(n)]
        count = round(share * n)
        streams: dict[str, ReviewStream] = {p.pair_id: "targeted" for p in pairs}
        streams |= {p.pair_id: "audit" for p in pairs[:count]}
        found = 0
        for length, p in enumerate(in_review_order(POLICY, pairs, streams, seed=seed), start=1):
            found += streams[p.pair_id] == "audit"
            assert abs(found - length * count / n) <= 5

    def test_the_audit_comes_in_an_order_that_hangs_on_nothing_but_chance(self) -> None:
        pairs = [some_pair(n, n // 8, label="answers" if n % 3 else None, triage=n / 100) for n in range(100)]
        streams = targeted(pairs) | {p.pair_id: "audit" for p in pairs[::4]}

        def audited(pairs: list[PairToReview], seed: str) -> list[str]:
            ordered = in_review_order(POLICY, pairs, streams, seed=seed)
            return [p.pair_id for p in ordered if streams[p.pair_id] == "audit"]

        otherwise = [replace(p, label="unrelated", triage_score=-n, rank=101 - n) for n, p in enumerate(pairs)]
        assert audited(otherwise, "seed") == audited(pairs, "seed")
        assert audited(pairs, "seed") == sorted(audited(pairs, "seed"), key=lambda pair: audit_place("seed", pair))
        firsts = [audited(pairs, f"seed {n}")[0] for n in range(200)]
        assert len(set(firsts)) > 20, "of 25 audit pairs, nearly each comes first under some of 200 seeds"

    def test_an_audit_pair_stands_in_a_run_of_its_query_like_every_other(self) -> None:
        pairs = [some_pair(n, n % 40, label=("answers", None)[n % 2]) for n in range(800)]
        streams = targeted(pairs) | {p.pair_id: "audit" for p in pairs[3::11]}
        ordered = in_review_order(POLICY, pairs, streams, seed="seed")
        lengths: dict[str, list[int]] = {"audit": [], "targeted": []}
        inside: list[int] = []
        runs = [[streams[p.pair_id] for p in run] for _, run in groupby(ordered, key=lambda p: p.anchor)]
        for members in runs[: len(runs) // 2]:
            for index, stream in enumerate(members):
                lengths[stream].append(len(members))
                inside += [index] if stream == "audit" else []
        assert set(lengths["audit"]) == set(lengths["targeted"]) == {RUN}
        assert all(inside.count(index) > len(inside) / 6 for index in range(RUN)), "at any place of its run"

    @settings(deadline=None)
    @given(some_pairs())
    def test_judged_pairs_of_different_queries_come_by_value_and_so_do_the_others(
        self, pairs: list[PairToReview]
    ) -> None:
        pairs = [replace(p, anchor=p.pair_id, chunk=p.pair_id) for p in pairs]
        values = values_of(POLICY, pairs, {}, {})
        ordered = in_review_order(POLICY, pairs, targeted(pairs), seed="")
        for unjudged in (False, True):
            worth = [values[p.pair_id].value for p in ordered if (p.label is None) == unjudged]
            assert worth == sorted(worth, reverse=True)

    def test_where_one_answer_does_for_near_duplicates_the_others_of_them_come_last_of_their_query(self) -> None:
        pairs = [
            some_pair(n, n % 5, label="related", chunk=near_duplicate(n % 5, n) if n < 20 else None) for n in range(40)
        ]
        values = values_of(POLICY, pairs, {}, {})
        ordered = queue_module.in_review_order(pairs, targeted(pairs), values, seed="", alike_together=False)
        for anchor in {p.anchor for p in pairs}:
            repeats = [p.chunk.startswith("salt") for p in ordered if p.anchor == anchor]
            assert repeats == [True, False, False, False, False, True, True, True]

    def test_judged_and_unjudged_pairs_are_spread_evenly(self) -> None:
        pairs = [some_pair(n, n, label="answers" if n < 50 else None) for n in range(200)]
        ordered = in_review_order(POLICY, pairs, targeted(pairs), seed="")
        for length in range(1, 201):
            assert abs(sum(p.label is not None for p in ordered[:length]) - length / 4) <= 1


class TestStreams:
    def test_a_draw_is_made_once_whatever_the_share_is_later(self, store: Store) -> None:
        policy = fill(store)
        ids = [p.pair_id for p in pairs_to_review(store, policy)]
        first = draw_streams(store, policy, ids[:6], audit_share=1.0)
        assert set(first.values()) == {"audit"}
        later = draw_streams(store, policy, ids[::-1], audit_share=0.0)
        assert {pair_id: later[pair_id] for pair_id in first} == first
        assert {later[pair_id] for pair_id in ids[6:]} == {"targeted"}
        rows = store.rows("SELECT DISTINCT seed, labelling_fingerprint FROM review_streams")
        assert len(rows) == 1, "one seed a fingerprint"
        kept = store.rows("SELECT probability, count(*) AS pairs FROM review_streams GROUP BY ALL ORDER BY ALL")
        assert kept == [{"probability": 0.0, "pairs": 4}, {"probability": 1.0, "pairs": 6}]

    def test_about_the_share_is_drawn_and_other_seeds_draw_others(self, store: Store) -> None:
        policy = fill(store)
        ids = [f"pair_{n}" for n in range(20_000)]
        drawn = draw_streams(store, policy, ids, audit_share=0.1)
        # 2,000 expected, with a standard deviation of 42
        assert 1_700 < sum(stream == "audit" for stream in drawn.values()) < 2_300
        other = replace(policy, question="Another question?")
        again = draw_streams(store, other, ids, audit_share=0.1)
        both = sum(drawn[p] == again[p] == "audit" for p in ids)
        assert 100 < both < 300, "200 expected: the draws of two fingerprints have nothing to do with each other"

    def test_what_was_answered_before_it_is_drawn_never_comes_into_the_audit(self, store: Store) -> None:
        policy = fill(store)
        answer(store, policy.labelling_fingerprint, pair(1, 2), "ann")
        streams = {q.pair.pair_id: q.stream for q in review_queue(store, policy, ReviewSettings(audit_share=1.0))}
        assert streams.pop(pair(1, 2)) == "targeted"
        assert set(streams.values()) == {"audit"}
        chance = store.scalar("SELECT probability FROM review_streams WHERE pair_id = ?", [pair(1, 2)])
        assert chance == 0.0
        assert [(c.stream, c.pairs, c.answered) for c in stream_counts(store, policy)] == [
            ("audit", len(streams), 0),
            ("targeted", 1, 1),
        ]


class TestQueue:
    def test_a_pair_is_open_until_enough_people_of_its_stream_have_answered(self, store: Store) -> None:
        policy = fill(store)
        settings = ReviewSettings(audit_share=1.0, overlap=Overlap(targeted=1, audit=2))
        assert all(q.open and q.stream == "audit" for q in review_queue(store, policy, settings))
        answer(store, policy.labelling_fingerprint, pair(1, 2), "ann")
        answer(store, policy.labelling_fingerprint, pair(1, 2), "ann")
        assert all(q.open for q in review_queue(store, policy, settings)), "one person counts once"
        answer(store, policy.labelling_fingerprint, pair(1, 2), "bob", label=None)
        closed = [q.pair for q in review_queue(store, policy, settings) if not q.open]
        assert [(p.pair_id, p.reviewers) for p in closed] == [(pair(1, 2), ("ann", "bob"))]

    def test_an_adjudication_is_no_reviewers_answer(self, store: Store) -> None:
        policy = fill(store)
        settings = ReviewSettings(audit_share=0, overlap=Overlap(targeted=3))
        for reviewer, label in (("ann", "related"), ("bob", "answers")):
            answer(store, policy.labelling_fingerprint, pair(1, 2), reviewer, label)
        answer(store, policy.labelling_fingerprint, pair(1, 2), "cleo", "related", stream="adjudication")
        (queued,) = [q for q in review_queue(store, policy, settings) if q.pair.pair_id == pair(1, 2)]
        assert (queued.pair.reviewers, queued.open) == (("ann", "bob"), True)

    def test_a_judges_label_and_disagreement_reach_the_queue(self, store: Store) -> None:
        policy = fill(store)
        judge(store, policy, {pair(1, 2): "related", pair(1, 3): "related"}, model="one")
        judge(store, policy, {pair(1, 2): "answers", pair(1, 3): "related"}, model="two")
        found = {p.pair_id: p.judges_disagree for p in pairs_to_review(store, policy)}
        assert (found[pair(1, 2)], found[pair(1, 3)], found[pair(1, 4)]) == (True, False, False)

    def test_ten_thousand_pairs_are_ordered_in_seconds(self, store: Store) -> None:
        policy = fill(store, large_log(500, 20))
        started = datetime.now(UTC)
        queue = review_queue(store, policy, ReviewSettings(audit_share=0.1))
        assert (datetime.now(UTC) - started).total_seconds() < 20
        assert [q.order for q in queue] == list(range(1, 10_001))


def answer(
    store: Store,
    fingerprint: str,
    pair_id: str,
    reviewer: str,
    label: str | None = "related",
    *,
    stream: Literal["targeted", "adjudication"] = "targeted",
) -> None:
    review: Mapping[str, object] = {"status": "submitted" if label else "discarded", "label": label}
    add_reviews(
        store,
        [
            Review(
                pair_id=pair_id,
                labelling_fingerprint=fingerprint,
                reviewer=reviewer,
                stream=stream,
                reviewed_at=datetime.now(UTC),
                origin="test",
                **review,
            )
        ],
    )
