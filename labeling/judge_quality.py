"""How well a judge agrees with people: agreement, kappa and AUC, each with an interval over queries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labeling.query_bootstrap import RESAMPLES, Estimate, QuerySums
from store.policies import Policy

if TYPE_CHECKING:
    import numpy as np

    from labeling.query_bootstrap import Array, Codes

_LEVELS = 4  # decimals of a relevance that tell two pairs apart

_UNDEFINED = (
    "no pairs",
    "only one label was given, so agreement by chance is certain",
    "people call all pairs relevant, or none",
)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What people and one judge said about the same pairs, in the same order.

    `relevance` is the judge's view as one number (see the function of that name), `relevant` people's.
    """

    queries: Sequence[str]
    human: Sequence[str]
    judged: Sequence[str]
    relevant: Sequence[bool]
    relevance: Sequence[float]


@dataclass(frozen=True, slots=True)
class Quality:
    """How a judge does against people, or how much better one does than another.

    `agreement` is the share of equal labels, `kappa` Cohen's (1960, Educational and Psychological Measurement 20) over
    all labels, `auc` the chance that a relevant pair gets a higher relevance than another one, ties counting half.
    """

    pairs: int
    queries: int
    agreement: Estimate
    kappa: Estimate
    auc: Estimate


def relevance(policy: Policy, label: str, confidence: float | None) -> float:
    """Return a judge's view as one number: 1 surely positive, 0 surely not, 0.5 where its label is excluded.

    A judge without a confidence is taken at its word.
    """
    role = policy.role(label)
    if role == "excluded":
        return 0.5
    sure = 1.0 if confidence is None else confidence
    return sure if role == "positive" else 1 - sure


def quality(verdicts: Verdicts, *, rng: "np.random.Generator", resamples: int = RESAMPLES) -> Quality:
    """Measure one judge."""
    if not verdicts.queries:
        return Quality(0, 0, *[Estimate(None, reason="no pairs")] * 3)
    features, statistic = _features(verdicts)
    sums = QuerySums(query_codes(verdicts.queries), rng, resamples)
    return Quality(len(features), sums.queries, *sums.estimates(features, statistic, _UNDEFINED))


def gain(one: Verdicts, other: Verdicts, *, rng: "np.random.Generator", resamples: int = RESAMPLES) -> Quality:
    """Return how much better `one` does than `other` on the same pairs: all intervals are paired.

    Raises:
        ValueError: they are not about the same pairs.
    """
    import numpy as np

    if list(one.queries) != list(other.queries) or list(one.human) != list(other.human):
        raise ValueError("two judges are compared on the same pairs only")
    if not one.queries:
        return Quality(0, 0, *[Estimate(None, reason="no pairs")] * 3)
    ours, our_statistic = _features(one)
    theirs, their_statistic = _features(other)
    width = ours.shape[1]
    sums = QuerySums(query_codes(one.queries), rng, resamples)
    gains = sums.estimates(
        np.concatenate([ours, theirs], axis=1),
        lambda s: our_statistic(s[:, :width]) - their_statistic(s[:, width:]),
        _UNDEFINED,
    )
    return Quality(len(ours), sums.queries, *gains)


def claim(gained: Estimate) -> str:
    """Say what may be said of a gain: "better", "worse", or "no claim" with the reason."""
    if gained.low is None or gained.high is None:
        return f"no claim ({gained.reason})"
    if gained.low <= 0 <= gained.high:
        return "no claim (interval spans zero)"
    return "better" if gained.low > 0 else "worse"


def query_codes(queries: Sequence[str]) -> "Codes":
    """Number the queries from 0, without gaps."""
    import numpy as np

    return np.unique(np.asarray(queries), return_inverse=True)[1].astype(np.int64)


def _features(verdicts: Verdicts) -> "tuple[Array, Callable[[Array], Array]]":
    """Return features of pairs, and what makes agreement, kappa and AUC of their sums."""
    import numpy as np

    names, codes = np.unique([*verdicts.human, *verdicts.judged], return_inverse=True)
    size, pairs = len(names), len(verdicts.human)
    cell = codes[:pairs] * size + codes[pairs:]
    levels, level = np.unique(np.round(np.asarray(verdicts.relevance, np.float64), _LEVELS), return_inverse=True)
    relevant = np.asarray(verdicts.relevant, np.float64)[:, None]
    at_level = np.eye(len(levels))[level]
    features = np.concatenate([np.eye(size * size)[cell], at_level * relevant, at_level * (1 - relevant)], axis=1)

    def statistic(sums: "Array") -> "Array":
        square = sums[:, : size * size].reshape(-1, size, size)
        good, bad = np.split(sums[:, size * size :], 2, axis=1)
        return np.stack([*_agreement_and_kappa(square), _auc(good, bad)], axis=1)

    return features, statistic


def _agreement_and_kappa(counts: "Array") -> "tuple[Array, Array]":
    import numpy as np

    square = counts / counts.sum(axis=(1, 2), keepdims=True)
    agreement = np.trace(square, axis1=1, axis2=2)
    chance = (square.sum(axis=1) * square.sum(axis=2)).sum(axis=1)
    return agreement, (agreement - chance) / np.where(chance > 1 - 1e-12, np.nan, 1 - chance)


def _auc(good: "Array", bad: "Array") -> "Array":
    """Return the area under the ROC curve from counts of relevant and other pairs by rising level."""
    import numpy as np

    below = np.cumsum(bad, axis=1) - bad
    area: Array = (good * (below + bad / 2)).sum(axis=1) / (good.sum(axis=1) * bad.sum(axis=1))
    return area
