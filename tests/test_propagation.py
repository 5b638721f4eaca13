"""Labels lent to duplicates: only where the setting says so, marked, and gone with the review that they came from."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.audits import sample_of_all
from store.calibrations import judged_and_reviewed
from store.certificates import evidence
from store.database import Store
from store.example_sets import people_labelled
from store.labels import labelled_candidates
from store.policies import Policy, add_policy
from store.propagation import Propagate, near_pairs
from store.review_streams import draw_streams
from store.reviews import pairs_to_review
from store.status import workspace_status
from store.text import NEAR_DUPLICATE, overlap
from tests.labelled_store import POLICY, distinct, judge, log, pair, review
from train.export import export
from train.triplets import build

QUERY = "How do I store eggs?"
CITED = distinct("cited")
TEXT = distinct("text")
COPY = TEXT.upper() + "!"  # the same once normalised
NEAR = f"{TEXT} more"
OTHER = distinct("other")


@pytest.fixture
def policy(store: Store) -> Policy:
    policy, _ = add_policy(store, POLICY)
    log(store, QUERY, [CITED, TEXT, COPY, NEAR, OTHER], cited=[CITED])
    return policy


def propagated(store: Store, policy: Policy, propagate: Propagate, **rule: str) -> dict[str, tuple[str, str, float]]:
    """Map chunks to the label that was lent to them, the pair that it is from and the similarity."""
    rows = labelled_candidates(store, policy, propagate=propagate, **rule).to_pylist()
    return {
        row["chunk"]: (row["label"], row["propagated_from"], row["similarity"])
        for row in rows
        if row["source"] == "propagated"
    }


def test_nothing_is_lent_unless_the_setting_says_so(store: Store, policy: Policy) -> None:
    review(store, QUERY, {TEXT: "no"})
    source, similarity = pair(QUERY, TEXT), 8 / 9  # runs of five words: 8 of TEXT, one more in NEAR
    assert propagated(store, policy, "none") == {}
    assert propagated(store, policy, "exact") == {COPY: ("no", source, 1.0)}
    assert propagated(store, policy, "near") == {COPY: ("no", source, 1.0), NEAR: ("no", source, similarity)}
    assert propagated(store, policy, "none") == {}, "turned off, it is gone"


def test_a_changed_review_changes_what_it_lent_and_an_answer_of_ones_own_ends_it(store: Store, policy: Policy) -> None:
    review(store, QUERY, {TEXT: "no"})
    assert propagated(store, policy, "exact")[COPY][0] == "no"
    review(store, QUERY, {TEXT: "yes"}, minute=1)
    assert propagated(store, policy, "exact")[COPY][0] == "yes"
    review(store, QUERY, {COPY: None}, minute=2)
    assert propagated(store, policy, "exact") == {}, "somebody discarded the copy itself"


@pytest.mark.parametrize("second", ["no", None])
def test_duplicates_that_contradict_each_other_lend_nothing(store: Store, policy: Policy, second: str | None) -> None:
    review(store, QUERY, {TEXT: "yes"})
    review(store, QUERY, {COPY: second}, reviewer="bob")
    assert propagated(store, policy, "near") == {}


def test_what_people_have_not_settled_is_not_lent(store: Store, policy: Policy) -> None:
    review(store, QUERY, {TEXT: "yes"})
    review(store, QUERY, {TEXT: "no"}, reviewer="bob")
    assert propagated(store, policy, "near", resolution="strict") == {}


def test_another_query_gets_nothing_unless_it_is_the_same_question(store: Store, policy: Policy) -> None:
    log(store, "how do I store EGGS", [TEXT, distinct("more")])
    log(store, "How do I store goose eggs?", [TEXT])
    review(store, QUERY, {TEXT: "yes"})
    rows = labelled_candidates(store, policy, propagate="near").to_pylist()
    lent = {(row["anchor"], row["chunk"]) for row in rows if row["source"] == "propagated"}
    assert lent == {(QUERY, COPY), (QUERY, NEAR), ("how do I store EGGS", TEXT)}


def test_candidates_that_come_later_are_compared_too(store: Store, policy: Policy) -> None:
    review(store, QUERY, {TEXT: "no"})
    propagated(store, policy, "near")
    late = f"{TEXT} later"
    log(store, QUERY, [CITED, late], cited=[CITED])
    assert late in propagated(store, policy, "near")


def test_a_judge_is_outranked_and_certificates_do_not_see_it(store: Store, policy: Policy) -> None:
    judge(store, QUERY, {COPY: "yes", NEAR: "yes", OTHER: "no"})
    draw_streams(store, policy, [p.pair_id for p in pairs_to_review(store, policy)], audit_share=0.5)
    before = sample_of_all(store, policy, resolution="majority")
    people = judged_and_reviewed(store, policy, before.pairs[0].judge_id or ""), people_labelled(store, policy)
    review(store, QUERY, {TEXT: "no"})
    assert {label for label, *_ in propagated(store, policy, "near").values()} == {"no"}
    after = sample_of_all(store, policy, resolution="majority")
    assert {p.pair_id for p in after.pairs if p.reviewed} <= {pair(QUERY, TEXT)}
    rests_on = evidence(policy, after, "promoted", 0.0, "majority")
    assert rests_on == evidence(policy, before, "promoted", 0.0, "majority"), "a certificate stays what it is"
    assert judged_and_reviewed(store, policy, "judge_none") == [] == people[0]
    assert [shown.pair_id for shown in people_labelled(store, policy)] in ([], [pair(QUERY, TEXT)])


def test_builds_and_their_manifests_count_it_apart(store: Store, policy: Policy, tmp_path: Path) -> None:
    review(store, QUERY, {CITED: "yes", TEXT: "no", OTHER: "no"})
    plain = build(store, policy, test_share=0)
    lent = build(store, policy, test_share=0, propagate="near")
    assert plain.build.build_id != lent.build.build_id
    assert (plain.counts["propagated_negatives"], lent.counts["propagated_negatives"]) == (0, 2)
    assert lent.counts["human_negatives"] == plain.counts["human_negatives"] == 2
    assert lent.counts["triplets_train"] == plain.counts["triplets_train"] + 2
    assert lent.counts["uncited_reviewed"] == plain.counts["uncited_reviewed"], "nobody reviewed the duplicates"
    assert lent.build.settings["reviewers"] == {"ann": 3}
    assert lent.judge_labels == 0
    export(store, lent.build, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert {"split": "train", "label": "no", "role": "negative", "source": "propagated", "pairs": 2} in manifest[
        "labels"
    ]
    rows = store.rows("SELECT pair_id, propagated_from FROM build_labels WHERE propagated_from IS NOT NULL")
    assert {str(row["propagated_from"]) for row in rows} == {pair(QUERY, TEXT)}


def test_status_counts_it_apart_from_reviews(store: Store, policy: Policy) -> None:
    review(store, QUERY, {TEXT: "no"})
    (off,) = workspace_status(store).policies
    (on,) = workspace_status(store, propagate="near").policies
    assert (off.reviewed, off.propagated, off.labelled) == (1, 0, 1)
    assert (on.reviewed, on.propagated, on.labelled) == (1, 2, 3)


@settings(deadline=None)
@given(st.lists(st.frozensets(st.integers(0, 12), min_size=1), max_size=12))
def test_near_pairs_are_exactly_those_above_the_threshold(texts: list[frozenset[int]]) -> None:
    found = {(one, other): shared for one, other, shared in near_pairs(texts)}
    every = {(i, j): overlap(texts[i], texts[j]) for i in range(len(texts)) for j in range(i)}
    assert found == {places: shared for places, shared in every.items() if shared >= NEAR_DUPLICATE}
