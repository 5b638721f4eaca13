"""Audits: random samples of pairs that people answer blind, and what the sample was drawn from.

The first audit comes by itself: `draw_streams` draws each pair with a known probability as it goes to review. It ends
to grow with its first answer; pairs that come to review later lie outside of it. A further one is drawn by `draw_audit`
from pairs that nobody has answered, and takes the place of those before it: its sample is fresh, so whatever anybody
did with the answers of earlier ones cannot make it look better than it is.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple, get_args

import pyarrow as pa

from store.database import Store
from store.errors import MissingError, UsageError
from store.ids import content_id
from store.labels import Resolution
from store.policies import Policy, Role
from store.review_streams import audit_seed, uniform

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


@dataclass(frozen=True, slots=True)
class Audit:
    """The newest audit of a policy's question: the pairs that it might have drawn, and the candidates beside them."""

    audit_id: str
    thresholds: tuple[float, ...]
    pairs: tuple[AuditedPair, ...]
    others: tuple[AuditedPair, ...]

    @property
    def outside(self) -> int:
        """How many judged pairs that nobody has reviewed it says nothing about."""
        return sum(pair.group is not None and not pair.reviewed for pair in self.others)


class Draw(NamedTuple):
    """What `draw_audit` drew. `unseen` of the pairs drawn have not been put before reviewers yet."""

    audit_id: str
    population: int
    size: int
    unseen: int


def newest_audit(store: Store, policy: Policy, *, resolution: Resolution) -> Audit:
    """Return the newest audit, with its candidate pairs (near-repeats of cited chunks excepted), ordered by id."""
    rows = store.table(
        """
        SELECT audit_id, thresholds FROM audits WHERE policy_name = ? AND labelling_fingerprint = ?
        ORDER BY drawn_at DESC, audit_id LIMIT 1
        """,
        [policy.name, policy.labelling_fingerprint],
    ).to_pylist()
    audit_id = rows[0]["audit_id"] if rows else FIRST_AUDIT
    thresholds = tuple(rows[0]["thresholds"]) if rows else THRESHOLDS
    found = store.table(
        f"""
        WITH frame AS ({_DRAWN if rows else _FIRST}), answers AS (
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
        SELECT pair_id, proposed, judged.label AS judged, judge_id, confidence, stratum, coalesce(sampled, false) AS
               sampled, frame.pair_id IS NOT NULL AS inside, settled.pair_id IS NOT NULL AS reviewed,
               coalesce(blind, false) AS blind, settled.label
        FROM (FROM candidate_pairs WHERE policy_name = $policy AND duplicate_of IS NULL) AS candidates
        LEFT JOIN frame USING (pair_id) LEFT JOIN answers USING (pair_id)
        LEFT JOIN settled USING (pair_id) LEFT JOIN judged USING (pair_id)
        ORDER BY pair_id
        """,
        {"policy": policy.name, "fingerprint": policy.labelling_fingerprint, "resolution": resolution}
        | ({"audit": audit_id} if rows else {}),
    ).to_pylist()
    inside: list[AuditedPair] = []
    others: list[AuditedPair] = []
    for row in found:
        (inside if row["inside"] else others).append(
            AuditedPair(
                pair_id=row["pair_id"],
                group=_group(policy, row["judged"], row["proposed"]),
                judge_id=row["judge_id"],
                confidence=row["confidence"],
                stratum=row["stratum"] or 0.0,
                sampled=row["sampled"],
                reviewed=row["reviewed"],
                blind=row["blind"],
                role=policy.role(row["label"]) if row["label"] is not None else None,
            )
        )
    return Audit(audit_id, thresholds, tuple(inside), tuple(others))


_DRAWN = "SELECT pair_id, sampled, 0.0::DOUBLE AS stratum FROM audit_pairs WHERE audit_id = $audit"

# Pairs of probability 0 were answered before they came to review (see `store.review_streams`).
_FIRST = """
    SELECT pair_id, stream = 'audit' AS sampled, probability AS stratum FROM review_streams
    WHERE labelling_fingerprint = $fingerprint AND probability > 0 AND drawn_at <= coalesce((
        SELECT min(greatest(drawn_at, least(reviewed_at, recorded_at)))
        FROM reviews JOIN review_streams AS drawn USING (pair_id, labelling_fingerprint)
        WHERE labelling_fingerprint = $fingerprint AND drawn.stream = 'audit' AND carried_from IS NULL
    ), 'infinity'::TIMESTAMPTZ)
"""


def _group(policy: Policy, judged: str | None, proposed: str) -> Group | None:
    role = policy.role(judged) if judged is not None else "excluded"
    if role == "negative":
        return "negatives"
    if role == "positive":
        return "confirmed" if proposed == "positive" else "promoted"
    return None


def drawable_pairs(store: Store, policy: Policy) -> list[str]:
    """Return the candidate pairs from which an audit may be drawn, ordered by id.

    Nobody has answered them, and nobody can have seen a judge's suggestion with them: they were never put before
    reviewers, or only blind.
    """
    found = store.table(
        """
        SELECT pair_id FROM candidate_pairs
        LEFT JOIN (FROM review_streams WHERE labelling_fingerprint = $fingerprint) AS drawn USING (pair_id)
        ANTI JOIN (SELECT pair_id FROM reviews WHERE labelling_fingerprint = $fingerprint) AS answered USING (pair_id)
        WHERE policy_name = $policy AND duplicate_of IS NULL
              AND (coalesce(stream, '') = 'audit' OR pair_id NOT IN (SELECT pair_id FROM review_records))
        ORDER BY pair_id
        """,
        {"policy": policy.name, "fingerprint": policy.labelling_fingerprint},
    )
    return [str(pair) for pair in found["pair_id"].to_pylist()]


def draw_audit(store: Store, policy: Policy, size: int) -> Draw:
    """Draw an audit at random from all pairs that may be drawn, and freeze it with its population and thresholds.

    Raises:
        UsageError: `size` is below 1.
        MissingError: fewer pairs than `size` may be drawn.
    """
    if size < 1:
        raise UsageError(f"an audit of {size} pairs says nothing: at least 1")
    population = drawable_pairs(store, policy)
    if len(population) < size:
        raise MissingError(
            f"{size} pairs of policy {policy.name!r} cannot be drawn: only {len(population)} are left that nobody has"
            " answered and that were never put before reviewers together with a judge's suggestion",
            hint=f"uncited mine --policy {policy.name}",
        )
    seed = secrets.token_hex(16)
    chosen = set(sorted(population, key=lambda pair: uniform(seed, "audit", pair))[:size])
    population_hash = ids_hash(population)
    audit_id = content_id("audit", policy.name, policy.labelling_fingerprint, seed, population_hash, size)
    now = datetime.now(UTC)
    with store.transaction():
        _count_replaced(store, policy)
        unseen = _move_to_audit(store, policy, chosen, size / len(population), now)
        store.insert(
            "audits",
            pa.table(
                {
                    "audit_id": [audit_id],
                    "policy_name": [policy.name],
                    "labelling_fingerprint": [policy.labelling_fingerprint],
                    "seed": [seed],
                    "population": pa.array([len(population)], pa.int64()),
                    "population_hash": [population_hash],
                    "size": pa.array([size], pa.int64()),
                    "thresholds": pa.array([list(THRESHOLDS)], pa.list_(pa.float64())),
                    "drawn_at": pa.array([now], pa.timestamp("us", tz="UTC")),
                }
            ),
        )
        columns = {
            "audit_id": pa.array([audit_id] * len(population), pa.string()),
            "pair_id": pa.array(population, pa.string()),
            "sampled": pa.array([pair in chosen for pair in population], pa.bool_()),
        }
        store.insert("audit_pairs", pa.table(columns))
    return Draw(audit_id, len(population), size, unseen)


def _move_to_audit(store: Store, policy: Policy, chosen: set[str], probability: float, now: datetime) -> int:
    """Put the chosen pairs into the audit stream; return how many were not in it."""
    seed = audit_seed(store, policy) or secrets.token_hex(16)
    pairs = sorted(chosen)
    fingerprint = policy.labelling_fingerprint
    with store.view_of("chosen", pa.table({"pair_id": pa.array(pairs, pa.string())})):
        there = store.count(
            """
            SELECT count(*) FROM review_streams SEMI JOIN chosen USING (pair_id)
            WHERE labelling_fingerprint = ? AND stream = 'audit'
            """,
            [fingerprint],
        )
        store.execute(
            """
            UPDATE review_streams SET stream = 'audit', probability = $probability, drawn_at = $now
            WHERE labelling_fingerprint = $fingerprint AND stream = 'targeted'
                  AND pair_id IN (SELECT pair_id FROM chosen)
            """,
            {"probability": probability, "now": now, "fingerprint": fingerprint},
        )
    columns = {
        "pair_id": pa.array(pairs, pa.string()),
        "labelling_fingerprint": pa.array([fingerprint] * len(pairs), pa.string()),
        "stream": pa.array(["audit"] * len(pairs), pa.string()),
        "probability": pa.array([probability] * len(pairs), pa.float64()),
        "seed": pa.array([seed] * len(pairs), pa.string()),
        "drawn_at": pa.array([now] * len(pairs), pa.timestamp("us", tz="UTC")),
    }
    store.insert("review_streams", pa.table(columns))
    return len(pairs) - there


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


def _count_replaced(store: Store, policy: Policy) -> None:
    """Let the audit that is about to be replaced count as asked, if there are answers to it.

    Else one could read the answers, draw again until they please, and ask for the first time only then.
    """
    audit = newest_audit(store, policy, resolution="majority")
    if not any(pair.sampled and pair.reviewed for pair in audit.pairs):
        return
    for group in get_args(Group):
        asked = store.scalar(
            "SELECT 1 FROM audit_questions WHERE labelling_fingerprint = ? AND audit_id = ? AND pair_group = ?",
            [policy.labelling_fingerprint, audit.audit_id, group],
        )
        if not asked:
            unasked = content_id("audit-question", policy.labelling_fingerprint, audit.audit_id, group)
            question_number(store, policy, group, audit.audit_id, unasked, record=True)


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
