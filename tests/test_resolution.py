"""What makes one label of several people's answers."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.calibrations import judged_and_reviewed
from store.database import Store
from store.example_sets import people_labelled
from store.labels import Resolution, labelled_candidates
from store.reviews import Review, add_reviews, current_reviews
from store.status import workspace_status
from tests import labelled_store
from tests.labelled_store import POLICY
from train.triplets import build

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
RULES: tuple[Resolution, ...] = ("majority", "strict", "adjudicated")
Answer = tuple[str, str | None]  # reviewer, label (None: discarded)


def _review(answer: Answer, *, adjudication: bool = False, minute: int = 0) -> Review:
    reviewer, label = answer
    return Review(
        pair_id="p",
        labelling_fingerprint="f",
        reviewer=reviewer,
        status="submitted" if label else "discarded",
        label=label,
        stream="adjudication" if adjudication else "targeted",
        reviewed_at=NOON + timedelta(minutes=minute),
        origin="test",
    )


def _labels(store: Store) -> tuple[object, ...]:
    """Return what each rule makes of the pair."""
    found = []
    for rule in RULES:
        rows = store.rows("SELECT label, source FROM labels($rule) WHERE pair_id = 'p'", {"rule": rule})
        assert [row["source"] for row in rows] == ["human"], "people outrank the judge, whatever they settled"
        found.append(rows[0]["label"])
    return tuple(found)


@pytest.mark.parametrize(
    ("answers", "adjudication", "labels"),
    [
        ([("ann", "yes")], None, ("yes", "yes", "yes")),
        ([("ann", "yes"), ("bob", "yes")], None, ("yes", "yes", "yes")),
        ([("ann", "yes"), ("bob", "yes"), ("cyd", "no")], None, ("yes", None, None)),
        ([("ann", "yes"), ("bob", "no")], None, (None, None, None)),
        ([("ann", "yes"), ("bob", None)], None, ("yes", None, None)),  # a discard is no vote, but it is no consent
        ([("ann", None), ("bob", None)], None, (None, None, None)),
        ([("ann", "yes"), ("bob", "no")], ("eve", "no"), ("no", None, "no")),
        ([("ann", "yes"), ("bob", "yes"), ("cyd", "no")], ("eve", "no"), ("no", None, "no")),
        ([("ann", "yes"), ("bob", "no")], ("eve", None), (None, None, None)),  # not even the adjudicator could tell
        ([("ann", "yes"), ("bob", "yes")], ("eve", "no"), ("no", "yes", "yes")),  # they came to agree afterwards
        ([], ("eve", "no"), ("no", None, "no")),
    ],
)
def test_each_rule_makes_its_own_label_of_the_answers(
    store: Store, answers: list[Answer], adjudication: Answer | None, labels: tuple[str | None, ...]
) -> None:
    add_reviews(store, [_review(answer) for answer in answers])
    if adjudication:
        add_reviews(store, [_review(adjudication, adjudication=True)])
    assert _labels(store) == labels


def test_the_newest_adjudication_decides_whoever_gave_it(store: Store) -> None:
    add_reviews(store, [_review(("ann", "yes")), _review(("bob", "no"))])
    add_reviews(store, [_review(("eve", "no"), adjudication=True, minute=9)])
    add_reviews(store, [_review(("flo", "yes"), adjudication=True, minute=5)])
    assert _labels(store) == ("no", None, "no")
    add_reviews(store, [_review(("flo", None), adjudication=True, minute=20)])
    assert _labels(store) == (None, None, None)


def test_a_reviewer_who_adjudicates_keeps_the_answer_given_before(store: Store) -> None:
    add_reviews(store, [_review(("ann", "yes")), _review(("bob", "no"))])
    add_reviews(store, [_review(("ann", "no"), adjudication=True, minute=5)])
    assert _labels(store) == ("no", None, "no")
    votes = store.rows("SELECT reviewer, label FROM votes ORDER BY reviewer")
    assert votes == [{"reviewer": "ann", "label": "yes"}, {"reviewer": "bob", "label": "no"}]


def test_a_rule_that_does_not_exist_is_an_error_and_not_an_empty_label(store: Store) -> None:
    add_reviews(store, [_review(("ann", "yes"))])
    with pytest.raises(duckdb.Error, match="no rule of resolution: loudest"):
        store.rows("FROM labels('loudest')")


_answers = st.dictionaries(st.sampled_from("abcde"), st.sampled_from(["yes", "no", "spam", None]), max_size=5)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)  # each example opens a database
@given(_answers, st.none() | st.sampled_from(["yes", "no", None]).map(lambda label: ("z", label)))
def test_the_views_agree_with_the_rules_as_one_would_say_them(
    answers: dict[str, str | None], adjudication: tuple[str, str | None] | None
) -> None:
    if not answers and adjudication is None:
        return
    said = set(answers.values())
    top = Counter(label for label in answers.values() if label).most_common()
    most = top[0][0] if top and (len(top) == 1 or top[0][1] > top[1][1]) else None
    unanimous = next(iter(said)) if len(said) == 1 else None
    decided = adjudication[1] if adjudication else None
    expected = (
        decided if adjudication else most,
        unanimous,
        unanimous if len(said) == 1 else decided,
    )
    with Store(Path(":memory:")) as store:
        add_reviews(store, [_review(answer) for answer in answers.items()])
        if adjudication:
            add_reviews(store, [_review(adjudication, adjudication=True, minute=1)])
        assert _labels(store) == expected


def test_the_rule_reaches_candidates_status_and_builds(store: Store) -> None:
    policy = labelled_store.fill(store, 4)
    disputed = labelled_store.distinct("bad0of", 0)
    labelled_store.review(store, labelled_store.question(0), {disputed: "yes"}, reviewer="bob")
    labelled_store.review(store, labelled_store.question(0), {disputed: "yes"}, reviewer="cyd")

    def label(resolution: Resolution) -> object:
        rows = labelled_candidates(store, policy, resolution=resolution).to_pylist()
        row = next(row for row in rows if row["chunk"] == disputed)
        assert row["reviewed"]
        assert row["reviewers"] == ["ann", "bob", "cyd"]
        return row["label"]

    assert [label(rule) for rule in RULES] == ["yes", None, None]
    assert [workspace_status(store, resolution=rule).policies[0].labelled for rule in RULES] == [16, 15, 15]
    builds = {rule: build(store, policy, resolution=rule) for rule in RULES}
    assert len({result.build.build_id for result in builds.values()}) == 3, "the rule is part of what a build is"
    assert {result.build.settings["resolution"] for result in builds.values()} == set(RULES)
    assert [result.counts["undecided"] for result in builds.values()] == [0, 1, 1]


def test_answers_of_reviewers_are_listed_without_adjudications(store: Store) -> None:
    policy = labelled_store.fill(store, 1)
    pair = labelled_store.pair(labelled_store.question(0), labelled_store.distinct("bad0of", 0))
    review = Review(
        pair_id=pair,
        labelling_fingerprint=POLICY.labelling_fingerprint,
        reviewer="ann",
        status="submitted",
        label="spam",
        stream="adjudication",
        reviewed_at=NOON,
        origin="test",
    )
    add_reviews(store, [review])
    said = {row["pair_id"]: row["label"] for row in current_reviews(store, policy).to_pylist()}
    assert said[pair] == "no"
    assert len(said) == current_reviews(store, policy).num_rows


def test_the_rule_reaches_what_judges_are_shown_and_measured_against(store: Store) -> None:
    policy = labelled_store.fill(store, 2)
    query, disputed = labelled_store.question(0), labelled_store.distinct("bad0of", 0)
    for who in ("bob", "cyd"):
        labelled_store.review(store, query, {disputed: "yes"}, reviewer=who)
    judge_id = labelled_store.judge(store, query, {disputed: "no"})
    pair = labelled_store.pair(query, disputed)

    def shown(rule: Resolution) -> object:
        return {found.pair_id: found.label for found in people_labelled(store, policy, resolution=rule)}.get(pair)

    assert [shown(rule) for rule in RULES] == ["yes", None, None]
    measured = [[row.human for row in judged_and_reviewed(store, policy, judge_id, resolution=rule)] for rule in RULES]
    assert measured == [["yes"], [], []]
