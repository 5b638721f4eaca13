"""What a random sample shows of the pairs that it was drawn from.

Chance enters by the draw of the audit and nowhere else: the pairs, their labels and the judge's answers are taken as
they are. So pairs of one query may be as alike as they please, and a bound holds all the same. What it speaks about is
the pairs that it names, and no future ones.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from labeling.bounds import Stratum, stratified_upper
from labeling.sequential_bounds import sequential_upper
from store.audits import ROLE_OF, Audit, AuditedPair, Group
from store.certificates import in_scope


class Sample(NamedTuple):
    """What an audit shows of the pairs of a group from a threshold of confidence on.

    - frame: all of them, as far as the audit might have drawn them
    - population: those that nobody has reviewed; confirmed: those whose label people settled likewise
    - sampled: drawn; answered: of these, blind; open: nobody has answered; unblind: answered otherwise
    - shown: drawn, after they had been put before reviewers with a judge's suggestion
    - against: drawn and not shown to be right: wrong, unsettled, unsure, open or unblind
    - wrong: labels that people are known to contradict, drawn or not
    - synthetic: labels of the population and those confirmed whose question a model wrote; synthetic_sampled: drawn
    """

    threshold: float
    strata: tuple[Stratum, ...]
    frame: int
    population: int
    confirmed: int
    sampled: int
    answered: int
    open: int
    unblind: int
    shown: int
    against: int
    wrong: int
    synthetic: int
    synthetic_sampled: int


class Finding(NamedTuple):
    """What may be said of a sample. No bounds: nothing.

    At most the share `bound` is wrong of the labels that there are: those of the population and those confirmed. All
    errors that are left are in the population: there it may be the share `bound_unreviewed`.
    """

    sample: Sample
    bound: float | None
    bound_unreviewed: float | None
    holds: bool  # the bound is no more than what is tolerated


def sample_of(pairs: Sequence[AuditedPair], group: Group, threshold: float) -> Sample:
    """Sum up the pairs of a group from a threshold on."""
    frame = [pair for pair in pairs if in_scope(pair, group, threshold)]
    right = ROLE_OF[group]
    sampled = [pair for pair in frame if pair.sampled]
    bad = [pair for pair in sampled if counts_against(pair, group)]
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
        confirmed=sum(pair.reviewed and pair.role == right for pair in frame),
        sampled=len(sampled),
        answered=answered,
        open=unanswered,
        unblind=len(sampled) - answered - unanswered,
        shown=sum(pair.shown for pair in sampled),
        against=len(bad),
        wrong=len(known),
        synthetic=sum(pair.synthetic and (not pair.reviewed or pair.role == right) for pair in frame),
        synthetic_sampled=sum(pair.synthetic for pair in sampled),
    )


def counts_against(pair: AuditedPair, group: Group) -> bool:
    """Tell whether a pair that was drawn was not shown, blind, to be labelled rightly."""
    return not (pair.blind and pair.reviewed and pair.role == ROLE_OF[group])


def confirmed(pair: AuditedPair, group: Group) -> AuditedPair:
    """Return the pair as it would be, had people answered it blind as the judge did."""
    return pair._replace(reviewed=True, blind=True, role=ROLE_OF[group])


def usable_thresholds(audit: Audit, group: Group, max_error: float, *, alpha: float) -> list[float]:
    """Return the thresholds that the sample is large enough for, were no error found; and 0, the whole group.

    It looks at who was drawn and at no answer, so leaving out the others is no choice by the result. Of thresholds
    that let the same pairs through, the loosest stands for all.
    """
    kept: dict[int, float] = {}
    for threshold in audit.thresholds:
        clean = [
            confirmed(pair, group) if pair.sampled else pair for pair in audit.pairs if in_scope(pair, group, threshold)
        ]
        if clean and errors_at_most(audit, clean, group, threshold, alpha=alpha) <= tolerated(len(clean), max_error):
            kept[len(clean)] = threshold
    return [*(threshold for threshold in kept.values() if threshold > 0), 0.0]


def tolerated(frame: int, max_error: float) -> int:
    """Return how many pairs of the frame may be wrong, if no more than this share is to be.

    Once the errors found are taken out of both, the share of those that are left is no higher. What is tolerated
    depends on no answer and not on who is asked, so a hypothesis about it stays the same while people answer.
    """
    return int(max_error * frame + 1e-9)


def errors_at_most(audit: Audit, pairs: Sequence[AuditedPair], group: Group, threshold: float, *, alpha: float) -> int:
    """Bound the number of errors in the frame, those found included.

    The sample of an audit that was drawn at one stroke is taken in the order in which people are asked, so that one
    may stop or extend it; that of the review streams as it is when they are closed.
    """
    if not audit.drawn:
        return stratified_upper(sample_of(pairs, group, threshold).strata, alpha=alpha)
    frame = [pair for pair in pairs if in_scope(pair, group, threshold)]
    drawn = sorted((pair for pair in frame if pair.sampled), key=lambda pair: pair.place)
    wrong = [counts_against(pair, group) if pair.reviewed else None for pair in drawn]
    return sequential_upper(wrong, len(frame), alpha=alpha)


def assess(audit: Audit, group: Group, thresholds: Sequence[float], max_error: float, *, alpha: float) -> Finding:
    """Find the loosest threshold at which at most `max_error` of the labels are wrong.

    Thresholds are tested from strict to loose, each at the whole `alpha`, up to the first that fails: to pass wrongly,
    the first that is too loose must (fixed sequence testing in Learn Then Test, arXiv 2110.01052, section 3.1; Maurer,
    Hothorn and Lehmacher 1995). The one that passed last is certified for what is tolerated, and no less. With one
    threshold it is a plain upper bound.

    Returns:
        What holds with probability 1 - alpha. Where no threshold of several does, it is about the whole group and has
        no bound.
    """
    last = sample_of(audit.pairs, group, thresholds[-1])
    if len(thresholds) == 1:
        errors = errors_at_most(audit, audit.pairs, group, thresholds[-1], alpha=alpha)
        return bounded(last, errors, max_error)
    best = Finding(last, None, None, holds=False)  # a bound of its own would need a part of alpha of its own
    for threshold in thresholds:
        sample = sample_of(audit.pairs, group, threshold)
        limit = tolerated(sample.frame, max_error)
        if errors_at_most(audit, audit.pairs, group, threshold, alpha=alpha) > limit:
            break
        finding = bounded(sample, limit, max_error)
        best = finding if finding.holds else best
    return best


def bounded(sample: Sample, errors: int, max_error: float) -> Finding:
    """Turn a bound of the errors in the frame, those found included, into shares of those that are left."""
    if not sample.population:
        return Finding(sample, None, None, holds=False)
    left = min(sample.population, max(0, errors - sample.wrong))
    bound = left / (sample.population + sample.confirmed)
    return Finding(sample, bound, left / sample.population, bound <= max_error)


def observed_rate(sample: Sample) -> float:
    """Return the share of the pairs answered blind whose label was not confirmed; 0 without answers."""
    return (sample.against - sample.open - sample.unblind) / sample.answered if sample.answered else 0.0
