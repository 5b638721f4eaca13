"""Exact upper bounds of error rates that hold however long one goes on drawing, as pure functions.

Like those of `labeling.bounds`, they speak about a random sample of a fixed, finite list of pairs, and chance comes in
by the draw alone. Unlike those they take the sample in the order of its draw, and permit to look after each answer and
to stop, or to draw more, for whatever reason. A bound at the same `alpha` takes some more reviews for it: 68 without an
error instead of 63, to undercut 5 % in a long list at alpha 0.04.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Counts = npt.NDArray[np.int64]

_EXPECTED = (0.5, 100.0)  # of the Beta distribution of error rates that a bound bets on: one in two hundred
_MOST = 100_000  # reviews that a plan reckons with


def sequential_upper(wrong: Sequence[bool | None], population: int, *, alpha: float) -> int:
    """Return an upper bound of the number of errors in a finite population, those found included.

    With probability 1 - alpha none of the bounds is too low that one could compute after each pair drawn. A number of
    errors is ruled out once the answers are 1 / alpha times as likely if the share of errors had been drawn from a
    Beta distribution that expects few (the prior-posterior ratio of Waudby-Smith and Ramdas 2020, Confidence sequences
    for sampling without replacement, arXiv 2006.04347, which rests on Ville's inequality). Where other shares turn up
    than are expected the bound gets wide, and is as true.

    Args:
        wrong: of each pair drawn, in the order of the draw, whether it is an error; None: nobody knows yet. Such a one
            is taken for an error, unless those before it suffice, and none after it is known to be one.
        population: number of pairs, those drawn included.
        alpha: how often a bound may be too low.

    Raises:
        ValueError: more pairs were drawn than there are.
    """
    import numpy as np

    if len(wrong) > population:
        raise ValueError(f"{len(wrong)} of {population} were drawn")
    # No look before the last error: what it ruled out may have turned up since.
    since = max((place for place, error in enumerate(wrong, 1) if error), default=0)
    found = np.cumsum([False, *(error is not False for error in wrong)])[since:]
    drawn = np.arange(since, len(wrong) + 1)
    evidence = _log_expected(found, drawn) + math.log(alpha)

    def ruled_out(errors: int) -> bool:
        too_many = errors * drawn >= found * population  # else it is for being too few that they are unlikely
        return bool((too_many & (evidence >= _log_sequence(found, drawn, np.int64(errors), population))).any())

    low, high = int(found[0]), population - sum(error is False for error in wrong)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (low, middle - 1) if ruled_out(middle) else (middle, high)
    return low


def _log_expected(found: "Counts", drawn: "Counts") -> "Floats":
    """Return the log-probability of a sequence of `drawn` answers with `found` errors, under what is expected."""
    from scipy.special import betaln

    wrong, right = _EXPECTED
    expected: Floats = betaln(wrong + found, right + drawn - found) - betaln(wrong, right)
    return expected


def _log_sequence(found: "Counts", drawn: "Counts", errors: "Counts | np.int64", population: int) -> "Floats":
    """Return the log-probability of the same where `errors` of the population are wrong."""
    import numpy as np
    from scipy.special import gammaln

    def log_choose(of: "Counts | int", chosen: "Counts | np.int64") -> "Floats":
        chances: Floats = gammaln(of + 1) - gammaln(chosen + 1) - gammaln(of - chosen + 1)
        return chances

    left, wrong_left = population - drawn, errors - found
    possible = (wrong_left >= 0) & (wrong_left <= left)
    chances = log_choose(left, np.where(possible, wrong_left, 0)) - log_choose(population, errors)
    return np.where(possible, chances, -np.inf)


def reviews_needed(
    max_error: float, *, alpha: float, population: int | None = None, expected: float = 0.0
) -> int | None:
    """Return after how many reviews the bound undercuts a rate, if errors turn up at the rate `expected`.

    Without errors and in a long list these are 68 for 5 %, 186 for 2 %, 401 for 1 % at alpha 0.04. With them the
    number of errors is rounded up. Chance can be unkind, then it takes some more.

    Args:
        max_error: the rate to be undercut by what is left of the errors among what is left of the pairs, once those
            found have been taken out of both.
        alpha: how often the bound may be wrong.
        population: number of pairs, or None for very many.
        expected: rate of errors that is expected in the sample.

    Returns:
        None where no sample of up to a hundred thousand will do; it is so whenever `expected` is `max_error` or more.
    """
    import numpy as np

    if expected >= max_error:
        return None
    drawn = np.arange(1, min(_MOST, population or _MOST) + 1)
    found = np.ceil(expected * drawn - 1e-9).astype(np.int64)
    enough = np.flatnonzero(undercuts(found, drawn, max_error, population, alpha=alpha))
    return int(drawn[enough[0]]) if len(enough) else None


def undercuts(
    found: "Counts", drawn: "Counts", max_error: float, population: int | None, *, alpha: float
) -> "npt.NDArray[np.bool_]":
    """Tell for each number of errors found among so many drawn whether the bound undercuts `max_error`.

    The bound is that of what is left of the errors among what is left of the pairs, once those found have been taken
    out of both. `found` and `drawn` may be of any shapes that go together; `population` None is very many.
    """
    import numpy as np

    if population is None:
        against = found * math.log(max_error) + (drawn - found) * math.log1p(-max_error)
        fewer = found < max_error * drawn
    else:
        tolerated = np.floor(max_error * (population - found) + found + 1e-9).astype(np.int64)
        against = _log_sequence(found, drawn, tolerated + 1, population)
        fewer = found * population <= (tolerated + 1) * drawn
    enough: npt.NDArray[np.bool_] = fewer & (_log_expected(found, drawn) + math.log(alpha) >= against)
    return enough
