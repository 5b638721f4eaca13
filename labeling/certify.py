"""From the answers of an audit to a statement about the judge's labels that nobody has checked."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labeling.audit_sample import (
    Finding,
    Sample,
    assess,
    bounded,
    confirmed,
    errors_at_most,
    observed_rate,
    sample_of,
    usable_thresholds,
)
from labeling.bounds import spent
from labeling.prevalence import Prevalence, prevalence
from labeling.sequential_bounds import reviews_needed
from store.audits import Audit, Group, audits_by_group, question_number, sample_of_all, shown_answers
from store.certificates import Certificate, add_certificate, evidence, in_scope
from store.database import Store
from store.errors import InvalidDataError, UsageError
from store.ids import content_id
from store.labels import Resolution, votes
from store.policies import Policy

MAX_ERROR = 0.05
CONFIDENCE = 0.95
WORTH_REVIEWING = 0.8  # the share of a group up to which an audit is extended; beyond it, one may as well review all


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How often two people who answered the same audited pair blind give it different roles."""

    pairs: int
    differ: int


@dataclass(frozen=True, slots=True)
class GroupResult:
    """What the audit says of one group.

    `finding` is what is certified, or else what there is to say of the whole group; `disagreement` is that of people
    about the pairs drawn, and `sensitivity` the bound if it always hid an error (None without overlap). Where nothing
    is certified, `finish` tells that answering the open ones may do, and `reviews` how many blind ones would do if
    errors turn up as they did: all in all where the audit can be extended, else of a fresh one (None: none would).
    `more` is by how many pairs the audit should be extended; 0: it cannot be, or that is not worth while.
    """

    group: Group
    audit_id: str
    drawn: bool  # at one stroke: the audit can be extended
    min_confidence: float  # of the pairs that it was drawn from
    finding: Finding
    level: float
    question: int
    certificate_id: str | None
    disagreement: Disagreement
    sensitivity: float | None
    reviews: int | None
    more: int
    finish: bool


@dataclass(frozen=True, slots=True)
class Certification:
    """The result of `certify`, group by group; groups without a pair are left out."""

    policy: str
    max_error: float
    confidence: float
    groups: tuple[GroupResult, ...]
    outside: int
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
    audits = audits_by_group(store, policy, resolution=resolution)
    told = sorted({judge for audit in audits.values() for judge in shown_answers(store, audit)})
    if told:
        raise InvalidDataError(
            f"{len(told)} judges of these pairs ({', '.join(told)}) were shown answers of the audit as examples: it"
            " cannot tell how they do on pairs that they were not shown",
            hint=f"uncited audit plan --policy {policy.name}",
        )
    groups = [
        _certify_group(store, policy, audit, group, resolution, max_error, confidence, record=True)
        for group, audit in audits.items()
        if any(pair.group == group for pair in audit.pairs)
    ]
    return Certification(
        policy.name,
        max_error,
        confidence,
        tuple(groups),
        outside(audits),
        prevalence(sample_of_all(store, policy, resolution=resolution), confidence=confidence),
    )


def _certify_group(
    store: Store,
    policy: Policy,
    audit: Audit,
    group: Group,
    resolution: Resolution,
    max_error: float,
    confidence: float,
    *,
    record: bool,
) -> GroupResult:
    thresholds = usable_thresholds(audit, group, max_error, alpha=spent(1 - confidence, 1))
    question_id = _question_id(policy, audit, group, thresholds, max_error, resolution)
    answered = any(pair.sampled and pair.reviewed for pair in audit.pairs)
    number = question_number(store, policy, group, audit.audit_id, question_id, record=record and answered)
    level = spent(1 - confidence, number)
    finding = assess(audit, group, usable_thresholds(audit, group, max_error, alpha=level), max_error, alpha=level)
    certificate_id = None
    if finding.holds and record:
        certificate = _certificate(policy, audit, group, finding, resolution, max_error, confidence, level, number)
        certificate_id = add_certificate(store, certificate)
    disagreement = _disagreement(store, policy, audit, group)
    again = level if audit.drawn else spent(1 - confidence, number + 1)
    reviews = None if finding.holds else _reviews(finding.sample, max_error, again)
    finish = not finding.holds and _all_open_right(audit, group, finding.sample.threshold, max_error, level)
    worthwhile = reviews is not None and reviews <= WORTH_REVIEWING * finding.sample.frame
    extensible = audit.drawn and not finish and worthwhile
    return GroupResult(
        group=group,
        audit_id=audit.audit_id,
        drawn=audit.drawn,
        min_confidence=audit.min_confidence,
        finding=finding,
        level=level,
        question=number,
        certificate_id=certificate_id,
        disagreement=disagreement,
        sensitivity=sensitivity(finding.bound, disagreement),
        reviews=reviews,
        more=max(0, reviews - finding.sample.sampled) if extensible and reviews is not None else 0,
        finish=finish,
    )


def extensions(
    store: Store,
    policy: Policy,
    audits: Mapping[Group, Audit],
    resolution: Resolution,
    max_error: float,
    confidence: float,
) -> dict[Group, int]:
    """Return by how many pairs `certify` would advise to extend which audits; it asks and keeps nothing."""
    found: dict[Group, int] = {}
    for group, audit in audits.items():
        if audit.drawn and any(pair.sampled and pair.reviewed and pair.group == group for pair in audit.pairs):
            more = _certify_group(store, policy, audit, group, resolution, max_error, confidence, record=False).more
            found |= {group: more} if more else {}
    return found


def outside(audits: Mapping[Group, Audit]) -> int:
    """Count the judged pairs that nobody has reviewed and that no audit of their group says anything about."""
    return sum(pair.group == group and not pair.reviewed for group, audit in audits.items() for pair in audit.others)


def check_goal(max_error: float, confidence: float) -> None:
    """Refuse goals that are no shares.

    Raises:
        UsageError: `max_error` or `confidence` is not between 0 and 1.
    """
    for name, value, usual in (("--max-error", max_error, MAX_ERROR), ("--confidence", confidence, CONFIDENCE)):
        if not 0 < value < 1:
            raise UsageError(f"{name} {value} is not between 0 and 1", hint=f"{name} {usual}")


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
    assert finding.bound_unreviewed is not None
    return Certificate(
        policy_name=policy.name,
        group=group,
        threshold=sample.threshold,
        population=sample.population,
        confirmed=sample.confirmed,
        bound=finding.bound,
        bound_unreviewed=finding.bound_unreviewed,
        max_error=max_error,
        confidence=confidence,
        level=level,
        question=number,
        sampled=sample.sampled,
        reviews=sample.answered,
        against=sample.against,
        shown=sample.shown,
        min_confidence=audit.min_confidence,
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
    """Name a question by all that may be chosen once answers are there.

    A plain bound takes no tolerated error. More pairs of the same audit are no choice (see `sequential_bounds`).
    """
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


def _reviews(sample: Sample, max_error: float, alpha: float) -> int | None:
    """Return the size of a sample that would do, if errors turn up at the rate at which they have so far."""
    return reviews_needed(max_error, alpha=alpha, population=sample.frame, expected=observed_rate(sample))


def _all_open_right(audit: Audit, group: Group, threshold: float, max_error: float, alpha: float) -> bool:
    """Tell whether the bound would do if every open pair were answered, and the judge were right about it."""
    after = [confirmed(pair, group) if pair.sampled and not pair.reviewed else pair for pair in audit.pairs]
    if after == list(audit.pairs):
        return False
    errors = errors_at_most(audit, after, group, threshold, alpha=alpha)
    return bounded(sample_of(after, group, threshold), errors, max_error).holds


def _disagreement(store: Store, policy: Policy, audit: Audit, group: Group) -> Disagreement:
    drawn = {pair.pair_id for pair in audit.pairs if pair.sampled and pair.blind and pair.group == group}
    roles: dict[str, list[str]] = defaultdict(list)
    for vote in votes(store, policy).to_pylist():
        if vote["pair_id"] in drawn:
            roles[vote["pair_id"]].append(policy.role(vote["label"]) if vote["label"] else "excluded")
    several = [given for given in roles.values() if len(given) > 1]
    return Disagreement(len(several), sum(len(set(given)) > 1 for given in several))


def sensitivity(bound: float | None, disagreement: Disagreement) -> float | None:
    """Return the bound if one of the two answers to each disputed pair is wrong, and always in the judge's favour.

    A single answer is then wrong in half as many cases as two differ. What all reviewers miss alike does not show. None
    where there is no bound, or no pair that two people answered.
    """
    if bound is None or not disagreement.pairs:
        return None
    return bound + (1 - bound) * disagreement.differ / disagreement.pairs / 2
