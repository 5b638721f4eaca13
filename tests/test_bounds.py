import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from labeling.bounds import (
    Stratum,
    at_most,
    clopper_pearson_upper,
    hypergeometric_upper,
    spent,
    stratified_upper,
)


@pytest.mark.parametrize(("errors", "sampled", "bound"), [(0, 59, 0.0495), (0, 149, 0.0199), (0, 299, 0.00997)])
def test_clopper_pearson_gives_the_numbers_that_everybody_knows(errors: int, sampled: int, bound: float) -> None:
    assert clopper_pearson_upper(errors, sampled, alpha=0.05) == pytest.approx(bound, rel=0.01)


def test_two_errors_in_a_hundred_bound_the_rate_by_six_per_cent_and_no_sample_by_one() -> None:
    assert clopper_pearson_upper(2, 100, alpha=0.05) == pytest.approx(0.0616, abs=1e-4)
    assert clopper_pearson_upper(0, 0, alpha=0.05) == 1
    assert clopper_pearson_upper(7, 7, alpha=0.05) == 1


@pytest.mark.parametrize("counts", [(3, 2), (-1, 2)])
def test_counts_that_cannot_be_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="errors in"):
        clopper_pearson_upper(*counts, alpha=0.05)
    with pytest.raises(ValueError, match="errors in"):
        hypergeometric_upper(*counts, 10, alpha=0.05)
    with pytest.raises(ValueError, match="of 3"):
        hypergeometric_upper(0, 4, 3, alpha=0.05)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_the_hypergeometric_bound_is_the_largest_number_that_the_sample_does_not_rule_out(data: st.DataObject) -> None:
    population = data.draw(st.integers(1, 150))
    sampled = data.draw(st.integers(0, population))
    errors = data.draw(st.integers(0, sampled))
    alpha = data.draw(st.sampled_from([0.2, 0.05, 0.04, 0.001]))
    bound = hypergeometric_upper(errors, sampled, population, alpha=alpha)
    assert at_most(errors, sampled, population, bound) == pytest.approx(
        hypergeom.cdf(errors, population, bound, sampled), abs=1e-9
    )
    possible = range(errors, population - (sampled - errors) + 1)
    kept = [wrong for wrong in possible if hypergeom.cdf(errors, population, wrong, sampled) > alpha + 1e-9]
    assert bound == (kept[-1] if kept else errors)
    assert bound <= population - (sampled - errors)


@given(population=st.integers(10, 120), share=st.floats(0, 1), sampled_share=st.floats(0.05, 1))
@settings(max_examples=30, deadline=None)
def test_the_bound_holds_exactly_as_often_as_it_says_by_summing_over_all_samples(
    population: int, share: float, sampled_share: float
) -> None:
    wrong, sampled = round(share * population), max(1, round(sampled_share * population))
    missed = sum(
        hypergeom.pmf(errors, population, wrong, sampled)
        for errors in range(max(0, sampled - population + wrong), min(wrong, sampled) + 1)
        if hypergeometric_upper(errors, sampled, population, alpha=0.05) < wrong
    )
    assert missed <= 0.05 + 1e-9


def test_a_large_population_is_as_good_as_an_endless_one_and_a_small_one_is_bounded_better() -> None:
    endless = clopper_pearson_upper(1, 120, alpha=0.05)
    assert hypergeometric_upper(1, 120, 1_000_000, alpha=0.05) / 1_000_000 == pytest.approx(endless, rel=1e-3)
    assert hypergeometric_upper(1, 120, 200, alpha=0.05) / 200 < 0.7 * endless
    assert hypergeometric_upper(3, 200, 200, alpha=0.05) == 3


def test_strata_share_alpha_and_those_sampled_wholly_take_none() -> None:
    one = Stratum(1000, 150, 2)
    assert stratified_upper([one], alpha=0.05) == hypergeometric_upper(2, 150, 1000, alpha=0.05)
    assert stratified_upper([one, Stratum(40, 40, 3)], alpha=0.05) == stratified_upper([one], alpha=0.05) + 3
    halves = [hypergeometric_upper(2, 150, 1000, alpha=0.025), hypergeometric_upper(0, 80, 500, alpha=0.025)]
    assert stratified_upper([one, Stratum(500, 80, 0)], alpha=0.05) == sum(halves)
    assert stratified_upper([], alpha=0.05) == 0


def test_strata_that_err_differently_are_bounded_together_where_one_pooled_sample_would_mislead() -> None:
    sizes, wrong, sampled = (200, 100), (4, 30), (60, 6)
    missed = pooled = 0.0
    for found in itertools.product(range(wrong[0] + 1), range(sampled[1] + 1)):
        chance = math.prod(hypergeom.pmf(*counts) for counts in zip(found, sizes, wrong, sampled, strict=True))
        strata = [Stratum(*counts) for counts in zip(sizes, sampled, found, strict=True)]
        missed += chance * (stratified_upper(strata, alpha=0.05) < sum(wrong))
        pooled += chance * (hypergeometric_upper(sum(found), sum(sampled), sum(sizes), alpha=0.05) < sum(wrong))
    assert missed <= 0.05
    assert pooled > 0.05


def test_all_questions_together_spend_no_more_than_alpha() -> None:
    parts = [spent(0.05, number) for number in range(1, 60)]
    assert parts[0] == pytest.approx(0.04)
    assert parts[1] == pytest.approx(0.008)
    assert math.fsum(parts) == pytest.approx(0.05)
    assert all(later < earlier for earlier, later in itertools.pairwise(parts))
    with pytest.raises(ValueError, match="number 0"):
        spent(0.05, 0)
