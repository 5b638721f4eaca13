"""Statistics as pure functions: numbers in, named numbers out, randomness handed in."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CONFIDENCE = 0.95
RESAMPLES = 10_000

# Were a gain impossible, k groups that differ would all point one way with a chance of 2 ** (1 - k): with fewer than
# six that is more than 5 %, so not even a unanimous result would mean anything (the sign test's limit).
MIN_CHANGED_GROUPS = 6

# Bounds the memory of the resampling to some 64 MB.
_CELLS = 4_000_000
_ALL_SIGNS = 12  # groups up to which every way to flip signs is gone through


class Share(NamedTuple):
    """A share of `trials` with its interval; the value is NaN where there were no trials."""

    value: float
    low: float
    high: float
    successes: int
    trials: int


class Difference(NamedTuple):
    """A mean difference over queries with its interval.

    `groups` counts the clusters that were resampled, `changed` those in which the difference is not zero. The verdict
    is that of one question; where several are asked of the same data, see `holm`.
    """

    value: float
    low: float
    high: float
    groups: int
    changed: int

    @property
    def verdict(self) -> str:
        """What may be said: "gain", "loss", or "no claim" with the reason in brackets."""
        if math.isnan(self.low):
            return "no claim (too few queries for an interval)"
        if self.low <= 0 <= self.high:
            return "no claim (interval spans zero)"
        if self.changed < MIN_CHANGED_GROUPS:
            return f"no claim (only {self.changed} of {self.groups} query groups differ)"
        return "gain" if self.low > 0 else "loss"


def clopper_pearson(successes: int, trials: int) -> Share:
    """Return a share with its exact two-sided binomial interval (Clopper and Pearson 1934, Biometrika 26).

    The interval covers the true share in at least 95 of 100 samples, whatever their size; it holds for trials that were
    drawn at random and independently. Without trials it is all of [0, 1].

    Raises:
        ValueError: more successes than trials, or a negative count.
    """
    from scipy.stats import beta

    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    tail = (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, successes, trials - successes + 1)) if successes else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return Share(successes / trials if trials else math.nan, low, high, successes, trials)


def paired_bootstrap(
    differences: "npt.NDArray[np.float64]",
    groups: Sequence[str],
    *,
    rng: "np.random.Generator",
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> list[Difference]:
    """Return the mean of each column of per-query differences with its bootstrap interval.

    Whole groups are drawn, since queries of one group are not independent (cluster bootstrap: Davison and Hinkley
    1997, section 3.8). All columns see the same draws. The interval is the expanded percentile interval of Hesterberg
    (2015, The American Statistician 69, section 4.2): the plain percentile interval is too narrow by a factor of
    sqrt((n - 1) / n) and takes the normal for the t quantile, which among twenty groups costs several per cent of
    coverage.

    Args:
        differences: shape (queries, columns), tuned minus base.
        groups: the group of each query.
        rng: source of randomness; the same state gives the same intervals.
        resamples: how many draws.
        confidence: of the two-sided interval.

    Returns:
        One result a column. With one group the interval is NaN; without queries everything is.

    Raises:
        ValueError: `groups` and `differences` differ in length.
    """
    import numpy as np
    from scipy.stats import norm, t

    queries, columns = differences.shape
    if len(groups) != queries:
        raise ValueError(f"{len(groups)} groups for {queries} queries")
    if not queries:
        return [Difference(math.nan, math.nan, math.nan, 0, 0)] * columns
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    count = len(names)
    sizes = np.bincount(member, minlength=count).astype(np.float64)
    sums = np.zeros((count, columns))
    np.add.at(sums, member, differences)
    unlike = np.zeros((count, columns), dtype=bool)
    np.logical_or.at(unlike, member, differences != 0)
    means = differences.mean(axis=0)
    if count == 1:
        low = high = np.full(columns, math.nan)
    else:
        tail = float(norm.cdf(-math.sqrt(count / (count - 1)) * t.ppf((1 + confidence) / 2, count - 1)))
        drawn = _resampled_means(sums, sizes, rng, resamples)
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return [
        Difference(float(means[i]), float(low[i]), float(high[i]), count, int(unlike[:, i].sum()))
        for i in range(columns)
    ]


def _resampled_means(
    sums: "npt.NDArray[np.float64]", sizes: "npt.NDArray[np.float64]", rng: "np.random.Generator", resamples: int
) -> "npt.NDArray[np.float64]":
    """Draw as many groups as there are, with replacement, `resamples` times; return the mean of each draw's queries."""
    import numpy as np

    count = len(sizes)
    step = max(1, _CELLS // count)
    means = []
    for start in range(0, resamples, step):
        times = rng.multinomial(count, np.full(count, 1 / count), size=min(step, resamples - start))
        means.append((times @ sums) / (times @ sizes)[:, None])
    return np.concatenate(means)


def sign_flip_p(
    differences: "npt.NDArray[np.float64]",
    groups: Sequence[str],
    *,
    rng: "np.random.Generator",
    resamples: int = RESAMPLES,
) -> list[float]:
    """Return, for each column, how often chance alone gives a mean difference as far from zero (two-sided p).

    Were the two systems alike, each group of queries could as well have come out the other way round: the signs of
    whole groups are flipped at random (the randomization test of Smucker, Allan and Carterette, CIKM 2007, on
    clusters). Then the p-value errs on no side at any number of groups. Up to a dozen groups that differ, all ways to
    flip are gone through; beyond that, `resamples` are drawn, and the one that was seen counts as one more, so that p
    is never too small (Phipson and Smyth 2010).

    Args:
        differences: shape (queries, columns), tuned minus base.
        groups: the group of each query.
        rng: source of randomness.
        resamples: how many flips are drawn.

    Returns:
        One p a column; 1 where nothing differs.

    Raises:
        ValueError: `groups` and `differences` differ in length.
    """
    import numpy as np

    queries, columns = differences.shape
    if len(groups) != queries:
        raise ValueError(f"{len(groups)} groups for {queries} queries")
    if not queries:
        return [1.0] * columns
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), columns))
    np.add.at(sums, member, differences)
    seen = np.abs(sums.sum(axis=0))
    enough = seen - 1e-9 * np.maximum(seen, 1)  # what differs by rounding only is as far
    as_far = np.zeros(columns)
    step = max(1, _CELLS // len(names))
    for start in range(0, resamples, step):
        signs = rng.choice(np.array([-1.0, 1.0]), size=(min(step, resamples - start), len(names)))
        as_far += (np.abs(signs @ sums) >= enough).sum(axis=0)
    found = (as_far + 1) / (resamples + 1)
    for column in range(columns):
        own = sums[sums[:, column] != 0, column]
        if len(own) <= _ALL_SIGNS:
            ways = 1 - 2.0 * ((np.arange(2 ** len(own))[:, None] >> np.arange(len(own))) & 1)
            found[column] = (np.abs(ways @ own) >= enough[column]).mean()
    return [float(p) for p in found]


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values of several questions asked of the same data, in their order (Holm 1979, Scand. J. Statist. 6).

    With a limit of 5 % on what it returns, one or more false claims are made in at most 5 % of all cases, however the
    questions hang together.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for asked, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - asked) * p_values[i]))
        corrected[i] = largest
    return corrected
