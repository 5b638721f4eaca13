"""Certificates: what an audit showed of a judge's labels, and whether it still holds.

A certificate names all that it rests on. Whether that is still so is found out each time it is used, from the reviews
and judgments as they stand then; nothing has to remember to take a certificate back.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

from store.audits import Audit, AuditedPair, Group, audits_by_group, ids_hash
from store.database import Store
from store.errors import MissingError
from store.ids import canonical_json, content_id
from store.labels import Resolution
from store.policies import Policy


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a certificate rests on. Where any of it has changed, the certificate is void."""

    labelling_fingerprint: str
    roles: Mapping[str, str]  # label -> role
    resolution: Resolution
    audit_id: str
    judges: Mapping[str, int]  # judge_id -> labels in the population
    population_hash: str  # of the ids of the pairs that it speaks about
    sample_hash: str  # of the ids of the pairs drawn, with what people settled about each


@dataclass(frozen=True, slots=True)
class Certificate:
    """With the `confidence` stated, at most the share `bound` of a judge's labels is wrong.

    It speaks about the pairs of a group that the judge labelled with at least `threshold` confidence (and
    `min_confidence`, if only such were drawn from): the `population` that nobody has reviewed, and those that people
    `confirmed`. All errors are among the former, so there it may be the share `bound_unreviewed`. `reviews` were given
    blind to pairs drawn at random; `against` counts the pairs drawn that are taken for errors, those without a usable
    answer included; `shown` those that had stood before reviewers with a judge's suggestion before they were drawn.
    `level` is the part of the permitted error that this question took, as the `question`-th.
    """

    policy_name: str
    group: Group
    threshold: float
    population: int
    confirmed: int
    bound: float
    bound_unreviewed: float
    max_error: float
    confidence: float
    level: float
    question: int
    sampled: int
    reviews: int
    against: int
    shown: int
    min_confidence: float
    evidence: Evidence
    issued_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def certificate_id(self) -> str:
        """Hash of all but the date: the same answers make the same certificate."""
        return content_id("certificate", self._body())

    def _body(self) -> dict[str, object]:
        return {name: value for name, value in asdict(self).items() if name != "issued_at"}


@dataclass(frozen=True, slots=True)
class Standing:
    """A certificate, and why it does not hold any more; no reasons: it does."""

    certificate_id: str
    certificate: Certificate
    void_because: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CertifiedLabels:
    """The pairs whose judge's label may be used, and the certificates that say so."""

    pair_ids: frozenset[str]
    certificate_ids: tuple[str, ...]


def in_scope(pair: AuditedPair, group: Group, threshold: float) -> bool:
    """Tell whether a pair is of the group and judged with at least this confidence; at 0 all are."""
    return pair.group == group and (threshold <= 0 or (pair.confidence is not None and pair.confidence >= threshold))


def evidence(policy: Policy, audit: Audit, group: Group, threshold: float, resolution: Resolution) -> Evidence:
    """Return what a certificate about a group of an audit's pairs would rest on, as it stands now."""
    scope = [pair for pair in audit.pairs if in_scope(pair, group, threshold)]
    population = [pair for pair in scope if not pair.reviewed]
    return Evidence(
        labelling_fingerprint=policy.labelling_fingerprint,
        roles={label.name: label.role for label in policy.answers},
        resolution=resolution,
        audit_id=audit.audit_id,
        judges=dict(Counter(str(pair.judge_id) for pair in population)),
        population_hash=ids_hash(pair.pair_id for pair in population),
        sample_hash=ids_hash(f"{pair.pair_id} {pair.blind} {pair.role}" for pair in scope if pair.sampled),
    )


def add_certificate(store: Store, certificate: Certificate) -> str:
    """Store a certificate and return its id; the same one is stored once, and keeps its date."""
    body = asdict(certificate)
    del body["issued_at"]
    row = {
        "certificate_id": [certificate.certificate_id],
        "policy_name": [certificate.policy_name],
        "pair_group": [certificate.group],
        "body": [canonical_json(body)],
        "issued_at": pa.array([certificate.issued_at], pa.timestamp("us", tz="UTC")),
    }
    store.insert("certificates", pa.table(row))
    return certificate.certificate_id


def standing_certificates(store: Store, policy: Policy, *, resolution: Resolution) -> list[Standing]:
    """Return the certificates of a policy, newest first, each with the reasons why it is void."""
    rows = store.rows(
        "SELECT certificate_id, body, issued_at FROM certificates WHERE policy_name = ? ORDER BY issued_at DESC, 1",
        [policy.name],
    )
    if not rows:
        return []
    audits = audits_by_group(store, policy, resolution=resolution)
    standing = []
    for row in rows:
        body = json.loads(str(row["body"]))
        certificate = Certificate(
            **{**body, "evidence": Evidence(**body["evidence"])},
            issued_at=row["issued_at"],  # type: ignore[arg-type]
        )
        audit = audits.get(certificate.group)
        now = evidence(policy, audit, certificate.group, certificate.threshold, resolution) if audit else None
        reasons = tuple(_changes(certificate.evidence, now)) if now else ("other samples have been drawn since",)
        standing.append(Standing(str(row["certificate_id"]), certificate, reasons))
    return standing


def _changes(then: Evidence, now: Evidence) -> Iterable[str]:
    if now.labelling_fingerprint != then.labelling_fingerprint:
        yield "the policy asks something else now"
        return
    if now.roles != then.roles:
        yield "the policy gives its labels other roles now"
    if now.resolution != then.resolution:
        yield f"the rule of resolution is {now.resolution} now, it was {then.resolution}"
    if now.audit_id != then.audit_id:
        yield "another audit has been drawn since"
        return
    if now.sample_hash != then.sample_hash:
        yield "answers to the audit have come or changed since"
    same_pairs = now.population_hash == then.population_hash
    if now.judges.keys() != then.judges.keys() or (same_pairs and now.judges != then.judges):
        yield "other judges have labelled the pairs since"
    if not same_pairs:
        yield "the pairs that it speaks about have changed since (judged anew, reviewed, or not candidates any more)"


def void_certificates(
    store: Store, policy: Policy, *, resolution: Resolution, ids: Collection[str] | None = None
) -> list[Standing]:
    """Return the certificates that do not hold any more: of these `ids`, or else the newest of each group."""
    standing = [] if ids is not None and not ids else standing_certificates(store, policy, resolution=resolution)
    wanted = _newest(standing).values() if ids is None else [s for s in standing if s.certificate_id in ids]
    return [found for found in wanted if found.void_because]


def _newest(standing: Sequence[Standing]) -> dict[Group, Standing]:
    newest: dict[Group, Standing] = {}
    for found in standing:
        newest.setdefault(found.certificate.group, found)
    return newest


def certified_labels(store: Store, policy: Policy, *, resolution: Resolution) -> CertifiedLabels:
    """Return the pairs of a policy whose judge's label is certified now: of each group, by its newest certificate.

    Raises:
        MissingError: there is no certificate that holds; the message says what became of those there were.
    """
    newest = _newest(standing_certificates(store, policy, resolution=resolution))
    valid = [found for found in newest.values() if not found.void_because]
    if not valid:
        void = "; ".join(f"the one of the {group}: {', '.join(s.void_because)}" for group, s in sorted(newest.items()))
        raise MissingError(
            f"the judge's labels of policy {policy.name!r} have no certificate"
            + (f" that holds ({void})" if void else "")
            + "; --uncertified uses them all the same, though nobody knows how many are wrong",
            hint=f"uncited certify --policy {policy.name}",
        )
    audits = audits_by_group(store, policy, resolution=resolution)
    pairs = frozenset(
        pair.pair_id
        for found in valid
        for pair in audits[found.certificate.group].pairs
        if not pair.reviewed and in_scope(pair, found.certificate.group, found.certificate.threshold)
    )
    return CertifiedLabels(pairs, tuple(sorted(found.certificate_id for found in valid)))
