"""How many of the pairs are relevant: from the reviews of an audit alone, and with the judge's help."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from labeling.bounds import hypergeometric_upper
from store.audits import Audit

_ENOUGH = 5  # of each answer, for an interval by the normal distribution


class ShareEstimate(NamedTuple):
    """A share with its two-sided interval."""

    value: float
    low: float
    high: float


class Prevalence(NamedTuple):
    """The share of relevant pairs among all judged ones that an audit might have drawn.

    `plain` is what the reviews alone say, `assisted` what they say together with the judge's answers about the pairs
    that nobody reviewed; None where too few answers are of either kind for its interval.
    """

    pairs: int
    reviews: int
    plain: ShareEstimate
    assisted: ShareEstimate | None


def prevalence(audit: Audit, *, confidence: float) -> Prevalence | None:
    """Estimate the share of relevant pairs; None unless every pair drawn was answered blind and was as likely drawn.

    These are estimates, no bounds to rely on: no certificate hangs on them. An answer such as `unsure` counts as not
    relevant.
    """
    frame = [pair for pair in audit.pairs if pair.group is not None]
    sample = [pair for pair in frame if pair.sampled]
    usable = all(pair.blind and pair.reviewed for pair in sample) and len({pair.stratum for pair in frame}) == 1
    if not sample or not usable:
        return None
    relevant = [pair.role == "positive" for pair in sample]
    judged = [_relevance(pair.group != "negatives", pair.confidence) for pair in sample]
    everywhere = math.fsum(_relevance(pair.group != "negatives", pair.confidence) for pair in frame) / len(frame)
    return Prevalence(
        len(frame),
        len(sample),
        plain_share(sum(relevant), len(sample), len(frame), confidence=confidence),
        assisted_share(relevant, judged, everywhere, len(frame), confidence=confidence),
    )


def _relevance(positive: bool, confidence: float | None) -> float:
    """Return the judge's view as one number, 1 for surely relevant; without a confidence it is taken at its word."""
    sure = 1.0 if confidence is None else confidence
    return sure if positive else 1 - sure


def plain_share(relevant: int, sampled: int, population: int, *, confidence: float) -> ShareEstimate:
    """Return a share with its exact two-sided hypergeometric interval, from a random sample of a finite population.

    Raises:
        ValueError: counts that cannot be.
    """
    tail = (1 - confidence) / 2
    high = hypergeometric_upper(relevant, sampled, population, alpha=tail)
    low = population - hypergeometric_upper(sampled - relevant, sampled, population, alpha=tail)
    return ShareEstimate(relevant / sampled, low / population, high / population)


def assisted_share(
    relevant: Sequence[bool], judged: Sequence[float], judged_everywhere: float, population: int, *, confidence: float
) -> ShareEstimate | None:
    """Return a share by prediction-powered inference with power tuning (PPI++, arXiv 2311.01453).

    The share among the reviewed is corrected by how much the judge thinks of them beside all, times the coefficient
    that makes the variance least; a judge that knows nothing gets a coefficient near 0 and changes nothing. For a
    sample of a finite population that estimate is the regression estimator, and its variance is taken, which needs no
    independence between pairs (Cochran 1977, Sampling Techniques, section 7.4).

    Args:
        relevant: what people said of each pair of the sample.
        judged: what the judge thinks of each, from 0 to 1.
        judged_everywhere: the judge's mean over the whole population.
        population: its number of pairs.
        confidence: of the interval, by the normal distribution.

    Returns:
        None where fewer than five answers are of one kind: the interval would be too narrow.
    """
    import numpy as np
    from scipy.stats import norm

    said, thought = np.asarray(relevant, np.float64), np.asarray(judged, np.float64)
    size = len(said)
    if min(said.sum(), size - said.sum()) < _ENOUGH:
        return None
    spread = float(thought.var())
    coefficient = float(((said - said.mean()) * (thought - thought.mean())).mean()) / spread if spread > 0 else 0.0
    value = float(said.mean()) + coefficient * (judged_everywhere - float(thought.mean()))
    left = said - said.mean() - coefficient * (thought - thought.mean())
    variance = float((left**2).sum()) / (size - 2) / size * (1 - size / population)
    reach = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(variance)
    return ShareEstimate(value, max(0.0, value - reach), min(1.0, value + reach))
