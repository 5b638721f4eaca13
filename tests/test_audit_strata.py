"""What a plan says beforehand of the draw, by stratum, against the draw that then takes place."""

from pathlib import Path

import pytest

from labeling.audit_plan import PILOT, AuditPlan, plan_audit
from labeling.audit_strata import KnownStratum
from store.audit_draws import draw_audit
from store.audits import sample_of_all
from store.database import Store
from store.policies import Policy
from store.review_streams import draw_streams
from store.reviews import add_pushed_pairs
from tests.test_audit import OF_EACH, QUERIES, answer, fill, judge, negatives, positives, sampled
from tests.test_cli import from_json, run


def by_confidence(store: Store) -> Policy:
    """A judge that is sure of two thirds of the negatives, and gives no confidence with the positives."""
    policy = fill(store)
    judge(store, policy, dict.fromkeys(negatives()[:200], "no"), model="c", confidence=0.97)
    judge(store, policy, dict.fromkeys(negatives()[200:], "no"), model="c", confidence=0.75)
    return policy


def answered_pilot(store: Store, policy: Policy, size: int) -> set[str]:
    """Draw a pilot and answer it: the judge is right where it is sure, and wrong about its other negatives."""
    draw_audit(store, policy, size, pilot=True)
    drawn = {found.pair_id for found in sample_of_all(store, policy, resolution="majority").pairs if found.sampled}
    answer(store, policy, drawn & set(negatives()[:200]))
    answer(store, policy, drawn & {*negatives()[200:], *positives()}, "yes")
    return drawn


def planned(store: Store, policy: Policy, max_error: float = 0.05) -> AuditPlan:
    return plan_audit(store, policy, resolution="majority", max_error=max_error)


def outline(strata: tuple[KnownStratum, ...]) -> list[tuple[object, ...]]:
    return [(found.group, found.least, found.below, found.pairs, found.queries) for found in strata]


def test_strata_part_the_drawable_pairs_by_group_and_confidence(store: Store) -> None:
    policy = by_confidence(store)
    plan = planned(store, policy)
    assert outline(plan.strata) == [
        ("negatives", 0.95, 0.98, 200, 20),
        ("negatives", 0.7, 0.8, 100, 10),
        ("confirmed", 0.0, None, QUERIES, QUERIES),
    ]
    assert all((found.reviewed, found.low, found.high) == (0, None, None) for found in plan.strata)
    (pilot,) = plan.draws
    assert (pilot.pilot, pilot.pairs, pilot.queries, pilot.size) == (True, QUERIES * (OF_EACH + 1), QUERIES, PILOT)
    assert [found.reviews for found in plan.strata] == pytest.approx([PILOT * n / 330 for n in (200, 100, 30)])
    judge(store, policy, dict.fromkeys(negatives()[:5], "unsure"), model="c")
    unlabelled = planned(store, policy).strata
    assert outline(unlabelled)[-1] == (None, 0.0, None, 5, 1)
    assert sum(found.pairs for found in unlabelled) == 330


def test_a_plan_tells_rates_by_stratum_and_its_audit_takes_the_pairs_that_it_named(store: Store) -> None:
    policy = by_confidence(store)
    drawn = answered_pilot(store, policy, 90)
    others = sorted(set(negatives()[200:]) - drawn)
    answer(store, policy, others[:20], stream="targeted", suggested="no")
    plan = planned(store, policy, 0.2)
    sure, unsure, _ = plan.strata
    assert (sure.reviewed, sure.wrong) == (len(drawn & set(negatives()[:200])), 0)
    assert sure.low == 0
    assert sure.high == pytest.approx(1 - 0.025 ** (1 / sure.reviewed))  # Clopper and Pearson without an error
    assert unsure.reviewed == unsure.wrong == len(drawn & set(negatives()[200:]))
    assert unsure.low == pytest.approx(0.025 ** (1 / unsure.reviewed))
    assert unsure.high == 1
    assert unsure.pairs == len(others) - 20
    (audit,) = [draw for draw in plan.draws if draw.group == "negatives"]
    left = set(negatives()[:200]) - drawn
    assert (sure.least, sure.pairs) == (audit.min_confidence, len(left))
    assert sure.reviews == pytest.approx(audit.size)
    assert sum(found.reviews for found in plan.strata) == pytest.approx(sum(draw.size for draw in plan.draws))
    made = draw_audit(store, policy, audit.size, group=audit.group, min_confidence=audit.min_confidence)
    assert (made.population, made.size) == (audit.pairs, audit.size)
    assert set(sampled(store, policy)) <= left
    assert planned(store, policy).draws == (), "answers come first"


def test_a_plan_and_its_draw_leave_out_the_same_pairs_that_have_been_shown(store: Store) -> None:
    policy = fill(store)
    shown = negatives(range(5))
    draw_streams(store, policy, shown, audit_share=0)
    add_pushed_pairs(store, "dataset", shown)
    for more in ([], negatives(range(5, 25))):
        draw_streams(store, policy, more, audit_share=0)
        add_pushed_pairs(store, "dataset", more)
        plan = planned(store, policy)
        (pilot,) = plan.draws
        assert pilot.pairs == sum(found.pairs for found in plan.strata) == (330 if more else 280)
    made = draw_audit(store, policy, pilot.size, include_shown=plan.include_shown, pilot=True)
    assert (made.population, made.size) == (pilot.pairs, pilot.size)


def test_an_audit_of_a_part_tells_of_the_strata_that_it_could_draw_wholly(store: Store) -> None:
    policy = by_confidence(store)
    judge(store, policy, dict.fromkeys(negatives()[:100], "no"), model="c", confidence=0.955)
    draw_audit(store, policy, 40, group="negatives", min_confidence=0.96)
    answer(store, policy, sampled(store, policy))
    known = [(f.least, f.below, f.reviewed) for f in planned(store, policy).strata if f.group == "negatives"]
    assert known == [(0.96, 0.98, 40), (0.95, 0.96, 0), (0.7, 0.8, 0)]
    judge(store, policy, dict.fromkeys(negatives()[100:200], "yes"), model="d", confidence=0.97)
    promoted = [found for found in planned(store, policy).strata if found.group == "promoted"]
    assert [(found.pairs, found.reviewed) for found in promoted] == [(60, 0)], "they were drawn as negatives"


def test_the_commands_say_and_draw_the_same(tmp_path: Path) -> None:
    run("init", "w", cwd=tmp_path)
    workspace, option = tmp_path / "w", ("--policy", "answers")
    with Store(workspace / "uncited.duckdb") as store:
        fill(store, range(5))
    said = run("audit", "plan", *option, cwd=workspace).stdout
    assert "Pairs that may be drawn" in said
    assert "Pilot of all: 25 reviews, drawn at random from 55 pairs of 5 queries; how they fall" in said
    document = from_json("audit", "plan", *option, cwd=workspace)
    assert document["strata"][0]["pairs"] == 50
    (pilot,) = document["draws"]
    drawn = from_json("audit", "pilot", *option, "--size", pilot["size"], cwd=workspace)
    assert (drawn["population"], drawn["size"]) == (pilot["pairs"], pilot["size"])
    refused = run("audit", "pilot", *option, "--size", pilot["size"], cwd=workspace, status=2)
    assert "25 pairs of the pilot that was drawn before wait for an answer" in refused.stderr
    assert run("audit", "pilot", *option, "--size", 1, "--replace", cwd=workspace).stdout.startswith("1 of 55 pairs")
