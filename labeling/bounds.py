"""Exact upper bounds of error rates, as pure functions.

All of them speak about a random sample of a fixed, finite list of pairs. Chance comes in by the draw alone, so nothing
is assumed about the pairs: those of one query may be as alike as they please, and the bounds hold. `alpha` is the
probability with which a bound may be too low.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

_FIRST_SHARE = 0.8  # of what is left of alpha goes to the next question


class Stratum(NamedTuple):
    """Part of a population with a random sample of its own, in which `errors` were found."""

    population: int
    sampled: int
    errors: int


def clopper_pearson_upper(errors: int, sampled: int, *, alpha: float) -> float:
    """Return the exact one-sided upper bound of a binomial rate (Clopper and Pearson 1934, Biometrika 26).

    It is the limit of `hypergeometric_upper` for a population without end. Without a sample it is 1.

    Raises:
        ValueError: more errors than were sampled, or a negative count.
    """
    from scipy.stats import beta

    if not 0 <= errors <= sampled:
        raise ValueError(f"{errors} errors in {sampled}")
    return float(beta.ppf(1 - alpha, errors + 1, sampled - errors)) if errors < sampled else 1.0


def hypergeometric_upper(errors: int, sampled: int, population: int, *, alpha: float) -> int:
    """Return the exact upper bound of the number of errors in a finite population, those found included.

    It is the largest number under which so few errors in the sample have a probability above `alpha` (the inversion of
    the hypergeometric test: Buonaccorsi 1987, The American Statistician 41; Konijn 1973, Statistical Theory of Sample
    Survey Design, IV.6). Where all are sampled it is the number found.

    Raises:
        ValueError: counts that cannot be: more errors than sampled, or more sampled than there are.
    """
    low, high = errors, population - (sampled - errors)  # both are possible; beyond `high` the sample is not
    if not 0 <= errors <= sampled <= population:
        raise ValueError(f"{errors} errors in {sampled} of {population}")
    while low < high:
        middle = (low + high + 1) // 2
        if at_most(errors, sampled, population, middle) > alpha:
            low = middle
        else:
            high = middle - 1
    return low


def at_most(errors: int, sampled: int, population: int, wrong: int) -> float:
    """Return the probability of at most `errors` errors in a sample, where `wrong` of the population are errors.

    As the p-value of "more than the tolerated number are wrong", with `wrong` one above that number, it is exact.
    """
    fewest = max(0, sampled - (population - wrong))
    logs = [
        _log_choose(wrong, found) + _log_choose(population - wrong, sampled - found)
        for found in range(fewest, min(errors, wrong, sampled) + 1)
    ]
    if not logs:
        return 0.0
    total = _log_choose(population, sampled)
    return min(1.0, math.fsum(math.exp(value - total) for value in logs))


def _log_choose(of: int, chosen: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(chosen + 1) - math.lgamma(of - chosen + 1)


def stratified_upper(strata: Sequence[Stratum], *, alpha: float) -> int:
    """Return an upper bound of the number of errors in several strata together.

    `alpha` is shared equally among the strata that were not sampled wholly, and their bounds are added up: should the
    sum be too low, one of them is (Bonferroni's inequality; for strata, Wright 1991, Exact Confidence Bounds when
    Sampling from Small Finite Universes). With one stratum nothing is lost.
    """
    open_strata = sum(stratum.sampled < stratum.population for stratum in strata)
    share = alpha / max(1, open_strata)
    return sum(hypergeometric_upper(s.errors, s.sampled, s.population, alpha=share) for s in strata)


def spent(alpha: float, number: int) -> float:
    """Return the part of `alpha` that the `number`-th question takes: four fifths of what those before it left.

    The parts add up to `alpha`, so with that probability no answer to any of the questions is wrong, however many are
    asked (Bonferroni's inequality with unequal weights: alpha spending as of Lan and DeMets 1983, Biometrika 70, by
    number of looks).

    Raises:
        ValueError: the first is number 1.
    """
    if number < 1:
        raise ValueError(f"no question has number {number}")
    return float(alpha * _FIRST_SHARE * (1 - _FIRST_SHARE) ** (number - 1))
