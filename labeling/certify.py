"""From the answers of an audit to a statement about the judge's labels that nobody has checked."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from labeling.audit_sample import Finding, Sample, assess, bounded, observed_rate, sample_of, usable_thresholds
from labeling.bounds import Stratum, reviews_needed, spent, stratified_upper
from labeling.prevalence import Prevalence, prevalence
from store.audits import Audit, Group, newest_audit, question_number, shown_answers
from store.certificates import Certificate, add_certificate, evidence, in_scope
from store.database import Store
from store.errors import InvalidDataError, UsageError
from store.ids import content_id
from store.labels import Resolution, votes
from store.policies import Policy

MAX_ERROR = 0.05
CONFIDENCE = 0.95


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
    return bounded(after, stratified_upper(strata, alpha=alpha), max_error).holds


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
