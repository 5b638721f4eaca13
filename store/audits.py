"""Audits: random samples of pairs that people answer blind, and what the sample was drawn from.

The first audit comes by itself: `draw_streams` draws each pair with a known probability as it goes to review. It ends
to grow with its first answer; pairs that come to review later lie outside of it. A further one is drawn by
`store.audit_draws` from pairs that nobody has answered, all of them or those of a group, and takes the place of those
before it: its sample is fresh, so whatever anybody did with the answers of earlier ones cannot make it look better than
it is. A drawn audit may be extended: its seed has fixed the order of all pairs that it might draw.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple, get_args

import pyarrow as pa

from store.database import Store
from store.labels import Resolution
from store.policies import Policy, Role
from store.review_streams import audit_place, audit_seed

Group = Literal["negatives", "promoted", "confirmed"]

# The pairs that are certified together. Cited chunks that the judge confirms are easier than uncited ones that it
# promotes, so the former must not lend the latter their good name.
ROLE_OF: dict[Group, Role] = {"negatives": "negative", "promoted": "positive", "confirmed": "positive"}

# Of the judge's confidence, from strict to loose. The last one takes all pairs, those without a confidence too.
THRESHOLDS = (0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.0)

FIRST_AUDIT = "review streams"


class AuditedPair(NamedTuple):
    """A pair that an audit might have drawn, as it is judged and reviewed now."""

    pair_id: str
    group: Group | None  # None: the judge gave it no label, or one that is excluded
    judge_id: str | None
    confidence: float | None
    stratum: float  # pairs of one stratum had the same probability of being drawn
    sampled: bool
    reviewed: bool  # by anybody
    blind: bool  # every answer was given blind, under this very question
    role: Role | None  # of the label that people settled; None: they settled none
    place: float = 0.0  # in the order in which people are asked, batch by batch
    shown: bool = False  # it had been put before reviewers with a judge's suggestion when it was drawn
    synthetic: bool = False  # a model wrote its question


@dataclass(frozen=True, slots=True)
class Audit:
    """An audit of a policy's question: the pairs that it might have drawn, and the candidates beside them."""

    audit_id: str
    thresholds: tuple[float, ...]
    pairs: tuple[AuditedPair, ...]
    others: tuple[AuditedPair, ...]
    group: Group | None = None  # None: of all groups
    min_confidence: float = 0.0  # it was drawn from pairs judged with at least this much

    @property
    def outside(self) -> int:
        """How many judged pairs that nobody has reviewed it says nothing about."""
        return sum(pair.group in (self.group or get_args(Group)) and not pair.reviewed for pair in self.others)

    @property
    def drawn(self) -> bool:
        """Whether it was drawn at one stroke, and may be extended, rather than by the streams of review."""
        return self.audit_id != FIRST_AUDIT


class AuditRow(NamedTuple):
    """What is stored of a drawn audit."""

    audit_id: str
    seed: str
    group: Group | None
    min_confidence: float
    pilot: bool
    thresholds: tuple[float, ...]


def audit_rows(store: Store, policy: Policy) -> list[AuditRow]:
    """Return the audits and pilots drawn under a policy's question, newest first."""
    rows = store.rows(
        """
        SELECT audit_id, seed, pair_group, min_confidence, pilot, thresholds FROM audits
        WHERE policy_name = ? AND labelling_fingerprint = ? ORDER BY drawn_at DESC, audit_id
        """,
        [policy.name, policy.labelling_fingerprint],
    )
    return [
        AuditRow(
            audit_id=str(row["audit_id"]),
            seed=str(row["seed"]),
            group=row["pair_group"],  # type: ignore[arg-type]
            min_confidence=row["min_confidence"],  # type: ignore[arg-type]
            pilot=bool(row["pilot"]),
            thresholds=tuple(row["thresholds"]),  # type: ignore[arg-type]
        )
        for row in rows
    ]


def row_about(rows: Iterable[AuditRow], group: Group | None) -> AuditRow | None:
    """Return the newest drawn audit about a group, or about all of them (None); pilots certify nothing."""
    return next((row for row in rows if not row.pilot and row.group in (None, group)), None)


def audits_by_group(store: Store, policy: Policy, *, resolution: Resolution) -> Mapping[Group, Audit]:
    """Return for each group the audit that counts: the newest one about it, or about all groups.

    Where nothing was ever drawn it is the one that the streams of review make. A group that no drawn audit is about
    has none then.
    """
    rows = audit_rows(store, policy)
    known: dict[str, Audit] = {}
    found: dict[Group, Audit] = {}
    for group in get_args(Group):
        row = row_about(rows, group)
        if row is None and rows:
            continue
        audit_id = row.audit_id if row else FIRST_AUDIT
        if audit_id not in known:
            known[audit_id] = _load(store, policy, row, resolution)
        found[group] = known[audit_id]
    return found


def sample_of_all(store: Store, policy: Policy, *, resolution: Resolution) -> Audit:
    """Return the newest random sample of all pairs, whatever their group: an audit, a pilot, or the review streams.

    It is empty where audits of single groups are all that was drawn: those have ended that of the streams, and put
    pairs of their group alone into them.
    """
    rows = audit_rows(store, policy)
    row = next((row for row in rows if row.group is None), None)
    if row is None and rows:
        return Audit(FIRST_AUDIT, THRESHOLDS, (), ())
    return _load(store, policy, row, resolution)


def _load(store: Store, policy: Policy, row: AuditRow | None, resolution: Resolution) -> Audit:
    """Read an audit, with its candidate pairs (near-repeats of cited chunks excepted) ordered by id."""
    found = store.table(
        f"""
        WITH frame AS ({_DRAWN if row else _FIRST}), answers AS (
            SELECT pair_id, bool_and(stream = 'audit' AND suggested IS NULL AND carried_from IS NULL) AS blind
            FROM current_reviews WHERE labelling_fingerprint = $fingerprint AND stream <> 'adjudication'
            GROUP BY pair_id
        ), settled AS (
            SELECT pair_id, label FROM labels($resolution)
            WHERE labelling_fingerprint = $fingerprint AND source = 'human'
        ), judged AS (
            SELECT pair_id, label, judge_id, confidence FROM current_judgments
            WHERE labelling_fingerprint = $fingerprint
        )
        SELECT pair_id, proposed, judged.label AS judged, judge_id, confidence, stratum, batch, coalesce(shown, false)
               AS shown, frame.pair_id IS NOT NULL AS inside, settled.pair_id IS NOT NULL AS reviewed,
               coalesce(blind, false) AS blind, settled.label,
               anchor_id IN (SELECT anchor_id FROM synthetic_anchors) AS synthetic
        FROM (FROM candidate_pairs WHERE policy_name = $policy AND duplicate_of IS NULL) AS candidates
        LEFT JOIN frame USING (pair_id) LEFT JOIN answers USING (pair_id)
        LEFT JOIN settled USING (pair_id) LEFT JOIN judged USING (pair_id)
        ORDER BY pair_id
        """,
        {"policy": policy.name, "fingerprint": policy.labelling_fingerprint, "resolution": resolution}
        | ({"audit": row.audit_id} if row else {}),
    ).to_pylist()
    seed = audit_seed(store, policy) or ""
    inside: list[AuditedPair] = []
    others: list[AuditedPair] = []
    for pair in found:
        (inside if pair["inside"] else others).append(
            AuditedPair(
                pair_id=pair["pair_id"],
                group=group_of(policy, pair["judged"], pair["proposed"]),
                judge_id=pair["judge_id"],
                confidence=pair["confidence"],
                stratum=pair["stratum"] or 0.0,
                sampled=pair["batch"] is not None,
                reviewed=pair["reviewed"],
                blind=pair["blind"],
                role=policy.role(pair["label"]) if pair["label"] is not None else None,
                place=pair["batch"] + audit_place(seed, pair["pair_id"]) if pair["batch"] else 0.0,
                shown=pair["shown"],
                synthetic=pair["synthetic"],
            )
        )
    audit_id, thresholds = (row.audit_id, row.thresholds) if row else (FIRST_AUDIT, THRESHOLDS)
    group, least = (row.group, row.min_confidence) if row else (None, 0.0)
    return Audit(audit_id, thresholds, tuple(inside), tuple(others), group, least)


_DRAWN = """
    SELECT pair_id, 0.0::DOUBLE AS stratum, batch, shown
    FROM (FROM audit_pairs WHERE audit_id = $audit)
    LEFT JOIN (FROM audit_draws WHERE audit_id = $audit) USING (pair_id)
"""

# Pairs of probability 0 were answered before they came to review (see `store.review_streams`).
_FIRST = """
    SELECT pair_id, probability AS stratum, CASE WHEN stream = 'audit' THEN 1 END AS batch, false AS shown
    FROM review_streams
    WHERE labelling_fingerprint = $fingerprint AND probability > 0 AND drawn_at <= coalesce((
        SELECT min(greatest(drawn_at, least(reviewed_at, recorded_at)))
        FROM reviews JOIN review_streams AS drawn USING (pair_id, labelling_fingerprint)
        WHERE labelling_fingerprint = $fingerprint AND drawn.stream = 'audit' AND carried_from IS NULL
    ), 'infinity'::TIMESTAMPTZ)
"""


def group_of(policy: Policy, judged: str | None, proposed: str) -> Group | None:
    """Return the group of a pair by the judge's label and by what its source proposed."""
    role = policy.role(judged) if judged is not None else "excluded"
    if role == "negative":
        return "negatives"
    if role == "positive":
        return "confirmed" if proposed == "positive" else "promoted"
    return None


def ids_hash(ids: Iterable[str]) -> str:
    """Hash a set of ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def question_number(
    store: Store, policy: Policy, group: Group, audit_id: str, question_id: str, *, record: bool
) -> int:
    """Return the number that a question to an audit has, or would have; with `record` it has it from now on."""
    known = store.scalar("SELECT number FROM audit_questions WHERE audit_question_id = ?", [question_id])
    if isinstance(known, int):
        return known
    number = questions_asked(store, policy, group) + 1
    if record:
        row = {
            "audit_question_id": [question_id],
            "labelling_fingerprint": [policy.labelling_fingerprint],
            "audit_id": [audit_id],
            "pair_group": [group],
            "number": pa.array([number], pa.int32()),
            "asked_at": pa.array([datetime.now(UTC)], pa.timestamp("us", tz="UTC")),
        }
        store.insert("audit_questions", pa.table(row))
    return number


def questions_asked(store: Store, policy: Policy, group: Group) -> int:
    """Count what has been asked about a group of pairs under a policy's question."""
    return store.count(
        "SELECT count(*) FROM audit_questions WHERE labelling_fingerprint = ? AND pair_group = ?",
        [policy.labelling_fingerprint, group],
    )


def shown_answers(store: Store, audit: Audit) -> list[str]:
    """Return the judges of an audit's pairs whose prompts show answers of its own sample as examples."""
    sampled = [pair.pair_id for pair in audit.pairs if pair.sampled]
    judges = sorted({pair.judge_id for pair in audit.pairs if pair.judge_id})
    columns = {"pair_id": pa.array(sampled, pa.string())}
    with store.view_of("sampled", pa.table(columns)):
        rows = store.rows(
            """
            SELECT DISTINCT judge_id FROM judges JOIN (
                SELECT DISTINCT example_set_id FROM example_set_pairs SEMI JOIN sampled USING (pair_id)
            ) ON contains(config::VARCHAR, example_set_id)
            WHERE judge_id IN (SELECT unnest($judges)) ORDER BY judge_id
            """,
            {"judges": judges},
        )
    return [str(row["judge_id"]) for row in rows]
