"""How many pairs are relevant, and how often a judge is wrong: from blind reviews alone, and with the judge's help."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from labeling.bounds import hypergeometric_upper
from store.audits import Audit, AuditedPair

_ENOUGH = 5  # pairs of each answer, and of those that a variance rests on, for an interval by the normal distribution


class ShareEstimate(NamedTuple):
    """A share with its two-sided interval."""

    value: float
    low: float
    high: float


class Estimated(NamedTuple):
    """A share by the reviews alone, and by them together with what the judge says of the pairs that nobody reviewed.

    `assisted` is None where too few answers are of either kind, or too few contradict the judge, for its interval;
    `unassisted_because` says so.
    """

    plain: ShareEstimate
    assisted: ShareEstimate | None
    unassisted_because: str | None = None


class Prevalence(NamedTuple):
    """Shares among all judged pairs that a sample might have held: of relevant pairs, and of the judge's errors."""

    pairs: int
    reviews: int
    relevant: Estimated
    wrong: Estimated


def prevalence(sample: Audit, *, confidence: float) -> Prevalence | None:
    """Estimate how many pairs are relevant, and how often the judge is wrong, from a random sample of all groups.

    These are estimates, no bounds to rely on: no certificate hangs on them. An answer such as `unsure` counts as not
    relevant, and as no error where the judge said likewise.

    Returns:
        None unless every pair drawn was answered blind and was as likely drawn.
    """
    frame = [pair for pair in sample.pairs if pair.group is not None]
    drawn = [pair for pair in frame if pair.sampled]
    usable = all(pair.blind and pair.reviewed for pair in drawn) and len({pair.stratum for pair in frame}) == 1
    if not drawn or not usable:
        return None

    def estimated(told: Sequence[bool], guess: Callable[[AuditedPair], float]) -> Estimated:
        everywhere = math.fsum(map(guess, frame)) / len(frame)
        guesses = [guess(pair) for pair in drawn]
        assisted = assisted_share(told, guesses, everywhere, len(frame), confidence=confidence)
        why = None if assisted else _too_little(told)
        return Estimated(plain_share(sum(told), len(told), len(frame), confidence=confidence), assisted, why)

    return Prevalence(
        len(frame),
        len(drawn),
        estimated([pair.role == "positive" for pair in drawn], _relevance),
        estimated([(pair.role == "positive") != (pair.group != "negatives") for pair in drawn], _doubt),
    )


def _too_little(told: Sequence[bool]) -> str:
    """Say why `assisted_share` gives nothing."""
    fewer = min(sum(told), len(told) - sum(told))
    if fewer < _ENOUGH:
        return f"of {len(told)} answers {fewer} are of one kind, and it takes {_ENOUGH} for an interval that holds"
    return f"the judge was wrong in so few answers that its interval would rest on fewer than {_ENOUGH}"


def _relevance(pair: AuditedPair) -> float:
    """Return the judge's view as one number, 1 for surely relevant; without a confidence it is taken at its word."""
    return _doubt(pair) if pair.group == "negatives" else 1 - _doubt(pair)


def _doubt(pair: AuditedPair) -> float:
    """Return the chance that the judge gives to its being wrong; none without a confidence."""
    return 0.0 if pair.confidence is None else 1 - pair.confidence


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
        None where fewer than five answers are of one kind, or a judge was so seldom wrong that the variance rests on
        fewer than five pairs: the interval would be too narrow, of no width where it was never wrong.
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
    squares = left**2
    if squares.sum() ** 2 < _ENOUGH * (squares**2).sum() or np.allclose(left, 0):
        return None
    variance = float(squares.sum()) / (size - 2) / size * (1 - size / population)
    reach = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(variance)
    return ShareEstimate(value, max(0.0, value - reach), min(1.0, value + reach))
