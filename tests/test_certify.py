"""What a certificate states is true as often as it says: simulated worlds in which the truth is known."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.stats import binom

from labeling.audit_sample import Finding, assess, sample_of, usable_thresholds
from labeling.bounds import clopper_pearson_upper, hypergeometric_upper, spent
from labeling.certify import Disagreement, sensitivity
from store.audits import FIRST_AUDIT, THRESHOLDS, Audit, AuditedPair
from tests.audit_worlds import World

ALPHA = 0.05
WORLDS = 300
TOO_MANY = int(binom.ppf(0.999, WORLDS, ALPHA))  # false statements that chance explains once in a thousand runs


Method = Callable[[Sequence[AuditedPair], float], Finding]


def as_audit(pairs: Sequence[AuditedPair], audit_id: str = FIRST_AUDIT) -> Audit:
    return Audit(audit_id, THRESHOLDS, tuple(pairs), ())


def whole(pairs: Sequence[AuditedPair], alpha: float) -> Finding:
    """What the audit of the review streams says: its size is fixed."""
    return assess(as_audit(pairs), "negatives", [0.0], 0.05, alpha=alpha)


def sequential(pairs: Sequence[AuditedPair], alpha: float) -> Finding:
    """What a drawn audit says, which may be extended."""
    return assess(as_audit(pairs, "drawn"), "negatives", [0.0], 0.05, alpha=alpha)


def by_threshold(max_error: float, audit_id: str = FIRST_AUDIT) -> Method:
    def method(pairs: Sequence[AuditedPair], alpha: float) -> Finding:
        audit = as_audit(pairs, audit_id)
        thresholds = usable_thresholds(audit, "negatives", max_error, alpha=alpha)
        return assess(audit, "negatives", thresholds, max_error, alpha=alpha)

    return method


def without_open_ones(pairs: Sequence[AuditedPair], alpha: float) -> Finding:
    """Broken: what people left open is dropped from the sample, as if chance had left it out."""
    return whole([p if p.reviewed else p._replace(sampled=False) for p in pairs], alpha)


def with_targeted_ones(pairs: Sequence[AuditedPair], alpha: float) -> Finding:
    """Broken: pairs that somebody chose count as if they had been drawn."""
    return whole([p._replace(sampled=True, blind=True) if p.reviewed else p for p in pairs], alpha)


def plain_share(pairs: Sequence[AuditedPair], alpha: float) -> Finding:
    """Broken: the share found is taken for the share there is."""
    sample = sample_of(pairs, "negatives", 0.0)
    share = sample.against / sample.sampled
    return Finding(sample, share, share, holds=True)


def false_worlds(method: Method, *, seed: int, errors: float) -> int:
    """Count the worlds in which one of three looks at a growing audit, beside targeted reviews, says an untruth."""
    rng = np.random.default_rng(seed)
    false = 0
    for _ in range(WORLDS):
        world = World(rng, errors=errors)
        world.draw(60)
        wrong = False
        for share in (1 / 3, 2 / 3, 1):
            world.answer_audit(share)
            world.answer_targeted(15)
            found = method(world.pairs(), ALPHA)
            if found.bound is not None:
                wrong |= world.true_share(found.sample.threshold) > found.bound + 1e-12
        false += wrong
    return false


def test_bounds_hold_in_clustered_worlds_whoever_skips_the_hard_pairs_and_however_often_one_looks() -> None:
    assert false_worlds(whole, seed=1, errors=0.06) <= TOO_MANY
    assert false_worlds(whole, seed=2, errors=0.2) <= TOO_MANY
    assert false_worlds(sequential, seed=1, errors=0.06) <= TOO_MANY


@pytest.mark.parametrize("broken", [without_open_ones, with_targeted_ones, plain_share])
def test_a_broken_bound_fails_the_same_test(broken: Method) -> None:
    assert false_worlds(broken, seed=1, errors=0.06) > TOO_MANY


def test_the_bound_is_no_wider_than_it_must_be() -> None:
    rng = np.random.default_rng(3)
    missed = 0
    for _ in range(WORLDS):
        world = World(rng, errors=0.2)
        world.draw(60)
        world.answer_audit(1.0)
        found = whole(world.pairs(), 0.3)
        assert found.bound is not None
        missed += world.true_share(0.0) > found.bound
    assert 0.18 * WORLDS < missed <= binom.ppf(0.999, WORLDS, 0.3), "an exact bound misses almost as often as it may"


@pytest.mark.parametrize(("audit_id", "max_error"), [(FIRST_AUDIT, 0.05), ("drawn", 0.1)])
def test_thresholds_in_a_fixed_order_certify_nothing_false(audit_id: str, max_error: float) -> None:
    """There are a few more errors than tolerated, and the judge is as sure of them as of the others."""
    assert certified_wrongly(by_threshold(max_error, audit_id), max_error, seed=4) <= TOO_MANY


def test_an_audit_may_be_extended_until_it_certifies_and_is_wrong_no_more_often() -> None:
    rng = np.random.default_rng(11)
    worlds, false = 100, 0
    for _ in range(worlds):
        world = World(rng, errors=0.055)
        for _ in range(7):
            world.draw(20)
            world.answer_audit(1.0)
            if sequential(world.pairs(), ALPHA).holds:
                false += world.true_share(0.0) > 0.05
                break
    assert false <= binom.ppf(0.999, worlds, ALPHA)


def test_fallible_reviewers_are_bounded_by_what_they_settle_and_by_the_truth_where_they_may_differ() -> None:
    rng = np.random.default_rng(12)
    settled = true = shared = 0
    for _ in range(WORLDS):
        world = World(rng, errors=0.1, misses=0.5)
        world.draw(60)
        world.answer_audit(1.0)
        bound = whole(world.pairs(), ALPHA).bound
        if_they_hid_errors = sensitivity(bound, Disagreement(*world.differ()))
        assert bound is not None
        assert if_they_hid_errors is not None
        settled += world.settled_share() > bound
        true += world.true_share(0.0) > if_they_hid_errors

        world.found[1] = world.found[0]  # the same mistakes: no two reviewers differ, and no line can tell
        unseen = sensitivity(whole(world.pairs(), ALPHA).bound, Disagreement(*world.differ()))
        assert unseen is not None
        shared += world.true_share(0.0) > unseen
    assert settled <= TOO_MANY
    assert true <= TOO_MANY
    assert shared > TOO_MANY, "so that a test in which nothing could fail is not taken for a proof"


def certified_wrongly(method: Method, max_error: float, *, seed: int) -> int:
    rng = np.random.default_rng(seed)
    false = 0
    for _ in range(WORLDS):
        world = World(rng, queries=40, errors=max_error * 1.05, telling=0.0)
        world.draw(100)
        world.answer_audit(1.0)
        found = method(world.pairs(), ALPHA)
        false += found.holds and world.true_share(found.sample.threshold) > max_error
    return false


def test_drawing_audits_until_one_pleases_does_not_help_a_bad_judge() -> None:
    too_many = binom.ppf(0.999, 1000, ALPHA)
    assert pleased_at_last(spent) <= too_many
    assert pleased_at_last(lambda alpha, number: alpha) > too_many, "with the whole of alpha each time, it would"


def pleased_at_last(level: Callable[[float, int], float]) -> int:
    """Count, of 1,000 judges with too many errors, those of which one of 8 fresh audits finds that they have few."""
    rng = np.random.default_rng(6)
    max_error, size, false = 0.06, 57, 0
    for _ in range(1000):
        left, wrong = 1000, 63
        for number in range(1, 9):
            found = int(rng.hypergeometric(wrong, left - wrong, size))
            bound = hypergeometric_upper(found, size, left, alpha=level(ALPHA, number)) - found
            left, wrong = left - size, wrong - found
            if bound <= max_error * left < wrong:
                false += 1
                break
    return false


def test_a_judge_that_is_never_wrong_is_certified_and_a_useless_one_is_not() -> None:
    rng = np.random.default_rng(7)
    good, useless = World(rng, errors=0.0), World(rng, errors=0.5)
    for world in (good, useless):
        world.draw(100)
        world.answer_audit(1.0)
    assert by_threshold(0.05)(good.pairs(), ALPHA).holds
    assert not by_threshold(0.05)(useless.pairs(), ALPHA).holds


def test_what_nobody_settled_counts_against_the_judge() -> None:
    world = World(np.random.default_rng(8), errors=0.0)
    world.draw(80)
    world.answer_audit(1.0)
    pairs = world.pairs()
    clean = whole(pairs, ALPHA)
    first = next(i for i, pair in enumerate(pairs) if pair.sampled)
    for change in ({"role": None}, {"role": "excluded"}, {"blind": False}, {"reviewed": False, "role": None}):
        worse = [pair._replace(**change) if i == first else pair for i, pair in enumerate(pairs)]
        found = whole(worse, ALPHA)
        assert found.sample.against == 1
        assert found.bound is not None
        assert clean.bound is not None
        assert found.bound > clean.bound
    assert clean.sample.population == len(pairs) - 80


def test_thresholds_are_left_out_by_the_size_of_their_sample_and_not_by_its_answers() -> None:
    world = World(np.random.default_rng(9), queries=60, errors=0.2)
    world.draw(120)
    before = usable_thresholds(as_audit(world.pairs()), "negatives", 0.1, alpha=ALPHA)
    world.answer_audit(1.0)
    assert usable_thresholds(as_audit(world.pairs()), "negatives", 0.1, alpha=ALPHA) == before
    assert before == sorted(before, reverse=True)
    assert 0.99 not in before
    assert before[-1] == 0


def test_the_exact_bound_of_the_finite_list_is_below_clopper_pearson() -> None:
    world = World(np.random.default_rng(10), errors=0.0)
    world.wrong[:] = False
    world.draw(60)
    world.answer_audit(1.0)
    found = whole(world.pairs(), ALPHA)
    assert found.bound is not None
    assert found.bound < 1.35 * clopper_pearson_upper(0, 60, alpha=ALPHA)
