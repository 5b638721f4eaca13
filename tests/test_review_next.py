"""What to ask next: what an answer is worth, what a budget buys, and that the queue follows."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.review_dataset import read_records
from labeling.review_gains import expected_triplets, review_gains
from labeling.review_next import next_reviews, within_budget
from labeling.review_pull import pull_reviews
from labeling.review_push import push_reviews
from labeling.review_queue import in_review_order, review_queue
from labeling.review_value import ReviewValue, values_of
from store.candidates import Candidate, put_candidates
from store.chunks import NamedChunk, adding_chunks
from store.database import Store
from store.errors import MissingError, UsageError
from store.ids import anchor_id, chunk_id, pair_id
from store.policies import add_policy
from store.progress import silent
from store.review_streams import drawn_streams
from store.review_value import Known
from store.reviews import PairToReview, pairs_to_review
from store.workspace import Overlap, ReviewSettings
from tests.reviewing import LOG, POLICY, TARGETED_ONLY, dataset_of, fill, judge, large_log, pair
from tests.test_cli import from_json, run
from tests.test_review_queue import answer, near_duplicate, some_pair, targeted
from train.triplets import build

if TYPE_CHECKING:
    from argilla import Argilla


def value(
    pairs: list[PairToReview], place: int, known: Mapping[str, Known] | None = None, **more: object
) -> ReviewValue:
    return values_of(POLICY, pairs, known or {}, {}, **more)[pairs[place].pair_id]


def said(label: str | None, *, blind: bool = False, propagated: bool = False) -> Known:
    return Known(None, None, answered=not propagated, propagated=propagated, label=label, blind=blind)


def one_query(size: int = 6) -> list[PairToReview]:
    """A cited chunk and others below it."""
    return [some_pair(0, 0, "positive")] + [some_pair(n, 0) for n in range(1, size)]


class TestValue:
    def test_it_is_the_product_of_its_parts(self) -> None:
        found = value(one_query(), 1)
        # nothing known of an uncited chunk: 0.3. As a positive it meets the 4 other negatives, as one the 1 positive
        assert (found.known, found.relevant, found.assumed, found.doubt) == ("nothing", 0.3, "negative", 0.3)
        assert found.gives == pytest.approx(0.3 * 4 + 0.7 * 1)
        assert found.corrects == pytest.approx(0.3 * (4 + 1))
        assert found.value == pytest.approx((found.gives / 2 + found.corrects) * found.nearness * found.newness)

    def test_the_doubtful_come_before_the_sure(self) -> None:
        pairs = one_query()
        judged = [pairs[0], replace(pairs[1], label="answers"), replace(pairs[2], label="related"), *pairs[3:]]
        judged[3] = replace(judged[3], label="related", judges_disagree=True)
        doubts = [value(judged, place).doubt for place in range(4)]
        assert doubts[2] < doubts[1] < doubts[3], "judge says no, judge says yes, judges disagree"
        scored = [replace(p, triage_score=n / 10) for n, p in enumerate(pairs)]
        assert value(scored, 1).doubt < value(scored, 5).doubt, (
            "an uncited chunk with a high score is a likely surprise"
        )

    def test_a_confidence_counts_half_and_a_calibrated_one_wholly(self) -> None:
        pairs = [some_pair(0, 0, "positive"), some_pair(1, 0, label="related")]
        known = {"pair_001": Known("judge_1", 0.95, answered=False, propagated=False, label=None, blind=False)}
        assert value(pairs, 1, known).relevant == pytest.approx((0.15 + 0.05) / 2)
        calibrated = values_of(POLICY, pairs, known, {"judge_1": lambda label, confidence: 0.4})
        assert calibrated["pair_001"].relevant == 0.4

    def test_the_audit_teaches_how_often_pairs_of_a_kind_are_relevant_and_targeted_answers_do_not(self) -> None:
        pairs = [some_pair(n, n) for n in range(30)]
        for blind, chance in ((True, (4 * 0.3 + 20) / 24), (False, 0.3)):
            known = {f"pair_{n:03}": said("answers", blind=blind) for n in range(20)}
            assert value(pairs, 29, known).relevant == pytest.approx(chance)

    def test_higher_places_and_closer_scores_are_nearer(self) -> None:
        pairs = [replace(p, score=1 - n / 10) for n, p in enumerate(one_query())]
        near = [value(pairs, place).nearness for place in range(1, 6)]
        assert near == sorted(near, reverse=True)
        assert near[0] == pytest.approx((1 / 1.584962500721156 + 1 - 0.2) / 2), (
            "second place, a fifth of the spread off"
        )
        assert value([replace(p, rank=None) for p in one_query()], 1).nearness == 0.25

    def test_each_further_answer_about_a_query_is_worth_less(self) -> None:
        pairs = one_query(5)
        newness = sorted((value(pairs, place).newness for place in range(5)), reverse=True)
        assert newness == pytest.approx([1, 2**-0.5, 3**-0.5, 4**-0.5, 5**-0.5])
        answered = [replace(pairs[0], reviewers=("ann",)), *pairs[1:]]
        assert value(answered, 0).newness == 0.5, "a second answer about the pair"
        assert max(value(answered, place).newness for place in range(1, 5)) == pytest.approx(2**-0.5)

    def test_an_answer_settles_its_duplicates_as_far_as_it_holds_for_them(self) -> None:
        copy = near_duplicate(1, 1)
        chunks = [near_duplicate(0, 0), copy, copy.upper(), near_duplicate(1, 2), near_duplicate(1, 3)]
        pairs = [replace(p, chunk=chunk) for p, chunk in zip(one_query(5), chunks, strict=True)]
        first = {how: value(pairs, 1, propagate=how).alike for how in ("none", "exact", "near")}
        assert first == pytest.approx({"none": 1 + 0.3 * 3, "exact": 2 + 0.3 * 2, "near": 4})
        assert [value(pairs, place).alike for place in (0, 2, 3, 4)] == [1, 0.25, 0.25, 0.25]

    def test_a_label_in_use_gives_nothing_new_but_may_be_corrected(self) -> None:
        pairs = one_query()
        for found in (
            value([pairs[0], replace(pairs[1], reviewers=("ann",)), *pairs[2:]], 1),
            value(pairs, 1, {"pair_001": said("related", propagated=True)}),
            value(pairs, 1, certified=frozenset({"pair_001"})),
        ):
            assert found.gives == 0
            assert found.corrects > 0

    def test_what_stands_in_no_triplet_is_worth_nothing(self) -> None:
        assert value([some_pair(0, 0)], 0).value == 0

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 3), st.sampled_from(["answers", "related", "unsure", None]), st.integers(1, 9)),
            max_size=20,
        )
    )
    def test_all_parts_are_finite_and_no_value_is_negative(self, drawn: list[tuple[int, str | None, int]]) -> None:
        pairs = [replace(some_pair(n, anchor, label=label), rank=rank) for n, (anchor, label, rank) in enumerate(drawn)]
        for found in values_of(POLICY, pairs, {}, {}).values():
            assert 0 <= found.relevant <= 1
            assert 0 <= found.value < 1000


def test_the_order_finds_more_wrong_guesses_and_makes_more_triplets_than_chance_does() -> None:
    """Worlds as the starting chances have them: judges are lenient, and surer about what is not relevant."""
    wrong, triplets = Counter[str](), Counter[str]()
    for seed in range(20):
        chance = Random(seed)
        pairs, relevant = [], {}
        for number in range(300):
            proposed = "positive" if number % 10 == 0 else "negative"
            label = "answers" if chance.random() < (0.9 if proposed == "positive" else 0.3) else "related"
            pairs.append(replace(some_pair(number, number // 10, proposed, label), rank=chance.randrange(1, 20)))
            relevant[pairs[-1].pair_id] = chance.random() < {"answers": 0.6, "related": 0.15}[label]
        by_value = in_review_order(pairs, targeted(pairs), values_of(POLICY, pairs, {}, {}), seed="")
        for name, order in (("value", by_value), ("chance", chance.sample(pairs, len(pairs)))):
            asked = order[:60]
            wrong[name] += sum(relevant[p.pair_id] != (p.label == "answers") for p in asked)
            positives = Counter(p.anchor for p in asked if relevant[p.pair_id])
            negatives = Counter(p.anchor for p in asked if not relevant[p.pair_id])
            triplets[name] += sum(positives[anchor] * negatives[anchor] for anchor in positives)
    assert wrong["value"] > 1.1 * wrong["chance"]
    assert triplets["value"] > 1.1 * triplets["chance"]


@pytest.mark.parametrize(
    ("have", "chances", "made"),
    [
        ((0, 0), [1.0, 0.0], 1.0),
        ((0, 0), [0.5, 0.5], 0.5),  # one of each in half of the cases
        ((1, 2), [], 2.0),
        ((1, 20), [1.0], 32.0),  # 16 negatives each
    ],
)
def test_expected_triplets_are_those_of_all_outcomes_weighed(
    have: tuple[int, int], chances: list[float], made: float
) -> None:
    assert expected_triplets({"positive": have[0], "negative": have[1]}, chances) == pytest.approx(made)


class TestBudget:
    def test_it_counts_answers_and_takes_the_queue_as_it_comes(self, store: Store) -> None:
        policy = fill(store)
        wanted = ReviewSettings(audit_share=0.5, overlap=Overlap(targeted=1, audit=2))
        queue = review_queue(store, policy, wanted)
        for budget in range(1, 20):
            chosen = within_budget(queue, wanted.overlap, budget)
            assert chosen == queue[: len(chosen)]
            spent = sum(2 if queued.stream == "audit" else 1 for queued in chosen)
            assert spent <= budget
            assert spent >= budget - 1 or len(chosen) == len(queue)

    def test_a_plan_changes_nothing_and_is_the_same_again(self, store: Store) -> None:
        policy = fill(store)
        plan = next_reviews(store, policy, ReviewSettings(audit_share=0.5), 4)
        assert (plan.answers, len(plan.targeted), plan.audit, plan.left, plan.undrawn) == (4, 4, 0, 6, 4)
        assert drawn_streams(store, policy) == {}, "nothing is drawn"
        assert next_reviews(store, policy, ReviewSettings(audit_share=0.5), 4) == plan

    def test_the_audit_has_its_share_and_its_pairs_are_not_named(self, store: Store) -> None:
        policy = fill(store)
        wanted = ReviewSettings(audit_share=0.5)
        queue = review_queue(store, policy, wanted)
        plan = next_reviews(store, policy, wanted, 10)
        assert plan.audit == sum(queued.stream == "audit" for queued in queue)
        assert {p.pair_id for p in plan.targeted} == {q.pair.pair_id for q in queue if q.stream == "targeted"}

    def test_odd_states_are_told(self, store: Store) -> None:
        policy, _ = add_policy(store, POLICY)
        with pytest.raises(MissingError, match="no candidates yet"):
            next_reviews(store, policy, TARGETED_ONLY, 5)
        fill(store)
        with pytest.raises(UsageError, match="buys nothing"):
            next_reviews(store, policy, TARGETED_ONLY, 0)
        with pytest.raises(UsageError, match="settles no pair: the next one takes 2"):
            next_reviews(store, policy, ReviewSettings(audit_share=0, overlap=Overlap(targeted=2)), 1)
        for rank in range(1, 5):
            answer(store, policy.labelling_fingerprint, pair(1, rank), "ann", "related")
        left = next_reviews(store, policy, TARGETED_ONLY, 100)
        assert (left.answers, left.left) == (6, 0)


class TestGains:
    def test_triplets_are_those_that_a_build_has(self, store: Store) -> None:
        policy = fill(store)
        for rank, label in ((1, "answers"), (2, "related"), (3, "answers")):
            answer(store, policy.labelling_fingerprint, pair(1, rank), "ann", label)
        made = build(store, policy, test_share=0).counts["triplets_train"]
        gains = next_reviews(store, policy, TARGETED_ONLY, 1).gains
        assert gains.triplets.now == made == 2
        assert gains.triplets.expected >= made

    def test_a_negative_that_repeats_a_positive_makes_no_triplet(self, store: Store) -> None:
        policy = fill(store)
        query = next(iter(LOG))
        text = LOG[query][1][0]
        for copy in (text.upper(), f"{text} {text}"):
            with store.transaction(), adding_chunks(store) as add:
                add([NamedChunk(copy, copy)])
            put_candidates(store, policy.name, [Candidate(anchor_id(query), chunk_id(copy), "bm25", "negative")])
            answer(store, policy.labelling_fingerprint, pair_id(anchor_id(query), chunk_id(copy)), "ann", "related")
        answer(store, policy.labelling_fingerprint, pair_id(anchor_id(query), chunk_id(text)), "ann", "answers")
        answer(store, policy.labelling_fingerprint, pair(1, 2), "ann", "related")
        made = build(store, policy, test_share=0).counts
        assert (made["guarded"], made["triplets_train"]) == (2, 1)
        assert next_reviews(store, policy, TARGETED_ONLY, 1).gains.triplets.now == made["triplets_train"]

    def test_errors_are_the_doubts_and_those_of_a_build_its_unreviewed_labels(self, store: Store) -> None:
        policy = fill(store)
        judge(store, policy, {pair(1, 1): "answers", pair(1, 2): "related", pair(1, 3): "related"})
        before = next_reviews(store, policy, TARGETED_ONLY, 100)
        assert before.gains.errors.contradicted == pytest.approx(sum(p.doubt for p in before.targeted))
        assert before.gains.errors.unreviewed_in_build == 0
        build(store, policy, test_share=0, judge_labels=True, uncertified=True)
        after = next_reviews(store, policy, TARGETED_ONLY, 100).gains.errors
        assert after.unreviewed_in_build == 3
        assert after.in_build == pytest.approx(0.1 + 0.15 + 0.15)
        answer(store, policy.labelling_fingerprint, pair(1, 2), "ann", "related")
        assert next_reviews(store, policy, TARGETED_ONLY, 100).gains.errors.unreviewed_in_build == 2

    def test_blind_answers_tighten_the_bound_and_targeted_ones_do_not(self, store: Store) -> None:
        policy = fill(store, large_log(12, 10))
        pairs = pairs_to_review(store, policy)
        judge(store, policy, {p.pair_id: "related" for p in pairs if p.proposed == "negative"})
        assert next_reviews(store, policy, ReviewSettings(audit_share=0.3), 200).gains.bounds == (), "nothing is drawn"
        wanted = ReviewSettings(audit_share=0.3)
        queue = review_queue(store, policy, wanted)
        (some,) = next_reviews(store, policy, wanted, 40).gains.bounds
        (most,) = next_reviews(store, policy, wanted, 200).gains.bounds
        assert (some.group, most.answers) == ("negatives", most.open)
        assert some.open == most.open == sum(q.stream == "audit" and q.pair.proposed == "negative" for q in queue)
        assert some.now == most.now == 1.0, "what is open counts against the judge"
        assert most.expected is not None
        assert some.expected is not None
        assert most.expected < some.expected <= 1
        by_value = [queued for queued in queue if queued.stream == "targeted"][:1]
        assert all(bound.expected == bound.now for bound in review_gains(store, policy, queue, by_value, wanted).bounds)


class TestCommand:
    def test_it_pushes_what_the_budget_allows_and_a_push_brings_the_rest(self, client: "Argilla", store: Store) -> None:
        policy = fill(store, policy=replace(POLICY, question="What is to be asked next?"))
        judge(store, policy, {pair(1, 2): "answers", pair(2, 2): "related"})
        first = next_reviews(store, policy, TARGETED_ONLY, 4, client)
        assert first.pushed is not None
        assert (first.pushed.new, first.pushed.later, first.left) == (4, 6, 6)

        def on_server() -> list[str]:
            records = list(read_records(client, dataset_of(client, policy), silent))
            return [r["external_id"] for r in sorted(records, key=lambda r: r["metadata"]["order"])]

        assert on_server() == [p.pair_id for p in first.targeted], "in the order of the plan"
        again = next_reviews(store, policy, TARGETED_ONLY, 4, client)
        assert again.pushed is not None
        assert (again.pushed.new, again.targeted) == (0, first.targeted)
        answer(store, policy.labelling_fingerprint, first.targeted[0].pair_id, "ann", "related")
        pull_reviews(store, policy, client, TARGETED_ONLY)
        topped_up = next_reviews(store, policy, TARGETED_ONLY, 4, client)
        assert topped_up.pushed is not None
        assert topped_up.pushed.new <= 4
        everything = push_reviews(store, policy, client, TARGETED_ONLY)
        assert everything.later == 0
        assert set(on_server()) == {queued.pair.pair_id for queued in review_queue(store, policy, TARGETED_ONLY)}

    def test_a_dry_run_in_odd_workspaces(self, tmp_path: Path) -> None:
        run("init", "w", cwd=tmp_path)
        where = tmp_path / "w"
        assert "no policy" in run("review", "next", "--policy", "answers", "--dry-run", cwd=where, status=4).stderr
        with Store(where / "uncited.duckdb") as store:
            add_policy(store, POLICY)
        missing = run("review", "next", "--policy", "answers", "--dry-run", cwd=where, status=4)
        assert "Try:   uncited mine --policy answers" in missing.stderr
        assert "Nobody has reviewed answers yet" in run("review", "suspicious", "--policy", "answers", cwd=where).stdout
        with Store(where / "uncited.duckdb") as store:
            fill(store)
        planned = run("review", "next", "--policy", "answers", "--budget", "3", "--dry-run", cwd=where)
        assert "for 3 answers" in planned.stdout
        assert "What these 3 answers would buy" in planned.stdout
        assert "Traceback" not in planned.stderr
        document = from_json("review", "next", "--policy", "answers", "--budget", "3", "--dry-run", cwd=where)
        assert json.dumps(document)
        assert [set(p) for p in document["targeted"]] == [{*document["targeted"][0]}] * 3
        assert "argilla up" in run("review", "next", "--policy", "answers", cwd=where, status=4).stderr
