"""Re-judging a sample before an edit is applied: what it estimates, what it costs, and that nothing is paid twice."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.judge import judge_candidates
from labeling.judgment_history import pair_history
from labeling.policy_changes import apply_policy
from labeling.policy_plan import plan_change
from labeling.policy_sample import Flips, _flips, _Stratum, allocate, sample_change, wilson
from store.database import Store
from store.errors import MissingError, UsageError
from store.judgment_history import find_pair
from store.policies import Policy
from store.workspace import JudgeSettings, Price
from tests.judge_stub import Call, Response, Stub, labelled, serving
from tests.judging import POLICY, put_pairs

REWORDED = replace(POLICY, question="Does the chunk say all that it takes to do what the query asks?")
FREE = {"stub": Price(input=0, output=0)}


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A judge whose old answer is `helps` for chunks 0 to 4, and which takes chunk 4 back under the new question."""
    with serving(by_question) as running:
        yield running


def by_question(call: Call) -> Response:
    number = int(call.texts["candidate"].split()[1].rstrip(":"))
    strict = "all that it takes" in call.body["messages"][0]["content"]
    return labelled("helps" if number < (4 if strict else 5) else "does-not-help")


def settings(stub: Stub) -> JudgeSettings:
    return JudgeSettings(model="stub", base_url=stub.url, concurrency=4)


@pytest.fixture
def judged(store: Store, stub: Stub) -> Policy:
    """A hundred pairs, ten chunks of ten queries, judged under the old wording: half of them help."""
    policy = put_pairs(store, anchors=10, chunks=10)
    judge_candidates(store, policy, settings(stub), FREE)
    stub.calls.clear()
    return policy


def test_a_sample_estimates_how_many_labels_an_edit_moves(store: Store, stub: Stub, judged: Policy) -> None:
    found = sample_change(store, REWORDED, settings(stub), FREE, size=60)
    assert len(stub.calls) == found.asked == 60
    everything, stays, moves = found.flips
    assert (everything.label, everything.pairs, everything.sampled) == ("", 100, 60)
    assert everything.low < 0.1 < everything.high, "ten pairs in a hundred, chunk 4 of each query"
    assert (stays.label, stays.flipped, stays.rate) == ("does-not-help", 0, 0.0)
    assert moves.label == "helps"
    assert moves.low < 0.2 < moves.high
    assert {(move.was, move.becomes) for move in found.moves} == {
        ("does-not-help", "does-not-help"),
        ("helps", "helps"),
        ("helps", "does-not-help"),
    }
    assert (found.unanswered, found.other_judge, found.budget_spent) == (0, 0, False)


def test_a_larger_sample_and_the_judge_afterwards_ask_only_about_what_is_new(
    store: Store, stub: Stub, judged: Policy
) -> None:
    sample_change(store, REWORDED, settings(stub), FREE, size=20)
    assert sample_change(store, REWORDED, settings(stub), FREE, size=20).asked == 0
    assert sample_change(store, REWORDED, settings(stub), FREE, size=30).asked == 10
    assert plan_change(store, REWORDED, FREE).pairs == 70
    applied = apply_policy(store, REWORDED)
    assert applied.pairs_again == 70
    judge_candidates(store, applied.policy, settings(stub), FREE)
    assert len(stub.calls) == 100
    assert len({(call.texts["anchor"], call.texts["candidate"]) for call in stub.calls}) == 100


def test_judgments_that_are_kept_leave_nothing_to_ask(store: Store, stub: Stub, judged: Policy) -> None:
    sample_change(store, REWORDED, settings(stub), FREE, size=20)
    applied = apply_policy(store, REWORDED, keep_judgments=True)
    assert (applied.judgments_carried, applied.pairs_again) == (80, 0)
    judge_candidates(store, applied.policy, settings(stub), FREE)
    assert len(stub.calls) == 20
    rows = store.rows("SELECT pair_id FROM judgments WHERE carried_from IS NOT NULL LIMIT 1")
    history = pair_history(store, find_pair(store, str(rows[0]["pair_id"])))
    assert [row["policy"] for row in history.judgments] == ["helps v1", "helps v2, carried over from helps v1"]
    (prompt,) = history.prompts.values()
    assert prompt.messages, "the prompt that was really sent can still be shown"
    assert POLICY.question in prompt.messages[0]["content"]


def test_a_whole_sample_leaves_no_doubt(store: Store, stub: Stub, judged: Policy) -> None:
    everything = sample_change(store, REWORDED, settings(stub), FREE, size=1000).flips[0]
    assert (everything.sampled, everything.rate, everything.flipping) == (100, 0.1, 10)
    assert everything.low == everything.high == 0.1


def test_a_renamed_label_is_no_flip_and_a_removed_one_always_is(store: Store, stub: Stub, judged: Policy) -> None:
    helps, other = POLICY.labels
    renamed = replace(POLICY, labels=(replace(helps, name="useful"), other), examples=())
    with serving(lambda call: labelled("useful")) as yes:
        found = sample_change(store, renamed, settings(yes), FREE, size=10)
    by_label = {flip.label: flip.rate for flip in found.flips}
    assert by_label["helps"] == 0.0
    assert by_label["does-not-help"] == 1.0
    assert found.other_judge == 10, "it runs at another address"


def test_a_budget_stops_the_sample_and_the_estimate_rests_on_what_was_answered(
    store: Store, stub: Stub, judged: Policy
) -> None:
    dear = {"stub": Price(input=1000.0, output=1000.0)}  # a call costs $0.54, and may cost $9 if it is tried thrice
    found = sample_change(store, REWORDED, settings(stub), dear, size=50, budget_usd=14.0)
    assert found.budget_spent
    assert 0 < found.asked < 50 / 2
    assert found.cost_usd is not None
    assert found.cost_usd <= 14.0
    assert found.unanswered == 50 - found.asked
    assert found.flips[0].sampled == found.asked


def test_pairs_without_a_usable_answer_are_no_flips(store: Store, judged: Policy) -> None:
    with serving(lambda call: Response(400, '{"error": {"message": "no"}}')) as broken:
        found = sample_change(store, REWORDED, settings(broken), FREE, size=8)
    assert found.unanswered == 8
    assert found.flips[0] == Flips("", 100, 0, 0, None, 0.0, 1.0, None)


def test_what_cannot_be_sampled_is_told(store: Store, stub: Stub, judged: Policy) -> None:
    with pytest.raises(UsageError, match="changes nothing that a judge"):
        sample_change(store, replace(POLICY, signals={}), settings(stub), FREE, size=9)
    with pytest.raises(UsageError, match="cannot cover"):
        sample_change(store, REWORDED, settings(stub), FREE, size=1)
    with pytest.raises(MissingError, match="no pair has been judged"):
        sample_change(store, replace(REWORDED, name="new"), settings(stub), FREE, size=9)
    assert not stub.calls


# ------------------------------------------------------------------------------------------------------- the statistics


@given(
    st.dictionaries(st.tuples(st.text(max_size=2), st.just("s")), st.integers(1, 50), min_size=1), st.integers(0, 99)
)
def test_a_sample_covers_every_stratum_and_a_larger_one_holds_the_smaller(
    strata: dict[tuple[str, str], int], more: int
) -> None:
    least = sum(min(count, 2) for count in strata.values())
    smaller, larger = allocate(strata, least + more), allocate(strata, least + more + 1)
    assert sum(smaller.values()) == min(least + more, sum(strata.values()))
    for stratum, count in strata.items():
        assert min(count, 2) <= smaller[stratum] <= larger[stratum] <= count


def test_wilsons_interval_is_the_textbook_one() -> None:
    """statsmodels.stats.proportion.proportion_confint(7, 20, method="wilson")."""
    assert wilson(7 / 20, 20) == pytest.approx((0.18119, 0.56714), abs=1e-5)


@pytest.mark.parametrize(
    "strata",
    [
        [(1000, 0.05), (200, 0.5), (30, 0.2)],
        [(5000, 0.01), (50, 0.6)],
        [(90, 0.3), (90, 0.1), (20, 0.9)],
    ],
)
def test_the_interval_holds_the_true_rate_about_as_often_as_it_says(strata: Sequence[tuple[int, float]]) -> None:
    rng = random.Random(7)
    named = {(str(n), "s"): count for n, (count, _) in enumerate(strata)}
    population = [[rng.random() < rate for _ in range(count)] for count, rate in strata]
    true = sum(map(sum, population)) / sum(map(len, population))
    sizes = list(allocate(named, 80).values())
    held = 0
    for _ in range(1000):
        drawn = [rng.sample(flips, size) for flips, size in zip(population, sizes, strict=True)]
        found = _flips("", [_Stratum(len(p), len(d), sum(d)) for p, d in zip(population, drawn, strict=True)])
        held += found.low <= true <= found.high
    assert held >= 930, "95 % of 1000, less what chance allows"
