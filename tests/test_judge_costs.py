"""Money: a budget that holds while requests are in flight, and a dry run that sends nothing."""

import json

import pytest

from labeling.budget import Budget
from labeling.dry_run import StageEstimate, estimate_run
from labeling.judge import judge_candidates
from labeling.judge_run import StageResult
from store.database import Store
from store.errors import UsageError
from store.judgments import Judgment
from store.policies import Policy
from store.workspace import JudgeSettings, Price
from tests.judge_stub import MODEL, Call, Response, Stub, chosen, completion, decision, failing, labelled, serving
from tests.judging import put_pairs

PRICE = Price(input=100.0, output=100.0, cached=10.0)  # dollars per million: a request is worth cents
ANSWER = (100 * 100 + 400 * 10 + 40 * 100) / 1e6  # of `judge_stub.USAGE` at PRICE


def settings(url: str, **fields: object) -> JudgeSettings:
    return JudgeSettings.model_validate({"model": "m", "base_url": url, "max_tokens": 50, "concurrency": 8} | fields)


def judge(store: Store, policy: Policy, stub: Stub, budget_usd: float, **fields: object) -> StageResult:
    result = judge_candidates(store, policy, settings(stub.url, **fields), {"m": PRICE}, budget_usd=budget_usd)
    return result.stages[0]


def spent(store: Store) -> float:
    return float(str(store.scalar("SELECT coalesce(sum(cost_usd), 0) FROM judgments")))


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_run_stops_before_its_budget_is_exceeded(store: Store, concurrency: int) -> None:
    policy = put_pairs(store, anchors=5, chunks=20)
    with serving(lambda call: labelled("helps", delay_s=0.01)) as stub:
        result = judge(store, policy, stub, budget_usd=1.0, concurrency=concurrency)
        assert result.budget_spent
        assert 0.3 < spent(store) <= 1.0
        assert result.judged == len(stub.calls) == round(spent(store) / ANSWER)
        assert result.remaining == 100 - result.judged
        again = judge(store, policy, stub, budget_usd=10.0, concurrency=concurrency)
    assert not again.budget_spent
    assert again.remaining == 0


def test_a_budget_too_small_for_one_request_sends_none(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=1)
    with serving([]) as stub:
        result = judge(store, policy, stub, budget_usd=0.001)
    assert (result.budget_spent, result.judged, result.remaining) == (True, 0, 1)


def test_what_is_in_flight_counts_as_if_it_cost_the_most_it_can(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=20)
    together = []

    def answer(call: Call) -> Response:
        together.append(len([c for c in stub.calls if call.arrived_at - c.arrived_at < 0.1]))
        return labelled("helps", delay_s=0.1 if len(stub.calls) > 1 else 0)

    with serving(answer) as stub:
        judge(store, policy, stub, budget_usd=2.4)
    # A request of some 1,600 bytes may cost 16 cents, three times: eight at a time, as allowed, could cost too much.
    assert 2 <= max(together) <= 5
    assert spent(store) <= 2.4


def test_answers_without_usage_and_timeouts_count_as_the_most_they_could_have_cost(store: Store) -> None:
    policy = put_pairs(store, anchors=3, chunks=10)
    silent = completion('{"quote": "", "label": "helps", "reason": ""}', usage=None)
    with serving(lambda call: silent) as stub:
        result = judge(store, policy, stub, budget_usd=1.0)
        assert result.budget_spent
        assert len(stub.calls) < 10
        assert result.cost_usd is None


def test_failures_that_no_server_bills_free_what_was_set_aside() -> None:
    budget = Budget(1.0)
    for error, bill in (("rate_limit", 0.0), ("server_error", 0.0), ("bad_request", 0.0), ("timeout", 0.25)):
        before = budget.spent_usd
        budget.reserve(0.25)
        assert not budget.fits(0.80 - before)
        budget.settle(0.25, [_judgment(error=error)])
        assert (budget.spent_usd - before, budget.reserved_usd) == (bill, 0.0)
    budget.settle(0.0, [_judgment(label="helps", cost_usd=0.1, duration_ms=5)])
    assert budget.spent_usd == pytest.approx(0.35)


def _judgment(**fields: object) -> Judgment:
    from datetime import UTC, datetime

    base = {"pair_id": "p", "labelling_fingerprint": "f", "judge_id": "j", "prompt_id": "q"}
    return Judgment(**base, judged_at=datetime.now(UTC), **fields)


def test_a_budget_without_a_price_is_refused_and_the_table_named(store: Store) -> None:
    policy = put_pairs(store)
    with serving([]) as stub, pytest.raises(UsageError, match=r'no price is known for m.*\[prices\."m"\]'):
        judge_candidates(store, policy, settings(stub.url), {"other": PRICE}, budget_usd=1.0)
    assert store.count("SELECT count(*) FROM judges") == 0


def test_a_budget_covers_all_stages_together(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=10)
    with serving(lambda call: labelled("helps")) as stub:
        stages = [{"model": "a", "base_url": stub.url, "pass_on": "all"}, {"model": "b", "base_url": stub.url}]
        result = judge_candidates(
            store, policy, JudgeSettings(stages=stages), {"a": PRICE, "b": PRICE}, budget_usd=25 * ANSWER + 0.6
        )
    first, second = result.stages
    assert (first.judged, first.budget_spent, second.budget_spent) == (20, False, True)
    assert 0 < second.judged < 20
    assert spent(store) <= 25 * ANSWER + 0.6


def estimate(store: Store, policy: Policy, given: JudgeSettings, **options: object) -> list[StageEstimate]:
    prices = {"m": PRICE, "b": PRICE, "luna": PRICE}
    return estimate_run(store, policy, given, prices, **options)


def test_a_dry_run_counts_and_prices_and_sends_and_stores_nothing(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=5)
    with serving(lambda call: labelled("helps")) as stub:
        (stage,) = estimate(store, policy, settings(stub.url))
        assert stub.calls == []
        assert store.count("SELECT count(*) FROM judges") == 0
        judge_candidates(store, policy, settings(stub.url), {})
        sent = sum(len(m["content"]) for call in stub.calls for m in call.body["messages"])
    assert (stage.pairs, stage.requests, stage.learned, stage.cached_tokens) == (10, 10, False, 0)
    assert stage.prompt_tokens == round(sent / 4)
    assert stage.completion_tokens == 10 * 50  # as long as they may be
    assert stage.cost_usd == pytest.approx((sent / 4 + 500) * 100 / 1e6)


def test_a_dry_run_learns_from_past_judgments_of_the_model(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=5)
    with serving(lambda call: labelled("helps")) as stub:
        judge_candidates(store, policy, settings(stub.url), {}, limit=5)
        (stage,) = estimate(store, policy, settings(stub.url))
        assert estimate(store, policy, settings(stub.url, model="b"))[0].learned is False
        assert estimate(store, policy, settings(stub.url), limit=2)[0].pairs == 2
    assert (stage.pairs, stage.learned) == (5, True)
    # Each prompt took 500 tokens, 400 of them cached, and 40 of answer.
    assert stage.prompt_tokens == pytest.approx(2500, rel=0.02)
    assert stage.cached_tokens == pytest.approx(2000, rel=0.02)
    assert stage.completion_tokens == 200
    assert stage.cost_usd == pytest.approx(5 * ANSWER, rel=0.02)


def test_a_dry_run_of_stages_bounds_what_later_ones_may_be_asked(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=5)

    def answer(call: Call) -> Response:
        return decision(
            *[chosen("unsure" if q["candidate"].startswith("chunk 1") else "helps") for q in call.questions]
        )

    with serving(answer) as stub:
        first = {"kind": "decisions", "model": "luna", "base_url": stub.url, "pass_on": {"labels": ["unsure"]}}
        given = JudgeSettings.model_validate({"stages": [first, {"model": "b", "base_url": stub.url}]})
        assert [(s.pairs, s.requests) for s in estimate(store, policy, given)] == [(10, 4), (10, 10)]
        assert stub.calls == []
        alone = JudgeSettings.model_validate({name: value for name, value in first.items() if name != "pass_on"})
        judge_candidates(store, policy, alone, {})
        assert [(s.pairs, s.requests) for s in estimate(store, policy, given)] == [(0, 0), (2, 2)]


def test_an_unknown_price_is_not_zero(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=2)
    assert estimate(store, policy, settings("http://localhost:9/v1", model="unpriced"))[0].cost_usd is None


def test_the_model_that_answered_is_recorded_whatever_was_asked_for(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=1)
    with serving([labelled("helps")]) as stub:
        judge_candidates(store, policy, settings(stub.url, model="wrong-name"), {})
    (row,) = store.rows("SELECT answered_model, config FROM judgments JOIN judges USING (judge_id)")
    assert row["answered_model"] == MODEL
    assert json.loads(str(row["config"]))["model"] == "wrong-name"


def test_a_burst_of_server_errors_under_a_budget_costs_nothing(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=3)
    with serving([labelled("helps"), *[failing(500)] * 3, labelled("helps")]) as stub:
        result = judge(store, policy, stub, budget_usd=0.9, concurrency=1)
    assert (result.judged, result.budget_spent) == (2, False)


def test_a_server_that_lets_answers_grow_without_end_gets_no_budget(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=5)

    def answer(call: Call) -> Response:
        for name in ("max_tokens", "max_completion_tokens"):
            if name in call.body:
                return failing(400, f"unknown field {name}", param=name)
        return labelled("helps")

    with serving(answer) as stub:
        with pytest.raises(UsageError, match="takes no limit on the length of an answer"):
            judge(store, policy, stub, budget_usd=5.0)
        assert store.count("SELECT count(*) FROM judgments") == 1
        assert judge_candidates(store, policy, settings(stub.url), {"m": PRICE}).judged == 4
