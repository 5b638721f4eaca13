import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaln
from scipy.stats import binom, hypergeom

from labeling.bounds import hypergeometric_upper
from labeling.sequential_bounds import reviews_needed, sequential_upper

ALPHA = 0.05
WORLDS = 1000


def naive(wrong: list[bool | None], population: int, alpha: float) -> int:
    """The same bound by its definition: the largest number of errors that no look since the last one has ruled out."""

    def likelihood(drawn: int, found: int, errors: int) -> float:
        if not 0 <= errors - found <= population - drawn:
            return 0.0
        return math.comb(population - drawn, errors - found) / math.comb(population, errors)

    kept = set(range(population + 1))
    for drawn in range(len(wrong) - [*wrong[::-1], True].index(True), len(wrong) + 1):
        found = sum(error is not False for error in wrong[:drawn])
        expected = math.exp(betaln(0.5 + found, 100 + drawn - found) - betaln(0.5, 100))
        kept -= {m for m in kept if m * drawn >= found * population and likelihood(drawn, found, m) <= alpha * expected}
    return max(m for m in kept if m <= population - wrong.count(False))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_bound_is_the_largest_number_of_errors_that_no_look_has_ruled_out(data: st.DataObject) -> None:
    population = data.draw(st.integers(1, 70))
    wrong = data.draw(st.lists(st.sampled_from([False, False, False, True, None]), max_size=population))
    assert sequential_upper(wrong, population, alpha=0.05) == naive(wrong, population, 0.05)


def test_whatever_the_rate_hardly_any_of_the_bounds_on_the_way_is_ever_too_low() -> None:
    rng = np.random.default_rng(1)
    for population, errors in ((80, 5), (300, 18), (300, 3)):
        wrong = np.arange(population) < errors
        # Within a run without errors the bound only falls, so one look at the end of each sees the lowest.
        false = 0
        for _ in range(WORLDS // 2):
            order = rng.permutation(wrong)[: population // 2].tolist()
            ends = [place for place, error in enumerate(order) if error]
            false += any(sequential_upper(order[:end], population, alpha=ALPHA) < errors for end in [*ends, len(order)])
        assert false <= binom.ppf(0.999, WORLDS // 2, ALPHA)


def test_a_bound_for_a_fixed_size_fails_the_same_test() -> None:
    rng = np.random.default_rng(1)
    false = 0
    for _ in range(WORLDS):
        wrong = rng.permutation(np.arange(300) < 18)
        false += any(
            hypergeometric_upper(int(wrong[:drawn].sum()), drawn, 300, alpha=ALPHA) < 18 for drawn in range(20, 151, 10)
        )
    assert false > binom.ppf(0.999, WORLDS, ALPHA)


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 100), st.sampled_from([0.3, 0.05, 0.008]))
@settings(max_examples=60, deadline=None)
def test_more_answers_never_raise_the_bound_but_by_errors_and_it_never_denies_what_was_found(
    wrong: list[bool], more: int, alpha: float
) -> None:
    population = len(wrong) + more
    bound = sequential_upper(wrong, population, alpha=alpha)
    assert sum(wrong) <= bound <= population - (len(wrong) - sum(wrong))
    unknown = [error or None for error in wrong]
    assert sequential_upper(unknown, population, alpha=alpha) >= bound
    if more:
        after = sequential_upper([*wrong, False], population, alpha=alpha)
        assert after <= bound


def test_a_whole_list_leaves_nothing_open_and_no_answers_leave_all() -> None:
    assert sequential_upper([False] * 9 + [True], 10, alpha=0.05) == 1
    assert sequential_upper([], 10, alpha=0.05) == 10
    assert sequential_upper([], 0, alpha=0.05) == 0
    with pytest.raises(ValueError, match="3 of 2"):
        sequential_upper([False] * 3, 2, alpha=0.05)


@pytest.mark.parametrize(("max_error", "needed"), [(0.05, 68), (0.02, 186), (0.01, 401)])
def test_the_reviews_needed_without_errors_are_those_of_the_docs(max_error: float, needed: int) -> None:
    assert reviews_needed(max_error, alpha=0.04) == needed


@pytest.mark.parametrize("population", [50, 300, 5000])
def test_what_is_needed_is_enough_and_one_less_is_not(population: int) -> None:
    for expected in (0.0, 0.01):
        needed = reviews_needed(0.05, alpha=0.04, population=population, expected=expected)
        assert needed is not None

        def left(drawn: int, expected: float = expected) -> float:
            found = math.ceil(expected * drawn - 1e-9)
            # The errors come first: no look on the way is better than the last one.
            bound = sequential_upper([True] * found + [False] * (drawn - found), population, alpha=0.04)
            return (bound - found) / (population - found)

        assert left(needed) <= 0.05 < left(needed - 1)


def test_hopeless_plans_are_named() -> None:
    assert reviews_needed(0.02, alpha=0.05, expected=0.02) is None
    assert hypergeom.cdf(0, 300, 15, 70) < 0.04, "the numbers above are not far from those for a fixed size"
