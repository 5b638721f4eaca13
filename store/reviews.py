"""Reviews: what people answered about pairs. Append-only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa

from store.database import Store
from store.ids import content_id
from store.policies import Policy

_UTC = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One answer of a reviewer about a pair under a labelling fingerprint.

    `label` is None exactly when the reviewer discarded the pair as unanswerable. `origin` says where the answer
    stands: an Argilla record, or a file and line.
    """

    pair_id: str
    labelling_fingerprint: str
    reviewer: str
    status: Literal["submitted", "discarded"]
    label: str | None
    stream: Literal["targeted", "audit", "imported", "adjudication"]
    reviewed_at: datetime
    origin: str
    note: str | None = None

    @property
    def review_id(self) -> str:
        """Hash of who answered what, when: the same answer fetched twice is one review."""
        return content_id(
            "review",
            self.pair_id,
            self.labelling_fingerprint,
            self.reviewer,
            self.status,
            self.label,
            self.reviewed_at.astimezone(UTC).isoformat(),
        )


def add_reviews(store: Store, reviews: Sequence[Review]) -> int:
    """Append reviews; return how many were new. Those fetched before are left alone."""
    return store.insert(
        "reviews",
        pa.table(
            {
                "review_id": pa.array([r.review_id for r in reviews], pa.string()),
                "pair_id": pa.array([r.pair_id for r in reviews], pa.string()),
                "labelling_fingerprint": pa.array([r.labelling_fingerprint for r in reviews], pa.string()),
                "reviewer": pa.array([r.reviewer for r in reviews], pa.string()),
                "status": pa.array([r.status for r in reviews], pa.string()),
                "label": pa.array([r.label for r in reviews], pa.string()),
                "stream": pa.array([r.stream for r in reviews], pa.string()),
                "note": pa.array([r.note for r in reviews], pa.string()),
                "reviewed_at": pa.array([r.reviewed_at for r in reviews], _UTC),
                "recorded_at": pa.array([datetime.now(UTC)] * len(reviews), _UTC),
                "origin": pa.array([r.origin for r in reviews], pa.string()),
            }
        ),
    )


@dataclass(frozen=True, slots=True)
class PairToReview:
    """A candidate pair with all that a reviewer may want to see."""

    pair_id: str
    anchor: str
    chunk: str
    kind: str
    proposed: str  # positive or negative
    sources: tuple[str, ...]
    rank: int | None
    score: float | None
    grade: float | None  # the highest that the logs give it in a signal of that name
    reference: str | None  # the cited chunk of the same anchor that ranks best; None for candidate positives
    answer: str | None
    log_source: str | None
    label: str | None  # the judge's
    reason: str | None  # the judge's
    quote: str | None  # the judge's, only where it really is in the chunk
    judge_model: str | None  # the model that answered
    triage_score: float | None  # higher: more likely relevant
    reviewed: bool


def pairs_to_review(store: Store, policy: Policy) -> list[PairToReview]:
    """Return the candidate pairs of a policy for review, except those settled as repeating a cited chunk.

    Order: by anchor's first appearance is left to the caller; here by anchor_id, rank, pair_id.
    """
    found = store.table(
        """
        WITH wanted AS (
            SELECT * FROM candidate_pairs WHERE policy_name = $policy AND duplicate_of IS NULL
        ), reference AS (
            SELECT anchor_id, arg_min(chunk_id, (coalesce(rank, 2147483647), chunk_id)) AS chunk_id
            FROM candidate_pairs WHERE policy_name = $policy AND proposed = 'positive' GROUP BY anchor_id
        ), answers AS (
            SELECT anchor_id, arg_min(answer, interaction_id) AS answer, arg_min(source, interaction_id) AS log_source
            FROM interactions GROUP BY anchor_id
        ), graded AS (
            SELECT anchor_id, chunk_id, max(value) AS grade
            FROM signals JOIN interactions USING (interaction_id)
            WHERE signal = 'grade' GROUP BY anchor_id, chunk_id
        ), judged AS (
            SELECT current_judgments.*, coalesce(answered_model, config ->> '$.model') AS judge_model
            FROM current_judgments LEFT JOIN judges USING (judge_id) WHERE labelling_fingerprint = $fingerprint
        ), triaged AS (
            SELECT pair_id, arg_max(score, scored_at) AS triage_score FROM triage_scores GROUP BY pair_id
        ), reviewed AS (
            SELECT DISTINCT pair_id FROM reviews WHERE labelling_fingerprint = $fingerprint
        )
        SELECT wanted.pair_id, anchors.text AS anchor, chunks.text AS chunk, chunks.kind, wanted.proposed,
               wanted.sources, wanted.rank, wanted.score, graded.grade,
               CASE WHEN wanted.proposed = 'negative' THEN shown.text END AS reference,
               answers.answer, answers.log_source, judged.label, judged.reason,
               CASE WHEN judged.quote_found THEN judged.quote END AS quote, judged.judge_model,
               triaged.triage_score, reviewed.pair_id IS NOT NULL AS reviewed
        FROM wanted
        JOIN anchors USING (anchor_id)
        JOIN chunks ON chunks.chunk_id = wanted.chunk_id
        LEFT JOIN reference ON reference.anchor_id = wanted.anchor_id
        LEFT JOIN chunks AS shown ON shown.chunk_id = reference.chunk_id
        LEFT JOIN answers ON answers.anchor_id = wanted.anchor_id
        LEFT JOIN graded ON graded.anchor_id = wanted.anchor_id AND graded.chunk_id = wanted.chunk_id
        LEFT JOIN judged ON judged.pair_id = wanted.pair_id
        LEFT JOIN triaged ON triaged.pair_id = wanted.pair_id
        LEFT JOIN reviewed ON reviewed.pair_id = wanted.pair_id
        ORDER BY wanted.anchor_id, wanted.rank NULLS LAST, wanted.pair_id
        """,
        {"policy": policy.name, "fingerprint": policy.labelling_fingerprint},
    )
    return [PairToReview(**{**row, "sources": tuple(row["sources"])}) for row in found.to_pylist()]


def find_pairs(store: Store, policy: Policy, keys: pa.Table) -> pa.Table:
    """Find what an outside label file names by text or by the log's ids.

    Args:
        store: where to look.
        policy: whose candidates count as such.
        keys: columns row (int64), query (text, or the log's query id) and chunk (text, or the log's chunk id).

    Returns:
        Columns row, anchor_id (null: no such query), chunk_id (null: no such chunk), is_candidate (of this policy);
        ordered by all. A row whose log id stands for several texts comes several times.
    """
    with store.view_of("named", keys):
        return store.table(
            """
            WITH asked AS (
                SELECT row, anchor_id FROM named JOIN anchors ON anchors.text = named.query
                UNION
                SELECT row, anchor_id FROM named JOIN interactions ON interactions.query_id = named.query
            ), offered AS (
                SELECT row, chunk_id FROM named JOIN chunks ON chunks.text = named.chunk
                UNION
                SELECT row, chunk_id FROM named JOIN chunk_names ON chunk_names.external_id = named.chunk
            )
            SELECT row, anchor_id, chunk_id, candidate_pairs.pair_id IS NOT NULL AS is_candidate
            FROM named LEFT JOIN asked USING (row) LEFT JOIN offered USING (row)
            LEFT JOIN (FROM candidate_pairs WHERE policy_name = $policy) AS candidate_pairs
                USING (anchor_id, chunk_id)
            ORDER BY ALL
            """,
            {"policy": policy.name},
        )


def current_reviews(store: Store, policy: Policy) -> pa.Table:
    """Return what each reviewer last answered about each pair; adjudications are not among it.

    Returns:
        Columns pair_id, reviewer, status, label, origin; ordered by pair_id, reviewer.
    """
    return store.table(
        """
        SELECT pair_id, reviewer, status, label, origin FROM votes
        WHERE labelling_fingerprint = ? ORDER BY pair_id, reviewer
        """,
        [policy.labelling_fingerprint],
    )


def review_counts(store: Store, policy: Policy) -> list[dict[str, object]]:
    """Count a policy's current reviews.

    Returns:
        One dict a (reviewer, stream, status, label): reviews.
    """
    return store.rows(
        """
        SELECT reviewer, stream, status, label, count(*) AS reviews FROM current_reviews
        WHERE labelling_fingerprint = ? GROUP BY ALL ORDER BY ALL
        """,
        [policy.labelling_fingerprint],
    )
