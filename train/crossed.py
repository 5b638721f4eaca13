"""Intervals where both the queries and the seeds are a sample: of all queries there are, and of all chance in training.

The same seeds are measured on the same queries, so the two are crossed. Drawing both anew, independently of each
other, gives intervals that are not too narrow for either (the pigeonhole bootstrap: Owen 2007, Annals of Applied
Statistics 1(2)). A handful of seeds drawn with replacement scatters too little, by a factor of sqrt((n - 1) / n);
deviations of a seed from the mean of its query are enlarged by as much.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from train.experiments import Estimate, Gain
from train.statistics import CONFIDENCE, RESAMPLES, Difference

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_CELLS = 4_000_000  # bounds the memory of the resampling to some 64 MB


class Crossed:
    """Values of several columns, by query and seed, resampled together: every column sees the same draws."""

    def __init__(self, values: "npt.NDArray[np.float64]", groups: Sequence[str], *, seed: int = 0) -> None:
        """Draw groups of queries and seeds anew, many times.

        Args:
            values: shape (queries, seeds, columns), at least one of each.
            groups: the group of each query; whole groups are drawn.
            seed: of the draws.
        """
        import numpy as np

        queries, seeds, _ = values.shape
        if len(groups) != queries:
            raise ValueError(f"{len(groups)} groups for {queries} queries")
        names, self._member = np.unique(np.asarray(groups), return_inverse=True)
        self._by_query = values.mean(axis=1)
        self.groups = len(names)
        self.means = self._by_query.mean(axis=0)
        self.draws = self._drawn(values, np.random.default_rng(seed), seeds)  # shape (resamples, columns)

    def _drawn(self, values: "npt.NDArray[np.float64]", rng: "np.random.Generator", seeds: int) -> "np.ndarray":
        import numpy as np

        mean = self._by_query[:, None, :]
        enlarged = mean + (values - mean) * math.sqrt(seeds / max(1, seeds - 1))
        sums = np.zeros((self.groups, *enlarged.shape[1:]))
        np.add.at(sums, self._member, enlarged)
        sizes = np.bincount(self._member, minlength=self.groups).astype(np.float64)
        flat = sums.reshape(self.groups, -1)
        step = max(1, _CELLS // (self.groups + flat.shape[1]))
        means = []
        for start in range(0, RESAMPLES, step):
            size = min(step, RESAMPLES - start)
            times = rng.multinomial(self.groups, np.full(self.groups, 1 / self.groups), size=size)
            weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=size)
            by_seed = (times @ flat).reshape(size, *sums.shape[1:])
            means.append((by_seed * weights[:, :, None]).sum(axis=1) / (times @ sizes * seeds)[:, None])
        return np.concatenate(means)

    def bounds(self, draws: "npt.NDArray[np.float64]", *, questions: int = 1) -> tuple[float, float] | None:
        """Return the interval of what was drawn (shape (resamples,)): that of `train.statistics.paired_bootstrap`.

        Of several `questions` asked of the same data, all intervals hold at once as often as one would alone
        (Bonferroni). None where there is one group only.
        """
        import numpy as np
        from scipy.stats import norm, t

        if self.groups == 1:
            return None
        spread = math.sqrt(self.groups / (self.groups - 1)) * t.ppf(
            1 - (1 - CONFIDENCE) / 2 / questions, self.groups - 1
        )
        tail = float(norm.cdf(-spread))
        low, high = np.quantile(draws, [tail, 1 - tail])
        return float(low), float(high)

    def estimate(self, column: int) -> Estimate:
        """Return the mean of a column, a metric from 0 to 1, with its interval."""
        return shown(float(self.means[column]), self.bounds(self.draws[:, column]))

    def gain(self, column: int, baseline: int, *, questions: int = 1) -> Gain:
        """Return what one column has over another, and what may be said of it; see `bounds`."""
        difference = self._by_query[:, column] - self._by_query[:, baseline]
        bounds = self.bounds(self.draws[:, column] - self.draws[:, baseline], questions=questions)
        changed = len({int(group) for group, value in zip(self._member, difference, strict=True) if value})
        return claimed(float(difference.mean()), bounds, self.groups, changed)


def shown(value: float, bounds: tuple[float, float] | None) -> Estimate:
    """Return a metric with its interval, which ends where the metric does."""
    return Estimate(value, max(0.0, bounds[0]), min(1.0, bounds[1])) if bounds else Estimate(value, None, None)


def claimed(value: float, bounds: tuple[float, float] | None, groups: int, changed: int) -> Gain:
    """Say what may be said of a difference; `changed` of the `groups` of queries differ at all."""
    low, high = bounds or (None, None)
    verdict = Difference(value, *(bounds or (math.nan, math.nan)), groups, changed).verdict
    return Gain(value, low, high, verdict)
