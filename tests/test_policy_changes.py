"""What an edit changes, what still holds afterwards, and what it would cost."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from labeling.policy_changes import apply_policy, carried_labels, diff, kept_labels
from labeling.policy_plan import plan_change
from store.database import Store
from store.judge_costs import judge_costs
from store.policies import Example, Label, Policy, add_policy
from store.reviews import current_reviews
from store.workspace import Price
from tests.labelled_store import POLICY, START, judge, judge_pairs, log, pair, review

YES, NO, SPAM = POLICY.labels
RENAMED = replace(POLICY, labels=(replace(YES, name="answers"), NO, SPAM))
REWORDED = replace(POLICY, question="Does the passage answer the question in full?")
CLEARER = replace(POLICY, labels=(replace(YES, meaning="it answers at least a part"), NO, SPAM))
WITH_EXAMPLE = replace(POLICY, examples=(Example("q", "c", "yes", "because"),))
OTHER_ROLES = replace(POLICY, labels=(YES, NO, replace(SPAM, role="negative")))
EVERYTHING = {"yes": "yes", "no": "no", "spam": "spam", "unsure": "unsure"}


def sorts(new: Policy) -> dict[str, str]:
    return {change.entry: change.sort for change in diff(POLICY, new)}


# -------------------------------------------------------------------------------------------------------- what changed


def test_the_same_policy_has_no_changes() -> None:
    assert diff(POLICY, POLICY) == []


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (OTHER_ROLES, {"label spam: role": "nothing"}),
        (replace(POLICY, title="Answers"), {"title": "nothing"}),
        (replace(POLICY, signals={"cited": "yes", "off": "no"}), {"signal off": "nothing"}),
        (replace(POLICY, weights={"cited": 0.5}), {"signal cited": "nothing"}),
        (replace(POLICY, kinds=("code",)), {"kinds": "nothing"}),
        (replace(POLICY, scale="ordered"), {"scale": "nothing"}),
        (REWORDED, {"question": "sample"}),
        (replace(POLICY, anchor="a query"), {"anchor": "sample"}),
        (WITH_EXAMPLE, {"example": "sample"}),
        (CLEARER, {"label yes: meaning": "sample"}),
        (RENAMED, {"label yes: name": "sample"}),
        (replace(POLICY, labels=(NO, YES, SPAM)), {"order of the labels": "sample"}),
        (replace(POLICY, labels=(YES, NO)), {"label spam": "everything"}),
        (
            replace(POLICY, labels=(*POLICY.labels, Label("old", "it is out of date", "negative"))),
            {"label old": "everything"},
        ),
        (
            replace(OTHER_ROLES, question=REWORDED.question, labels=(YES, replace(NO, role="excluded"))),
            {"label spam": "everything", "question": "sample", "label no: role": "nothing"},
        ),
    ],
)
def test_each_change_is_named_and_of_its_sort(new: Policy, expected: dict[str, str]) -> None:
    assert sorts(new) == expected
    assert list(sorts(new).values()) == sorted(sorts(new).values(), key=("everything", "sample", "nothing").index), (
        "what costs most comes first"
    )


def test_only_changes_that_cost_nothing_leave_the_labelling_fingerprint() -> None:
    for new in (OTHER_ROLES, REWORDED, WITH_EXAMPLE, CLEARER, RENAMED):
        free = set(sorts(new).values()) == {"nothing"}
        assert (new.labelling_fingerprint == POLICY.labelling_fingerprint) == free


# -------------------------------------------------------------------------------------------------- which answers hold


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (POLICY, EVERYTHING),
        (OTHER_ROLES, EVERYTHING),
        (WITH_EXAMPLE, EVERYTHING),
        (RENAMED, {"yes": "answers", "no": "no", "spam": "spam", "unsure": "unsure"}),
        (replace(POLICY, labels=(SPAM, NO, YES)), EVERYTHING),
        (replace(POLICY, question="does the passage answer the question ?"), EVERYTHING),
        (replace(POLICY, labels=(YES, NO)), {"yes": "yes", "no": "no", "unsure": "unsure"}),
        (REWORDED, {}),
        (replace(POLICY, anchor="a search"), {}),
        (replace(POLICY, candidate="a title"), {}),
        (CLEARER, {}),
        (replace(POLICY, labels=(*POLICY.labels, Label("old", "it is out of date", "negative"))), {}),
        (
            replace(POLICY, labels=(replace(YES, name="no"), replace(NO, name="yes"), SPAM)),
            EVERYTHING | {"yes": "no", "no": "yes"},
        ),
    ],
)
def test_answers_of_people_hold_exactly_where_the_same_question_is_still_asked(
    new: Policy, expected: Mapping[str, str]
) -> None:
    assert carried_labels(POLICY, new) == expected


def test_the_author_may_declare_that_answers_hold_for_the_labels_that_are_still_there() -> None:
    assert kept_labels(POLICY, REWORDED) == EVERYTHING
    assert kept_labels(POLICY, CLEARER) == EVERYTHING
    replaced = replace(POLICY, labels=(YES, Label("refuted", "it says the opposite", "negative")))
    assert kept_labels(POLICY, replaced) == {"yes": "yes", "unsure": "unsure"}


def test_a_name_that_now_means_what_another_label_meant_keeps_no_answer_of_its_own() -> None:
    moved = replace(POLICY, labels=(YES, replace(SPAM, name="no")))  # "no" is what "spam" was
    assert kept_labels(POLICY, moved) == {"yes": "yes", "spam": "no", "unsure": "unsure"}


# ------------------------------------------------------------------------------------------------------------ applying


@pytest.fixture
def labelled(store: Store) -> Store:
    """Three pairs judged; two of them reviewed."""
    add_policy(store, POLICY)
    log(store, "q", ["a", "b", "c"], cited=["a"])
    judge(store, "q", {"a": "yes", "b": "no", "c": "spam"})
    review(store, "q", {"a": "yes", "c": "spam"})
    return store


def reviewed(store: Store, policy: Policy) -> list[str | None]:
    found: list[str | None] = current_reviews(store, policy)["label"].to_pylist()
    return sorted(found, key=str)


def judged(store: Store, policy: Policy) -> dict[object, object]:
    rows = store.rows("FROM current_judgments WHERE labelling_fingerprint = ?", [policy.labelling_fingerprint])
    return {row["pair_id"]: row["label"] for row in rows}


def test_a_change_of_roles_asks_nobody_again(labelled: Store) -> None:
    plan = plan_change(labelled, OTHER_ROLES, {})
    assert (plan.version, plan.sort, plan.is_free) == (2, "nothing", True)
    applied = apply_policy(labelled, OTHER_ROLES)
    assert (applied.is_new, applied.reviews_carried, applied.reviews_again, applied.pairs_again) == (True, 0, 0, 0)
    assert reviewed(labelled, OTHER_ROLES) == ["spam", "yes"]


def test_reviews_are_carried_where_they_hold_and_counted_where_they_do_not(labelled: Store) -> None:
    shorter = replace(POLICY, labels=(replace(YES, name="answers"), NO))
    plan = plan_change(labelled, shorter, {})
    assert (plan.sort, plan.pairs) == ("everything", 3)
    assert (plan.reviews, plan.reviews_holding, plan.reviews_again) == (2, 1, 1)
    applied = apply_policy(labelled, shorter)
    assert (applied.reviews_carried, applied.reviews_again, applied.pairs_again) == (1, 1, 3)
    assert reviewed(labelled, shorter) == ["answers"]


def test_a_reworded_question_keeps_nothing_unless_the_author_says_so(labelled: Store) -> None:
    assert apply_policy(labelled, REWORDED).reviews_again == 2
    assert reviewed(labelled, REWORDED) == []
    applied = apply_policy(labelled, REWORDED, keep_judgments=True, keep_reviews=True)
    assert (applied.is_new, applied.reviews_carried, applied.judgments_carried) == (False, 2, 3)
    assert reviewed(labelled, REWORDED) == ["spam", "yes"]
    again = apply_policy(labelled, REWORDED, keep_judgments=True, keep_reviews=True)
    assert (again.reviews_carried, again.judgments_carried) == (0, 0), "twice is as good as once"


def test_an_edit_undone_finds_the_old_answers_in_place(labelled: Store) -> None:
    apply_policy(labelled, REWORDED)
    assert plan_change(labelled, POLICY, {}).is_free
    assert apply_policy(labelled, POLICY).policy.version == 3
    assert reviewed(labelled, POLICY) == ["spam", "yes"]
    assert len(judged(labelled, POLICY)) == 3


def test_answers_that_come_in_late_for_the_old_wording_are_carried_when_it_is_applied_again(labelled: Store) -> None:
    apply_policy(labelled, WITH_EXAMPLE)
    review(labelled, "q", {"b": "no"}, minute=9)
    assert apply_policy(labelled, WITH_EXAMPLE).reviews_carried == 1
    assert reviewed(labelled, WITH_EXAMPLE) == ["no", "spam", "yes"]


def test_kept_judgments_say_where_they_come_from_and_cost_nothing_twice(labelled: Store) -> None:
    told = {"judged_at": START.replace(hour=1), "prompt_tokens": 100, "cost_usd": 2.5}
    judge_pairs(labelled, POLICY, {pair("q", "a"): "no"}, {"model": "dear"}, **told)
    shorter = replace(POLICY, labels=(replace(YES, name="answers"), NO))
    assert apply_policy(labelled, shorter, keep_judgments=True).judgments_carried == 3  # a twice, b; spam is gone
    assert judged(labelled, shorter) == {pair("q", "a"): "no", pair("q", "b"): "no"}
    asked = judge_costs(labelled)
    assert (sum(row["calls"] for row in asked), sum(row["cost_usd"] for row in asked)) == (4, 2.5)
    rows = labelled.rows(
        "SELECT carried.label, origin.label AS was, origin.judge_id = carried.judge_id AS same_judge"
        " FROM judgments AS carried JOIN judgments AS origin ON carried.carried_from = origin.judgment_id"
        " ORDER BY ALL"
    )
    assert [(row["was"], row["label"], row["same_judge"]) for row in rows] == [
        ("yes", "answers", True),
        ("no", "no", True),
        ("no", "no", True),
    ]
    apply_policy(labelled, replace(shorter, examples=WITH_EXAMPLE.examples[:0], question="Is it?"), keep_judgments=True)
    origins = labelled.rows("SELECT DISTINCT carried_from FROM judgments WHERE carried_from IS NOT NULL")
    assert len(origins) == 3, "carried twice, a judgment still names the one that was really given"


def test_a_pair_that_was_judged_under_the_new_wording_keeps_that_answer(labelled: Store) -> None:
    judge_pairs(labelled, REWORDED, {pair("q", "b"): "yes"}, {"model": "m"})
    assert plan_change(labelled, REWORDED, {}).pairs == 2, "it is not asked about again"
    assert apply_policy(labelled, REWORDED, keep_judgments=True).judgments_carried == 2
    assert judged(labelled, REWORDED)[pair("q", "b")] == "yes"


# ----------------------------------------------------------------------------------------------------------- the money


def priced(store: Store, tokens: int | None) -> None:
    judge_pairs(
        store,
        POLICY,
        {pair("q", chunk): "no" for chunk in ("a", "b")},
        {"model": "priced"},
        prompt_tokens=tokens,
        cached_tokens=tokens and tokens // 2,
        completion_tokens=tokens and 50,
    )


PRICES = {"priced": Price(input=10.0, cached=2.0, output=20.0)}


def test_the_cost_follows_from_what_the_judge_took_so_far(store: Store) -> None:
    add_policy(store, POLICY)
    log(store, "q", ["a", "b", "c"], cited=["a"])
    priced(store, 1000)
    plan = plan_change(store, REWORDED, PRICES)
    (calls,) = plan.again
    longer = len(" in full") / 4  # tokens that the question gained
    assert (calls.model, calls.calls, calls.counted) == ("priced", 2, False)
    assert calls.prompt_tokens == 1000 + longer
    # two calls: 500 cached at $2, the rest at $10, 50 completion tokens at $20 a million
    assert calls.cost_usd == pytest.approx(2 * (500 * 2 + (500 + longer) * 10 + 50 * 20) / 1e6)
    assert (plan.first.calls, plan.first.model) == (1, "priced")
    assert plan.first.cost_usd == pytest.approx(calls.cost_usd / 2)


def test_without_token_counts_the_prompt_is_measured_and_without_a_price_no_dollar_is_named(store: Store) -> None:
    add_policy(store, POLICY)
    log(store, "q", ["a", "b" * 4000, "c" * 4000], cited=["a"])
    plan = plan_change(store, POLICY, PRICES, model="unpriced")
    assert (plan.is_new, plan.is_free, plan.first.calls) == (False, True, 3)
    assert plan.first.counted
    assert 8000 / 3 / 4 < plan.first.prompt_tokens < 8000 / 3 / 4 + 500
    assert (plan.first.model, plan.first.cost_usd) == ("unpriced", None)


def test_a_new_policy_costs_nothing_by_itself_and_says_with_whom_it_shares_labels(labelled: Store) -> None:
    twin = replace(OTHER_ROLES, name="spam-is-bad")
    plan = plan_change(labelled, twin, {})
    assert (plan.version, plan.is_new, plan.is_free, plan.changes) == (1, True, True, ())
    assert plan.shares_with == ("answers",)


def test_keeping_judgments_and_reviews_is_part_of_the_plan(labelled: Store) -> None:
    plan = plan_change(labelled, REWORDED, {}, keep_judgments=True, keep_reviews=True)
    assert (plan.pairs, plan.reviews_holding, plan.is_free) == (0, 2, True)
    shorter = replace(POLICY, labels=(YES, NO))
    assert plan_change(labelled, shorter, {}, keep_judgments=True).pairs == 1, "the label spam is gone"
