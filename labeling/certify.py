"""From the answers of an audit to a statement about the judge's labels that nobody has checked.

Chance enters by the draw of the audit and nowhere else: the pairs, their labels and the judge's answers are taken as
they are. So pairs of one query may be as alike as they please, and a bound holds all the same. What it speaks about is
the pairs that it names, and no future ones.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

from labeling.bounds import Stratum, at_most, fixed_sequence, reviews_needed, spent, stratified_upper
from labeling.prevalence import Prevalence, prevalence
from store.audits import ROLE_OF, Audit, AuditedPair, Group, newest_audit, question_number, shown_answers
from store.certificates import Certificate, add_certificate, evidence, in_scope
from store.database import Store
from store.errors import InvalidDataError, UsageError
from store.ids import content_id
from store.labels import Resolution, votes
from store.policies import Policy

MAX_ERROR = 0.05
CONFIDENCE = 0.95


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


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How often two people who answered the same audited pair blind give it different roles."""

    pairs: int
    differ: int


@dataclass(frozen=True, slots=True)
class GroupResult:
    """What the audit says of one group.

    `finding` is what is certified, or else what there is to say of the whole group; `sensitivity` the bound if the
    measured disagreement always hid an error (None without overlap); `more` how many blind reviews of a fresh audit
    would do if errors turn up as they did (None: none would, or not needed); `finish` tells that answering the open
    ones may do.
    """

    group: Group
    finding: Finding
    level: float
    question: int
    certificate_id: str | None
    sensitivity: float | None
    more: int | None
    finish: bool


@dataclass(frozen=True, slots=True)
class Certification:
    """The result of `certify`, group by group; groups without a pair are left out."""

    policy: str
    audit_id: str
    max_error: float
    confidence: float
    groups: tuple[GroupResult, ...]
    outside: int
    disagreement: Disagreement
    prevalence: Prevalence | None


def certify(
    store: Store,
    policy: Policy,
    *,
    resolution: Resolution,
    max_error: float = MAX_ERROR,
    confidence: float = CONFIDENCE,
) -> Certification:
    """Bound the errors among the judge's labels by the newest audit, and store a certificate where the bound permits.

    Asking the same again is free; every other question takes its part of the permitted error (see `bounds.spent`).
    No part is taken before the first blind answer.

    Raises:
        UsageError: `max_error` or `confidence` is not between 0 and 1.
        InvalidDataError: the judge was shown answers of this audit.
    """
    check_goal(max_error, confidence)
    audit = newest_audit(store, policy, resolution=resolution)
    told = shown_answers(store, audit)
    if told:
        raise InvalidDataError(
            f"{len(told)} judges of these pairs ({', '.join(told)}) were shown answers of the audit as examples: it"
            " cannot tell how they do on pairs that they were not shown",
            hint=f"uncited audit plan --policy {policy.name}",
        )
    disagreement = _disagreement(store, policy, audit)
    share = prevalence(audit, confidence=confidence)
    groups = []
    for group in get_args(Group):
        thresholds = usable_thresholds(audit, group, max_error, alpha=spent(1 - confidence, 1))
        whole = sample_of(audit.pairs, group, 0.0)
        if not whole.frame:
            continue
        question_id = _question_id(policy, audit, group, thresholds, max_error, resolution)
        answered = any(pair.sampled and pair.reviewed for pair in audit.pairs)
        number = question_number(store, policy, group, audit.audit_id, question_id, record=answered)
        level = spent(1 - confidence, number)
        finding = assess(
            audit.pairs, group, usable_thresholds(audit, group, max_error, alpha=level), max_error, alpha=level
        )
        certificate_id = None
        if finding.holds:
            certificate = _certificate(policy, audit, group, finding, resolution, max_error, confidence, level, number)
            certificate_id = add_certificate(store, certificate)
        groups.append(
            GroupResult(
                group=group,
                finding=finding,
                level=level,
                question=number,
                certificate_id=certificate_id,
                sensitivity=_sensitivity(finding.bound, disagreement),
                more=None if finding.holds else _more(finding.sample, max_error, spent(1 - confidence, number + 1)),
                finish=not finding.holds and _all_open_right(finding.sample, max_error, level),
            )
        )
    return Certification(
        policy.name, audit.audit_id, max_error, confidence, tuple(groups), audit.outside, disagreement, share
    )


def check_goal(max_error: float, confidence: float) -> None:
    """Refuse goals that are no shares.

    Raises:
        UsageError: `max_error` or `confidence` is not between 0 and 1.
    """
    for name, value in (("--max-error", max_error), ("--confidence", confidence)):
        if not 0 < value < 1:
            raise UsageError(f"{name} {value} is not between 0 and 1", hint=f"{name} 0.02")


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
        return _bounded(samples[0], stratified_upper(samples[0].strata, alpha=alpha), max_error)
    limits = [tolerated(sample, max_error) for sample in samples]
    p_values = [_p_value(sample, limit, alpha) for sample, limit in zip(samples, limits, strict=True)]
    rejected = fixed_sequence(p_values, alpha=alpha)
    for sample, limit in list(zip(samples, limits, strict=True))[:rejected][::-1]:
        finding = _bounded(sample, limit, max_error)
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


def _bounded(sample: Sample, errors: int, max_error: float) -> Finding:
    """Turn a bound of the errors in the frame into one of the share among the pairs that nobody has reviewed."""
    if not sample.population:
        return Finding(sample, None, holds=False)
    bound = min(1.0, max(0, errors - sample.wrong) / sample.population)
    return Finding(sample, bound, bound <= max_error)


def _certificate(
    policy: Policy,
    audit: Audit,
    group: Group,
    finding: Finding,
    resolution: Resolution,
    max_error: float,
    confidence: float,
    level: float,
    number: int,
) -> Certificate:
    sample = finding.sample
    assert finding.bound is not None
    return Certificate(
        policy_name=policy.name,
        group=group,
        threshold=sample.threshold,
        population=sample.population,
        bound=finding.bound,
        max_error=max_error,
        confidence=confidence,
        level=level,
        question=number,
        sampled=sample.sampled,
        reviews=sample.answered,
        against=sample.against,
        evidence=evidence(policy, audit, group, sample.threshold, resolution),
    )


def _question_id(
    policy: Policy,
    audit: Audit,
    group: Group,
    thresholds: Sequence[float],
    max_error: float,
    resolution: Resolution,
) -> str:
    """Name a question by all that may be chosen once answers are there. A plain bound takes no tolerated error."""
    pairs = sorted(
        (pair.pair_id, max((t for t in thresholds if in_scope(pair, group, t)), default=0.0))
        for pair in audit.pairs
        if pair.group == group
    )
    goal = max_error if len(thresholds) > 1 else None
    roles = {label.name: label.role for label in policy.answers}
    return content_id(
        "audit-question",
        policy.name,
        policy.labelling_fingerprint,
        roles,
        resolution,
        audit.audit_id,
        group,
        goal,
        pairs,
    )


def observed_rate(sample: Sample) -> float:
    """Return the share of the pairs answered blind whose label was not confirmed; 0 without answers."""
    return (sample.against - sample.open - sample.unblind) / sample.answered if sample.answered else 0.0


def _more(sample: Sample, max_error: float, alpha: float) -> int | None:
    """Return the size of a fresh sample that would do, if errors turn up at the rate at which they have so far."""
    if not sample.population:
        return None
    return reviews_needed(max_error, alpha=alpha, population=sample.population, expected=observed_rate(sample))


def _all_open_right(sample: Sample, max_error: float, alpha: float) -> bool:
    """Tell whether the bound would do if every open pair were answered, and the judge were right about it."""
    if not sample.open:
        return False
    share = (sample.against - sample.open) / sample.against
    strata = [Stratum(s.population, s.sampled, round(s.errors * share)) for s in sample.strata]
    after = sample._replace(population=sample.population - sample.open)
    return _bounded(after, stratified_upper(strata, alpha=alpha), max_error).holds


def _disagreement(store: Store, policy: Policy, audit: Audit) -> Disagreement:
    drawn = {pair.pair_id for pair in audit.pairs if pair.sampled and pair.blind}
    roles: dict[str, list[str]] = defaultdict(list)
    for vote in votes(store, policy).to_pylist():
        if vote["pair_id"] in drawn:
            roles[vote["pair_id"]].append(policy.role(vote["label"]) if vote["label"] else "excluded")
    several = [given for given in roles.values() if len(given) > 1]
    return Disagreement(len(several), sum(len(set(given)) > 1 for given in several))


def _sensitivity(bound: float | None, disagreement: Disagreement) -> float | None:
    """Return the bound if one of the two answers to each disputed pair is wrong, and always in the judge's favour.

    A single answer is then wrong in half as many cases as two differ.
    """
    if bound is None or not disagreement.pairs:
        return None
    return bound + (1 - bound) * disagreement.differ / disagreement.pairs / 2
