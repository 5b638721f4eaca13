"""Audits and certificates over a real database, and the commands for them."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from labeling.audit_plan import plan_audit
from labeling.certify import Certification, Disagreement, certify
from labeling.review_queue import review_queue
from store.audit_draws import draw_audit, drawable_pairs, extend_audit
from store.audits import FIRST_AUDIT, Group, audits_by_group, ids_hash, sample_of_all
from store.certificates import certified_labels, standing_certificates
from store.database import Store
from store.errors import InvalidDataError, MissingError, UsageError
from store.example_sets import LabelledPair, put_example_set
from store.policies import Label, Policy, add_policy
from store.review_streams import draw_streams, uniform
from store.reviews import add_pushed_pairs
from store.workspace import ReviewSettings
from tests.labelled_store import POLICY, distinct, judge_pairs, log, pair, question, review_pairs
from tests.test_cli import from_json, run
from tests.test_synthetic_marks import write
from train.triplets import build

QUERIES, OF_EACH = 30, 10


def fill(store: Store, queries: Iterable[int] = range(QUERIES)) -> Policy:
    """Log queries with a cited chunk and uncited ones each; a judge confirms the former and refuses the latter."""
    policy, _ = add_policy(store, POLICY)
    labels = {}
    for i in queries:
        good, bad = distinct("good", i), [distinct(f"bad{k}of", i) for k in range(OF_EACH)]
        log(store, question(i), [good, *bad], cited=[good])
        labels |= {pair(question(i), good): "yes"} | {pair(question(i), text): "no" for text in bad}
    judge(store, policy, labels)
    return policy


def judge(
    store: Store, policy: Policy, labels: dict[str, str], *, model: str = "m", confidence: float | None = None
) -> str:
    return judge_pairs(store, policy, labels, {"model": model}, confidence=confidence)


def negatives(queries: Iterable[int] = range(QUERIES)) -> list[str]:
    return [pair(question(i), distinct(f"bad{k}of", i)) for i in queries for k in range(OF_EACH)]


def positives(queries: Iterable[int] = range(QUERIES)) -> list[str]:
    return [pair(question(i), distinct("good", i)) for i in queries]


def answer(
    store: Store, policy: Policy, pair_ids: Iterable[str], label: str | None = "no", **told: object
) -> list[str]:
    """Let a reviewer answer pairs blind."""
    answered = list(pair_ids)
    review_pairs(store, policy, dict.fromkeys(answered, label), **({"stream": "audit"} | told))
    return answered


def sampled(store: Store, policy: Policy, group: Group = "negatives") -> list[str]:
    audit = audits_by_group(store, policy, resolution="majority")[group]
    return [found.pair_id for found in audit.pairs if found.sampled]


def drawn_negatives(store: Store, policy: Policy) -> list[str]:
    return sorted(set(sampled(store, policy)) & set(negatives()))


def certified(store: Store, policy: Policy, max_error: float = 0.05) -> Certification:
    return certify(store, policy, resolution="majority", max_error=max_error)


def void(store: Store, policy: Policy) -> list[tuple[str, ...]]:
    return [found.void_because for found in standing_certificates(store, policy, resolution="majority")]


@pytest.fixture
def audited(store: Store) -> Policy:
    """A policy with a drawn audit, of which every answer confirms the judge."""
    policy = fill(store)
    draw_audit(store, policy, 150)
    answer(store, policy, drawn_negatives(store, policy), "no")
    answer(store, policy, set(sampled(store, policy)) & set(positives()), "yes")
    return policy


def test_a_clean_audit_certifies_the_labels_that_nobody_has_reviewed(store: Store, audited: Policy) -> None:
    result = certified(store, audited)
    found = {group.group: group for group in result.groups}
    sample = found["negatives"].finding.sample
    assert sample.population == len(negatives()) - sample.sampled
    assert (sample.answered, sample.against) == (sample.sampled, 0)
    assert found["negatives"].certificate_id
    assert found["negatives"].finding.bound is not None
    assert 0 < found["negatives"].finding.bound <= 0.05
    assert found["confirmed"].certificate_id is None, "15 reviews of 30 positives show little"
    assert found["confirmed"].finding.bound is not None
    assert found["confirmed"].finding.bound > 0.05


def test_the_same_answers_make_one_certificate_and_take_one_part_of_the_error(store: Store, audited: Policy) -> None:
    first, second = certified(store, audited), certified(store, audited)
    assert first == second
    assert [group.level for group in first.groups] == pytest.approx([0.04, 0.04])
    assert len(standing_certificates(store, audited, resolution="majority")) == 1
    assert store.count("SELECT count(*) FROM audit_questions") == 2


def test_nothing_is_spent_before_the_first_answer(store: Store) -> None:
    policy = fill(store)
    draw_audit(store, policy, 100)
    result = certified(store, policy)
    assert all(group.certificate_id is None for group in result.groups)
    assert result.groups[0].finish
    assert store.count("SELECT count(*) FROM audit_questions") == 0


def test_the_audit_of_the_streams_is_closed_by_its_first_answer(store: Store) -> None:
    policy = fill(store, range(20))
    draw_streams(store, policy, negatives(range(20)), audit_share=0.5)
    first = sampled(store, policy)
    assert first
    answer(store, policy, first, "no", reviewed_at=datetime.now(UTC))
    later = fill(store, range(20, 30))
    draw_streams(store, later, negatives(range(20, 30)), audit_share=0.5)
    assert sampled(store, policy) == first
    result = certified(store, policy, 0.06)
    assert result.groups[0].audit_id == FIRST_AUDIT
    assert result.outside == 30 + len(negatives(range(20, 30)))
    (group,) = result.groups
    assert group.certificate_id
    assert group.finding.sample.population == 200 - len(first)


def test_strata_of_other_shares_are_bounded_each_on_its_own(store: Store) -> None:
    policy = fill(store)
    draw_streams(store, policy, negatives(range(15)), audit_share=0.4)
    draw_streams(store, policy, negatives(range(15, 30)), audit_share=0.8)
    answer(store, policy, drawn_negatives(store, policy))
    (group,) = certified(store, policy).groups
    assert [stratum.population for stratum in group.finding.sample.strata] == [150, 150]


@pytest.mark.parametrize(
    "changes",
    [
        {"stream": "targeted"},
        {"stream": "imported"},
        {"suggested": "no"},
        {"carried_from": "review_1"},
        {"label": "unsure"},
        {"label": "spam"},
        {"label": None},
        {"label": "yes"},
    ],
    ids=str,
)
def test_only_blind_answers_that_confirm_the_judge_speak_for_it(store: Store, changes: dict[str, object]) -> None:
    policy = fill(store)
    draw_audit(store, policy, 150)
    first, *others = drawn_negatives(store, policy)
    answer(store, policy, others)
    answer(store, policy, [first], **({"label": "no"} | changes))
    sample = certified(store, policy).groups[0].finding.sample
    assert sample.against == 1
    assert sample.open == 0


def test_an_adjudication_settles_what_the_certificate_is_measured_by(store: Store, audited: Policy) -> None:
    first = drawn_negatives(store, audited)[0]
    answer(store, audited, [first], "yes", reviewer="bob")
    assert certified(store, audited).groups[0].finding.sample.against == 1
    answer(store, audited, [first], "no", reviewer="eve", stream="adjudication")
    result = certified(store, audited)
    assert result.groups[0].finding.sample.against == 0
    assert result.groups[0].disagreement == Disagreement(pairs=1, differ=1)
    assert result.groups[0].sensitivity is not None
    assert result.groups[0].sensitivity > 0.5, "the only pair with two answers is disputed"


def test_reviews_beside_the_audit_leave_the_population_and_add_nothing_to_the_sample(store: Store) -> None:
    policy = fill(store)
    draw_audit(store, policy, 150)
    answer(store, policy, drawn_negatives(store, policy))
    before = certified(store, policy).groups[0].finding.sample
    others = sorted(set(negatives()) - set(sampled(store, policy)))
    answer(store, policy, others[:20], stream="targeted", suggested="no")
    answer(store, policy, others[20:22], "yes", stream="targeted")
    after = certified(store, policy).groups[0]
    assert after.finding.sample.population == before.population - 22
    assert after.finding.sample.answered == before.answered
    assert after.finding.sample.wrong == 2
    assert after.question == 1


def test_another_judge_is_another_question_with_less_to_spend(store: Store, audited: Policy) -> None:
    certified(store, audited)
    judge(store, audited, dict.fromkeys(negatives()[:250], "no") | dict.fromkeys(negatives()[250:], "yes"), model="n")
    assert void(store, audited) == [
        (
            "answers to the audit have come or changed since",
            "other judges have labelled the pairs since",
            "the pairs that it speaks about have changed since (judged anew, reviewed, or not candidates any more)",
        )
    ]
    groups = {group.group: group for group in certified(store, audited).groups}
    assert groups["negatives"].question == 2
    assert groups["negatives"].level == pytest.approx(0.008)
    assert groups["promoted"].finding.sample.against == groups["promoted"].finding.sample.sampled > 0
    assert groups["promoted"].certificate_id is None
    assert groups["promoted"].reviews is None, "all of its promoted pairs were wrong"


def test_a_certificate_is_void_once_what_it_rests_on_has_changed(store: Store, audited: Policy) -> None:
    certified(store, audited)
    assert void(store, audited) == [()]
    first, second = drawn_negatives(store, audited)[:2]
    answer(store, audited, [first], "yes", reviewed_at=datetime.now(UTC) + timedelta(minutes=1))
    assert void(store, audited) == [("answers to the audit have come or changed since",)]
    answer(store, audited, [first], "no", reviewed_at=datetime.now(UTC) + timedelta(minutes=2))
    assert void(store, audited) == [()]
    unseen = sorted(set(negatives()) - set(sampled(store, audited)))
    answer(store, audited, unseen[:1], stream="targeted")
    assert "the pairs that it speaks about have changed" in void(store, audited)[0][0]
    assert standing_certificates(store, audited, resolution="strict")[0].void_because[0].startswith("the rule of resol")
    swapped = tuple(replace(label, role="excluded") if label.name == "spam" else label for label in POLICY.labels)
    other, _ = add_policy(store, replace(POLICY, labels=(*swapped[:2], Label("spam", "it is advertising", "negative"))))
    assert "the policy gives its labels other roles now" in void(store, other)[0]
    reworded, _ = add_policy(store, replace(POLICY, question="Does it answer?"))
    assert void(store, reworded) == [("the policy asks something else now",)]
    assert second


def test_a_build_takes_certified_labels_alone_and_names_the_certificate(store: Store, audited: Policy) -> None:
    with pytest.raises(MissingError, match="have no certificate; --uncertified uses them") as error:
        build(store, audited, judge_labels=True)
    assert error.value.hint == "uncited certify --policy answers"
    result = certified(store, audited)
    made = build(store, audited, judge_labels=True)
    assert made.certificates == [result.groups[0].certificate_id]
    assert made.counts["judge_negatives"] == result.groups[0].finding.sample.population
    assert made.counts["judge_positives"] == 0, "those were not certified"
    everything = build(store, audited, judge_labels=True, uncertified=True)
    assert everything.counts["judge_positives"] > 0
    assert everything.certificates == []
    assert build(store, audited).judge_labels == 0
    answer(store, audited, drawn_negatives(store, audited)[:1], "yes", reviewed_at=datetime.now(UTC))
    with pytest.raises(MissingError, match="answers to the audit have come or changed since"):
        build(store, audited, judge_labels=True)
    with pytest.raises(UsageError, match="which of the judge's labels"):
        build(store, audited, uncertified=True)


def test_by_confidence_the_sure_part_is_certified_where_the_whole_cannot_be(store: Store) -> None:
    policy = fill(store)
    sure, unsure = negatives()[:200], negatives()[200:]
    judge(store, policy, dict.fromkeys(sure, "no"), model="c", confidence=0.97)
    judge(store, policy, dict.fromkeys(unsure, "no"), model="c", confidence=0.75)
    draw_audit(store, policy, 200)
    answer(store, policy, set(sure) & set(sampled(store, policy)))
    answer(store, policy, set(unsure) & set(sampled(store, policy)), "yes")
    answer(store, policy, positives(), "yes", stream="targeted")
    group = certified(store, policy).groups[0]
    assert group.finding.sample.threshold == 0.8, "of those that let the same pairs through, the loosest"
    assert group.certificate_id
    made = build(store, policy, judge_labels=True, test_share=0)
    assert made.counts["judge_negatives"] == len(set(sure) - set(sampled(store, policy)))


def test_a_draw_is_frozen_random_and_from_pairs_that_nobody_can_have_seen(store: Store) -> None:
    policy = fill(store)
    streams = draw_streams(store, policy, negatives(range(20)), audit_share=0.2)
    add_pushed_pairs(store, "dataset", negatives(range(10)))
    answered = answer(store, policy, negatives(range(15, 16)), stream="targeted")
    seen = {p for p in negatives(range(10)) if streams[p] == "targeted"}
    population = drawable_pairs(store, policy)
    assert {found.pair_id for found in population} == {*negatives(), *positives()} - set(answered)
    assert {found.pair_id for found in population if found.shown} == seen
    unseen = [found.pair_id for found in population if not found.shown]
    drawn = draw_audit(store, policy, 40)
    assert drawn.population == len(unseen)
    row = store.rows("FROM audits")[0]
    again = sorted(unseen, key=lambda pair_id: uniform(str(row["seed"]), "audit", pair_id))[:40]
    assert sorted(again) == sampled(store, policy)
    assert row["population_hash"] == ids_hash(unseen)
    assert draw_streams(store, policy, again, audit_share=0) == dict.fromkeys(again, "audit")
    assert drawn.unseen == sum(streams.get(p) != "audit" for p in again)
    with pytest.raises(MissingError, match=f"only {len(unseen)} are left"):
        draw_audit(store, policy, 1000)
    with pytest.raises(UsageError, match="at least 1"):
        draw_audit(store, policy, 0)


def test_drawn_pairs_are_asked_blind_and_everything_else_is_not(store: Store) -> None:
    policy = fill(store)
    draw_streams(store, policy, negatives(range(10)), audit_share=0)
    draw_audit(store, policy, 50)
    queue = review_queue(store, policy, ReviewSettings(audit_share=0))
    assert sorted(queued.pair.pair_id for queued in queue if queued.stream == "audit") == sampled(store, policy)
    assert len(queue) == 330


def test_a_fresh_audit_replaces_the_one_before_and_starts_without_its_answers(store: Store, audited: Policy) -> None:
    certified(store, audited)
    before = set(sampled(store, audited))
    draw_audit(store, audited, 60)
    assert not before & set(sampled(store, audited))
    assert void(store, audited) == [("another audit has been drawn since",)]
    answer(store, audited, drawn_negatives(store, audited))
    group = certified(store, audited).groups[0]
    assert group.question == 2
    assert group.finding.sample.frame == len(negatives()) - len(before & set(negatives()))


def test_redrawing_until_the_answers_please_costs_as_much_as_asking(store: Store, audited: Policy) -> None:
    draw_audit(store, audited, 60)  # nobody has asked about the first one, but its answers could be read
    draw_audit(store, audited, 60)  # nobody has answered the second one
    answer(store, audited, drawn_negatives(store, audited))
    assert {group.question for group in certified(store, audited).groups} == {2}


def test_a_judge_that_was_shown_answers_of_the_audit_is_not_certified_by_it(store: Store, audited: Policy) -> None:
    shown = LabelledPair(drawn_negatives(store, audited)[0], "", "", "", "no")
    example_set_id = put_example_set(store, audited, {"shown": 1}, [shown])
    judge_pairs(store, audited, {negatives()[0]: "no"}, {"model": "few", "examples": example_set_id})
    with pytest.raises(InvalidDataError, match="were shown answers of the audit"):
        certified(store, audited)


def test_a_plan_names_what_is_needed_drawn_and_answered(store: Store) -> None:
    policy, _ = add_policy(store, POLICY)
    empty = plan_audit(store, policy, resolution="majority", max_error=0.02)
    assert (empty.unknown, empty.needs, empty.draw) == (186, (), None)
    assert plan_audit(store, policy, resolution="majority", max_error=0.02, expected=0.005).unknown == 561
    fill(store)
    plan = plan_audit(store, policy, resolution="majority")
    need = plan.needs[0]
    assert (need.group, need.pairs, need.drawn) == ("negatives", 300, 0)
    assert need.needed is not None
    assert plan.draw is not None
    draw_audit(store, policy, plan.draw + 10)  # it very likely suffices, and a test must not hang on luck
    answer(store, policy, drawn_negatives(store, policy)[: need.needed])
    answer(store, policy, drawn_negatives(store, policy)[need.needed :])
    assert certified(store, policy).groups[0].certificate_id, "the plan was enough"
    with pytest.raises(UsageError, match="not from 0 to below"):
        plan_audit(store, policy, resolution="majority", expected=0.05)
    with pytest.raises(UsageError, match="--max-error 0"):
        plan_audit(store, policy, resolution="majority", max_error=0)


def test_pairs_that_stood_before_reviewers_with_a_suggestion_are_drawn_on_demand_and_counted(store: Store) -> None:
    policy = fill(store)
    draw_streams(store, policy, negatives(), audit_share=0)
    add_pushed_pairs(store, "dataset", negatives())
    with pytest.raises(MissingError, match="with those that were, there are 300: --include-shown draws them too"):
        draw_audit(store, policy, 100, group="negatives")
    assert plan_audit(store, policy, resolution="majority").include_shown
    assert draw_audit(store, policy, 100, group="negatives", include_shown=True).shown == 100
    queue = review_queue(store, policy, ReviewSettings(audit_share=0))
    assert sorted(queued.pair.pair_id for queued in queue if queued.stream == "audit") == sampled(store, policy)
    answer(store, policy, sampled(store, policy))
    certified(store, policy)
    (standing,) = standing_certificates(store, policy, resolution="majority")
    assert standing.certificate.shown == 100


def test_an_audit_of_a_part_speaks_about_it_alone_and_leaves_the_other_groups_theirs(store: Store) -> None:
    policy = fill(store)
    judge(store, policy, dict.fromkeys(negatives()[:200], "no"), model="c", confidence=0.97)
    draw_audit(store, policy, 60)
    whole = set(sampled(store, policy, "confirmed"))
    drawn = draw_audit(store, policy, 70, group="negatives", min_confidence=0.95)
    inside = set(negatives()[:200])
    assert drawn.population == len(inside)
    assert set(sampled(store, policy)) <= inside
    assert set(sampled(store, policy, "confirmed")) == whole
    answer(store, policy, sampled(store, policy))
    groups = {group.group: group for group in certified(store, policy).groups}
    assert groups["negatives"].certificate_id
    assert groups["negatives"].finding.sample.frame == len(inside)
    assert groups["confirmed"].audit_id != groups["negatives"].audit_id
    labels = certified_labels(store, policy, resolution="majority").pair_ids
    assert labels == inside - set(sampled(store, policy))


def test_an_audit_of_one_group_says_nothing_of_how_many_of_all_pairs_are_relevant(store: Store) -> None:
    policy = fill(store)
    draw_audit(store, policy, 90, group="negatives")
    answer(store, policy, negatives())
    assert certified(store, policy).prevalence is None


def test_a_goal_that_is_no_share_is_refused_with_one_that_makes_sense(store: Store) -> None:
    policy = fill(store)
    with pytest.raises(UsageError) as refused:
        certify(store, policy, resolution="majority", confidence=95)
    assert refused.value.hint == "--confidence 0.95"


def test_a_pilot_certifies_nothing_and_costs_the_audit_after_it_nothing(store: Store) -> None:
    policy = fill(store)
    draw_audit(store, policy, 60, pilot=True)
    pilot = [p.pair_id for p in sample_of_all(store, policy, resolution="majority").pairs if p.sampled]
    answer(store, policy, set(pilot) & set(negatives()))
    answer(store, policy, set(pilot) & set(positives()), "yes")
    assert certified(store, policy).groups == ()
    assert certified(store, policy).prevalence is not None
    found = next(f for f in plan_audit(store, policy, resolution="majority").outlooks if f.group == "negatives")
    assert found.worthwhile
    assert found.best.min_confidence == 0
    draw_audit(store, policy, found.best.draw, group="negatives")
    answer(store, policy, sampled(store, policy))
    (group,) = certified(store, policy).groups
    assert group.question == 1
    assert group.certificate_id


def test_a_judge_that_the_pilot_shows_to_be_useless_is_worth_no_audit(store: Store) -> None:
    policy = fill(store)
    draw_audit(store, policy, 60, pilot=True)
    pilot = [p.pair_id for p in sample_of_all(store, policy, resolution="majority").pairs if p.sampled]
    answer(store, policy, pilot[::2])
    answer(store, policy, pilot[1::2], "yes")
    outlooks = {found.group: found for found in plan_audit(store, policy, resolution="majority").outlooks}
    assert outlooks["negatives"].hopeless
    assert not outlooks["negatives"].worthwhile
    assert outlooks["negatives"].best.expected > 0.3


def test_an_audit_is_extended_in_its_frozen_order_and_no_look_costs_anything(store: Store) -> None:
    policy = fill(store)
    draw_audit(store, policy, 40, group="negatives")
    first = set(sampled(store, policy))
    answer(store, policy, sorted(first)[:-1])
    answer(store, policy, sorted(first)[-1:], "yes")
    (group,) = certified(store, policy).groups
    assert group.certificate_id is None
    extend_audit(store, policy, 100, group="negatives")
    row = store.rows("FROM audits")[0]
    frozen = sorted(negatives(), key=lambda pair_id: uniform(str(row["seed"]), "audit", pair_id))
    assert set(sampled(store, policy)) == set(frozen[:140])
    answer(store, policy, set(sampled(store, policy)) - first)
    (group,) = certified(store, policy).groups
    assert group.question == 1
    assert group.certificate_id
    with pytest.raises(MissingError, match="of which 160 are left"):
        extend_audit(store, policy, 161, group="negatives")
    with pytest.raises(MissingError, match="no audit about the promoted"):
        extend_audit(store, policy, 1, group="promoted")
    with pytest.raises(UsageError, match="at least 1"):
        extend_audit(store, policy, 0, group="negatives")


def test_one_may_stop_as_soon_as_the_answers_will_do(store: Store) -> None:
    policy = fill(store)
    draw_audit(store, policy, 150, group="negatives")
    audit = audits_by_group(store, policy, resolution="majority")["negatives"]
    in_order = [p.pair_id for p in sorted((p for p in audit.pairs if p.sampled), key=lambda p: p.place)]
    answer(store, policy, in_order[:60])
    (group,) = certified(store, policy).groups
    assert group.certificate_id, "60 in the order in which they are asked; 90 are open"
    assert group.finding.sample.open == 90


@pytest.mark.slow
def test_plan_and_certify_give_one_advice_about_an_audit_that_is_too_small(tmp_path: Path) -> None:
    run("init", "w", cwd=tmp_path)
    workspace, option = tmp_path / "w", ("--policy", "answers")
    with Store(workspace / "uncited.duckdb") as store:
        policy = fill(store)
        draw_audit(store, policy, 60, group="negatives")
        answer(store, policy, sampled(store, policy)[:50])
    waiting = "uncited review next --audit --policy answers"
    for command in (("certify", *option), ("audit", "plan", *option)):
        assert waiting in run(*command, cwd=workspace).stderr
    refused = run("audit", "draw", *option, "--size", 40, "--group", "negatives", cwd=workspace, status=2)
    assert "10 pairs of the audit that was drawn before wait for an answer" in refused.stderr
    with Store(workspace / "uncited.duckdb") as store:
        answer(store, policy, sampled(store, policy)[50:54], "yes")
        answer(store, policy, sampled(store, policy)[54:])
    (extension,) = from_json("audit", "plan", *option, "--max-error", 0.2, cwd=workspace)["extensions"].items()
    advice = f"uncited audit extend --policy answers --group {extension[0]} --size {extension[1]}"
    for command in (("certify", *option), ("audit", "plan", *option)):
        assert advice in run(*command, "--max-error", 0.2, cwd=workspace).stderr
    run("audit", "draw", *option, "--size", 40, "--group", "negatives", cwd=workspace)  # it is answered now
    run("audit", "draw", *option, "--size", 41, "--group", "negatives", "--replace", cwd=workspace)


def test_labels_about_questions_that_a_model_wrote_are_counted_apart(store: Store) -> None:
    policy = fill(store, range(10))
    chunk = distinct("bad1of", 3)
    write(store, policy, "a question that a model wrote", chunk, "training")
    judge(store, policy, {pair("a question that a model wrote", chunk): "yes"})
    (drawable,) = [found for found in drawable_pairs(store, policy) if found.synthetic]
    assert drawable.group == "confirmed"
    assert plan_audit(store, policy, resolution="majority").synthetic == 1
    assert draw_audit(store, policy, 111).synthetic == 1
    answer(store, policy, sampled(store, policy)[:1])
    found = {group.group: group.finding.sample for group in certified(store, policy).groups}
    assert (found["confirmed"].synthetic, found["confirmed"].synthetic_sampled) == (1, 1)
    assert (found["negatives"].synthetic, found["negatives"].synthetic_sampled) == (0, 0)


@pytest.mark.slow
def test_the_commands_lead_from_the_plan_to_a_build(tmp_path: Path) -> None:
    run("init", "w", cwd=tmp_path)
    workspace = tmp_path / "w"
    policy_option = ("--policy", "answers")
    with Store(workspace / "uncited.duckdb") as store:
        fill(store)
    planned = run("audit", "plan", *policy_option, cwd=workspace)
    size = from_json("audit", "plan", *policy_option, cwd=workspace)["draw"]
    assert "uncited audit pilot --policy answers --size 25" in planned.stderr
    assert f"uncited audit draw --policy answers --size {size}" in planned.stdout
    more = size + 5  # a command's draw does not repeat, and one in a hundred of `size` holds too few negatives
    drawn = run("audit", "draw", *policy_option, "--size", more, cwd=workspace)
    assert f"{more} of 330 pairs are drawn" in drawn.stdout
    unanswered = run("certify", *policy_option, cwd=workspace).stdout
    assert "not certified for 5.0 %" in unanswered
    assert "are open will do, if the judge is right about them" in unanswered
    refused = run("build", *policy_option, "--judge-labels", cwd=workspace, status=4)
    assert "uncited certify --policy answers" in refused.stderr
    with Store(workspace / "uncited.duckdb") as store:
        policy, _ = add_policy(store, POLICY)
        answer(store, policy, drawn_negatives(store, policy))
        answer(store, policy, set(sampled(store, policy)) & set(positives()), "yes")
    said = run("certify", *policy_option, cwd=workspace).stdout
    document = from_json("certify", *policy_option, cwd=workspace)
    sample = document["groups"][0]["finding"]["sample"]
    assert f"300 negatives, {sample['answered']} reviews: at most " in said
    assert f"{sample['population']} of them nobody has reviewed" in said
    assert "of them are relevant, 95 % confidence" in said
    assert "judged pairs, these are relevant: " in said
    assert "by the reviews alone" in said
    without = "With the judge's help (PPI++) nothing is estimated of errors: of "
    assert without in said, "a judge without an error in the sample gives an interval of no width"
    assert ": holds" in run("audit", "status", *policy_option, cwd=workspace).stdout
    assert (
        document["groups"][0]["certificate_id"] in run("build", *policy_option, "--judge-labels", cwd=workspace).stdout
    )
    run("certify", *policy_option, "--max-error", 0.9, cwd=workspace)  # which the few positives meet too
    with Store(workspace / "uncited.duckdb") as store:
        judge(store, policy, dict.fromkeys(positives(), "yes"), model="another")
    left_out = run("build", *policy_option, "--judge-labels", cwd=workspace).stdout
    assert "The certificate of the confirmed is void (other judges" in left_out
    with Store(workspace / "uncited.duckdb") as store:
        judge(store, policy, dict.fromkeys(negatives(), "no"), model="another")
    status = from_json("audit", "status", *policy_option, cwd=workspace)
    assert status[0]["void_because"]
    exported = run("export", *policy_option, "--out", "out", cwd=workspace).stdout
    assert ", by which a judge's labels are in it, is void: other judges have labelled the pairs since\n" in exported
    assert "void: other judges" in run("audit", "status", *policy_option, cwd=workspace).stdout
