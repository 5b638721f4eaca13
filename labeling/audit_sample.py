"""What a random sample shows of the pairs that it was drawn from.

Chance enters by the draw of the audit and nowhere else: the pairs, their labels and the judge's answers are taken as
they are. So pairs of one query may be as alike as they please, and a bound holds all the same. What it speaks about is
the pairs that it names, and no future ones.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from labeling.bounds import Stratum, at_most, fixed_sequence, stratified_upper
from store.audits import ROLE_OF, Audit, AuditedPair, Group
from store.certificates import in_scope


class Sample(NamedTuple):
    """What an audit shows of the pairs of a group from a threshold of confidence on.

    - frame: all of them, as far as the audit might have drawn them; population: those that nobody has reviewed
    - sampled: drawn; answered: of these, blind; open: nobody has answered; unblind: answered otherwise
    - against: drawn and not shown to be right: wrong, unsettled, unsure, open or unblind
    - wrong: labels that people are known to contradict, drawn or not
    """

    threshold: float
    strata: tuple[Stratum, ...]
    frame: int
    population: int
    sampled: int
    answered: int
    open: int
    unblind: int
    against: int
    wrong: int


class Finding(NamedTuple):
    """What may be said of a sample: at most the share `bound` of its population is wrong; None: nothing."""

    sample: Sample
    bound: float | None
    holds: bool  # the bound is no more than what is tolerated


def sample_of(pairs: Sequence[AuditedPair], group: Group, threshold: float) -> Sample:
    """Sum up the pairs of a group from a threshold on."""
    frame = [pair for pair in pairs if in_scope(pair, group, threshold)]
    right = ROLE_OF[group]
    sampled = [pair for pair in frame if pair.sampled]
    bad = [pair for pair in sampled if not (pair.blind and pair.reviewed and pair.role == right)]
    size, drawn, errors = (Counter(pair.stratum for pair in some) for some in (frame, sampled, bad))
    known = [pair for pair in bad if pair.blind and pair.reviewed]
    # Of the others only what people settled to the contrary: an unsure answer beside a suggestion shows nothing.
    known += [
        p for p in frame if p.reviewed and not (p.sampled and p.blind) and p.role not in (right, None, "excluded")
    ]
    answered = sum(pair.blind and pair.reviewed for pair in sampled)
    unanswered = sum(not pair.reviewed for pair in sampled)
    return Sample(
        threshold=threshold,
        strata=tuple(Stratum(size[s], drawn[s], errors[s]) for s in sorted(size)),
        frame=len(frame),
        population=sum(not pair.reviewed for pair in frame),
        sampled=len(sampled),
        answered=answered,
        open=unanswered,
        unblind=len(sampled) - answered - unanswered,
        against=len(bad),
        wrong=len(known),
    )


def usable_thresholds(audit: Audit, group: Group, max_error: float, *, alpha: float) -> list[float]:
    """Return the thresholds that the sample is large enough for, were no error found; and 0, the whole group.

    It looks at who was drawn and at no answer, so leaving out the others is no choice by the result. Of thresholds
    that let the same pairs through, the loosest stands for all.
    """
    kept: dict[int, float] = {}
    for threshold in audit.thresholds:
        sample = sample_of(audit.pairs, group, threshold)
        clean = [Stratum(s.population, s.sampled, 0) for s in sample.strata]
        if sample.frame and stratified_upper(clean, alpha=alpha) <= tolerated(sample, max_error):
            kept[sample.frame] = threshold
    return [*(threshold for threshold in kept.values() if threshold > 0), 0.0]


def tolerated(sample: Sample, max_error: float) -> int:
    """Return how many errors the frame may hold, if those that are not reviewed are to keep below `max_error`.

    The pairs drawn are taken off first, since they will have been reviewed.
    """
    return int(max_error * (sample.frame - sample.sampled) + 1e-9)


def assess(
    pairs: Sequence[AuditedPair], group: Group, thresholds: Sequence[float], max_error: float, *, alpha: float
) -> Finding:
    """Find the loosest threshold at which at most `max_error` of the pairs that nobody has reviewed are wrong.

    The thresholds are tested from strict to loose, each by its exact p-value at the whole `alpha`, up to the first
    that fails (Learn Then Test, arXiv 2110.01052). With one threshold it is a plain upper bound. The errors that are
    known stand in reviewed pairs: they are taken off.

    Returns:
        What holds with probability 1 - alpha. Where no threshold of several does, it is about the whole group and has
        no bound.
    """
    samples = [sample_of(pairs, group, threshold) for threshold in thresholds]
    if len(samples) == 1:
        return bounded(samples[0], stratified_upper(samples[0].strata, alpha=alpha), max_error)
    limits = [tolerated(sample, max_error) for sample in samples]
    p_values = [_p_value(sample, limit, alpha) for sample, limit in zip(samples, limits, strict=True)]
    rejected = fixed_sequence(p_values, alpha=alpha)
    for sample, limit in list(zip(samples, limits, strict=True))[:rejected][::-1]:
        finding = bounded(sample, limit, max_error)
        if finding.holds:
            return finding
    return Finding(samples[-1], None, holds=False)  # a bound of its own would need a part of alpha of its own


def _p_value(sample: Sample, limit: int, alpha: float) -> float:
    """Return the p-value of "more than `limit` of the frame are wrong"; over several strata, only whether it passes."""
    if limit >= sample.frame:
        return 0.0
    if len(sample.strata) == 1:
        (stratum,) = sample.strata
        return at_most(stratum.errors, stratum.sampled, stratum.population, limit + 1)
    return 0.0 if stratified_upper(sample.strata, alpha=alpha) <= limit else 1.0


def bounded(sample: Sample, errors: int, max_error: float) -> Finding:
    """Turn a bound of the errors in the frame into one of the share among the pairs that nobody has reviewed."""
    if not sample.population:
        return Finding(sample, None, holds=False)
    bound = min(1.0, max(0, errors - sample.wrong) / sample.population)
    return Finding(sample, bound, bound <= max_error)


def observed_rate(sample: Sample) -> float:
    """Return the share of the pairs answered blind whose label was not confirmed; 0 without answers."""
    return (sample.against - sample.open - sample.unblind) / sample.answered if sample.answered else 0.0
