"""Intervals by resampling queries, for statistics that are functions of sums over pairs.

The sums are kept per query, and a resample is how often it draws each query: 100,000 answers take a second or two.
The pairs of one query are not independent, so whole queries are drawn (cluster bootstrap: Davison and Hinkley 1997,
section 3.8); the intervals are expanded percentiles (Hesterberg 2015, The American Statistician 69, section 4.2).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]
    Codes = npt.NDArray[np.int64]

CONFIDENCE = 0.95
RESAMPLES = 1000
NO_SPREAD = "the same in every resample: no spread to be seen, which proves nothing"
MIN_QUERIES = 5  # with fewer, their resamples show hardly anything of the spread between queries

_CELLS = 4_000_000  # of one block of resamples; bounds it to 32 MB
_UNDEFINED = 0.05  # share of resamples without a value from which there is no interval


class Estimate(NamedTuple):
    """A coefficient with its interval. What cannot be told is None, and `reason` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class QuerySums:
    """Sums of features of pairs, over all queries and over every resample of queries."""

    def __init__(self, query: "Codes", rng: "np.random.Generator", resamples: int) -> None:
        """Draw the resamples.

        Args:
            query: the query of each pair, as numbers from 0 without gaps.
            rng: source of randomness.
            resamples: how many draws of as many queries as there are, with replacement.
        """
        self._query = query
        self.queries = int(query.max()) + 1
        # How often each resample draws each query, in blocks; the same for every coefficient.
        self._weights = list(_weights(self.queries, resamples, rng))

    def estimate(
        self,
        features: "Array",
        statistic: Callable[["Array"], "Array"],
        undefined: str,
        *,
        confidence: float = CONFIDENCE,
    ) -> Estimate:
        """Estimate a statistic of sums over pairs.

        Args:
            features: pairs x columns; their sums over pairs are what `statistic` takes.
            statistic: sets of sums (any number x columns) -> one value each, NaN where there is none.
            undefined: why there is none.
            confidence: of the two-sided interval.
        """
        return self.estimates(features, lambda sums: statistic(sums)[:, None], [undefined], confidence=confidence)[0]

    def estimates(
        self,
        features: "Array",
        statistic: Callable[["Array"], "Array"],
        undefined: Sequence[str],
        *,
        confidence: float = CONFIDENCE,
    ) -> list[Estimate]:
        """Estimate several statistics of the same sums: `statistic` gives a column for each."""
        import numpy as np

        per_query = np.stack(
            [np.bincount(self._query, column, minlength=self.queries) for column in features.T],
            axis=1,
            dtype=np.float64,
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            values = statistic(per_query.sum(axis=0)[None])[0]
            drawn = np.concatenate([statistic(weights @ per_query) for weights in self._weights])
        return [
            _with_interval(float(value), drawn[:, place], self.queries, undefined[place], confidence)
            for place, value in enumerate(values)
        ]


def _weights(queries: int, resamples: int, rng: "np.random.Generator") -> Iterator["npt.NDArray[np.uint8]"]:
    import numpy as np

    step = max(1, _CELLS // queries)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(queries, size=(rows, queries))
        drawn += np.arange(rows)[:, None] * queries
        counted = np.bincount(drawn.ravel(), minlength=rows * queries).reshape(rows, queries)
        yield counted.astype(np.uint8)  # a query is drawn once on average; 256 times never


def _with_interval(value: float, drawn: "Array", queries: int, undefined: str, confidence: float) -> Estimate:
    import numpy as np

    if math.isnan(value):
        return Estimate(None, reason=undefined)
    if queries < MIN_QUERIES:
        return Estimate(value, reason=f"{queries} quer{'y is' if queries == 1 else 'ies are'} too few for an interval")
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < (1 - _UNDEFINED) * len(drawn):
        return Estimate(value, reason="too few answers differ for an interval")
    if np.ptp(defined) < 1e-12:
        return Estimate(value, reason=NO_SPREAD)
    tail = _expanded_tail(queries, confidence)
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def _expanded_tail(clusters: int, confidence: float) -> float:
    """Return the tail of the percentile interval, widened for few clusters (Hesterberg 2015, section 4.2).

    The quantile of Student's t comes from its expansion in the normal's (Abramowitz and Stegun 1964, 26.7.5), which is
    off by 0.3 % at four degrees of freedom and by less beyond.
    """
    normal = NormalDist()
    z, free = normal.inv_cdf((1 + confidence) / 2), clusters - 1
    t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    return normal.cdf(-math.sqrt(clusters / free) * t)
