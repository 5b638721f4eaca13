"""What a judge's confidence is worth, and a map that puts it right where people's labels show that it is off.

A judge's view of a pair is one number: how likely it takes the pair to be relevant (its label's role is positive).
Calibrated means: of the pairs at 0.8, people call 80 % relevant. Everything is measured by query, like all estimates.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from labeling.judge_quality import query_codes
from labeling.query_bootstrap import RESAMPLES, Estimate, QuerySums

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

Method = Literal["as it is", "logistic", "isotonic"]

FEWEST_PAIRS = 50  # below which no map is fitted
FEWEST_QUERIES = 10
_FOLDS = 5
_MOST_BINS = 10
_PAIRS_A_BIN = 15
_NO_PAIRS = "no pairs"
_EDGE = 0.005  # probabilities nearer to 0 or 1 than this count as this far from it, where logits are taken
_RIDGE = 0.5  # pulls the logistic map towards leaving things as they are: as much as half a pair would


class Bin(NamedTuple):
    """Pairs of like probability: what the judge said on average, and the share that people call relevant."""

    pairs: int
    predicted: float
    relevant: float
    low: float  # exact 95 % interval of that share, as if the pairs were independent
    high: float


@dataclass(frozen=True, slots=True)
class Recalibration:
    """A monotone map from what a judge says to what that is worth."""

    method: Method
    parameters: Mapping[str, Sequence[float]]

    def __call__(self, probabilities: "Floats") -> "Floats":
        """Map probabilities, shape (n,), to probabilities."""
        import numpy as np

        if self.method == "logistic":
            (intercept,), (slope,) = self.parameters["intercept"], self.parameters["slope"]
            return 1 / (1 + np.exp(-(intercept + slope * logits(probabilities))))
        if self.method == "isotonic":
            return np.interp(probabilities, self.parameters["said"], self.parameters["worth"])
        return probabilities


AS_IT_IS = Recalibration("as it is", {})


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well probabilities fit people's labels, and what was made of it.

    `brier` is the mean squared error (Brier 1950), `ece` the expected calibration error over bins of equal mass (Nixon
    et al. 2019, arXiv 1904.01685), which chance alone keeps above zero. `*_after` are those of the map, on queries
    that it was not fitted to; None where nothing was changed. `reason` says why the map is what it is.
    """

    pairs: int
    queries: int
    relevant: float  # share, according to people
    brier: Estimate
    ece: Estimate
    brier_after: Estimate | None
    ece_after: Estimate | None
    recalibration: Recalibration
    reason: str
    curve: tuple[Bin, ...]
    curve_after: tuple[Bin, ...]


def calibrate(
    probabilities: Sequence[float], relevant: Sequence[bool], queries: Sequence[str], *, rng: "np.random.Generator"
) -> Calibration:
    """Measure a judge's probabilities and recalibrate them, if that helps by more than chance would.

    Logistic (Platt 1999) and isotonic maps are fitted in five folds of whole queries. The one with the least Brier
    score on the queries left out is taken, if the interval of what it gains excludes zero; else nothing is changed.

    Args:
        probabilities: that the pair is relevant, as the judge sees it.
        relevant: whether people call it relevant.
        queries: of each pair.
        rng: source of randomness of the intervals.

    Raises:
        ValueError: there are no pairs.
    """
    import numpy as np

    said, truth = np.asarray(probabilities, np.float64), np.asarray(relevant, bool)
    if not len(said):
        raise ValueError("no pairs to calibrate on")
    sums = QuerySums(query_codes(queries), rng, RESAMPLES)
    recalibration, outside, reason = _chosen(said, truth, queries, sums)
    brier, ece = _errors(said, truth, sums)
    brier_after, ece_after = (None, None) if outside is None else _errors(outside, truth, sums)
    return Calibration(
        pairs=len(said),
        queries=sums.queries,
        relevant=float(truth.mean()),
        brier=brier,
        ece=ece,
        brier_after=brier_after,
        ece_after=ece_after,
        recalibration=recalibration,
        reason=reason,
        curve=curve(said, truth),
        curve_after=() if outside is None else curve(outside, truth),
    )


def _chosen(
    said: "Floats", truth: "Flags", queries: Sequence[str], sums: QuerySums
) -> "tuple[Recalibration, Floats | None, str]":
    """Return the map, what it makes of queries that it was not fitted to (None: no map), and why."""
    import numpy as np

    if len(said) < FEWEST_PAIRS or sums.queries < FEWEST_QUERIES:
        few = f"{len(said)} pairs of {sums.queries} queries: too few to fit a map ({FEWEST_PAIRS} and {FEWEST_QUERIES})"
        return AS_IT_IS, None, few
    if truth.all() or not truth.any():
        return AS_IT_IS, None, "people gave one answer only, so there is nothing to fit"
    outside = {method: _out_of_fold(method, said, truth, queries) for method in ("logistic", "isotonic")}
    errors = np.stack([(said - truth) ** 2 - (found - truth) ** 2 for found in outside.values()], axis=1)
    found = sums.estimates(_with_count(errors), _means, [_NO_PAIRS] * 2)
    gains = dict(zip(outside, found, strict=True))
    best = max(outside, key=lambda method: gains[method].value or 0.0)
    gain = gains[best]
    if gain.low is None:
        return AS_IT_IS, None, f"left as it is: {gain.reason}"
    span = f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
    if gain.low <= 0:
        return AS_IT_IS, None, f"left as it is: the best map, {best}, lowers the Brier score by {span}"
    return _fit(best, said, truth), outside[best], f"{best} lowers the Brier score by {span} on queries left out"


def _out_of_fold(method: str, said: "Floats", truth: "Flags", queries: Sequence[str]) -> "Floats":
    import numpy as np

    fold = np.array([int(hashlib.sha256(query.encode()).hexdigest()[:8], 16) % _FOLDS for query in queries])
    found = said.copy()
    for held in range(_FOLDS):
        inside = fold != held
        if inside.any():
            found[~inside] = _fit(method, said[inside], truth[inside])(said[~inside])
    return found


def _fit(method: str, said: "Floats", truth: "Flags") -> Recalibration:
    return logistic_map(said, truth) if method == "logistic" else _isotonic(said, truth)


def logistic_map(said: "Floats", truth: "Flags", *, ridge: float = _RIDGE) -> Recalibration:
    """Fit a logistic map (Platt 1999) of probabilities, shape (n,), to what is true; with a high `ridge` less so."""
    import numpy as np
    from scipy.optimize import minimize

    odds = logits(said)

    def loss(map_: "Floats") -> float:
        score = map_[0] + map_[1] * odds
        return float(np.sum(np.logaddexp(0, score) - truth * score) + ridge * (map_[0] ** 2 + (map_[1] - 1) ** 2))

    found = minimize(loss, np.array([0.0, 1.0]), bounds=[(None, None), (0, None)], method="L-BFGS-B").x
    return Recalibration("logistic", {"intercept": [float(found[0])], "slope": [float(found[1])]})


def _isotonic(said: "Floats", truth: "Flags") -> Recalibration:
    import numpy as np
    from scipy.optimize import isotonic_regression

    levels, member, sizes = np.unique(said, return_inverse=True, return_counts=True)
    shares = np.bincount(member, weights=truth) / sizes
    worth = isotonic_regression(shares, weights=sizes).x
    ends = np.flatnonzero(np.diff(worth, prepend=-1.0) + np.diff(worth, append=2.0))  # of every flat stretch
    return Recalibration("isotonic", {"said": levels[ends].tolist(), "worth": worth[ends].tolist()})


def _errors(said: "Floats", truth: "Flags", sums: QuerySums) -> list[Estimate]:
    """Estimate the Brier score and the expected calibration error."""
    import numpy as np

    member = equal_mass_bins(said)
    gaps = np.eye(int(member.max()) + 1)[member] * (said - truth)[:, None]
    features = _with_count(np.concatenate([((said - truth) ** 2)[:, None], gaps], axis=1))

    def statistic(found: "Floats") -> "Floats":
        means = _means(found)
        return np.stack([means[:, 0], np.abs(means[:, 1:]).sum(axis=1)], axis=1)

    return sums.estimates(features, statistic, [_NO_PAIRS] * 2)


def _with_count(features: "Floats") -> "Floats":
    import numpy as np

    return np.concatenate([features, np.ones((len(features), 1))], axis=1)


def _means(sums: "Floats") -> "Floats":
    """Make means of sums whose last column counts the pairs."""
    found: Floats = sums[:, :-1] / sums[:, -1:]
    return found


def equal_mass_bins(said: "Floats") -> "npt.NDArray[np.intp]":
    """Return the bin of each probability, from 0: at most ten of about equal mass; equal ones share a bin."""
    import numpy as np

    bins = max(1, min(_MOST_BINS, len(said) // _PAIRS_A_BIN))
    edges = np.unique(np.quantile(said, np.arange(1, bins) / bins, method="inverted_cdf"))
    return np.unique(np.searchsorted(edges, said, side="left"), return_inverse=True)[1]


def curve(said: "Floats", truth: "Flags") -> tuple[Bin, ...]:
    """Return the reliability curve, from the least probable bin to the most."""
    import numpy as np
    from scipy.stats import binomtest

    member = equal_mass_bins(said)
    found = []
    for index in range(int(member.max()) + 1):
        inside = member == index
        good, pairs = int(truth[inside].sum()), int(inside.sum())
        exact = binomtest(good, pairs).proportion_ci(0.95, method="exact")
        found.append(Bin(pairs, float(np.mean(said[inside])), good / pairs, float(exact.low), float(exact.high)))
    return tuple(found)


def logits(probabilities: "Floats") -> "Floats":
    """Return log-odds; of probabilities near 0 or 1, those of what is a little less so."""
    import numpy as np

    inside = np.clip(probabilities, _EDGE, 1 - _EDGE)
    found: Floats = np.log(inside / (1 - inside))
    return found
