"""Reviews: what people answered about pairs. Append-only."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa

from store.database import Store
from store.forgotten import pseudonyms
from store.ids import content_id
from store.policies import Policy

_UTC = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One answer of a reviewer about a pair under a labelling fingerprint.

    `label` is None exactly when the reviewer discarded the pair as unanswerable. `origin` says where the answer
    stands: an Argilla record, or a file and line. `suggested` is the label that was shown together with the question,
    None where there was none or nobody knows; it tells how far suggestions sway people. `carried_from` names the review
    that was really given, where this one holds under a later question (see `carry_reviews`).
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
    suggested: str | None = None
    carried_from: str | None = None

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
    """Append reviews; return how many were new. Those fetched before are left alone.

    Somebody who was forgotten stays so: their answers are added under the name that took the place of theirs.
    """
    renamed = pseudonyms(store, {review.reviewer for review in reviews})
    if renamed:
        reviews = [replace(review, reviewer=renamed.get(review.reviewer, review.reviewer)) for review in reviews]
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
                "suggested": pa.array([r.suggested for r in reviews], pa.string()),
                "carried_from": pa.array([r.carried_from for r in reviews], pa.string()),
            }
        ),
    )


def add_fetched_reviews(store: Store, reviews: Sequence[Review]) -> int:
    """Append reviews whose origin and time tell them apart; return how many were new.

    Those fetched before are left alone even where their reviewer had another name then: somebody who was renamed, or
    whose name cannot be read any more, must not count as a second person.
    """
    keys = {
        "origin": pa.array([r.origin for r in reviews], pa.string()),
        "reviewed_at": pa.array([r.reviewed_at for r in reviews], _UTC),
    }
    with store.view_of("fetched", pa.table(keys)):
        rows = store.rows(
            """
            SELECT labelling_fingerprint, origin, reviewed_at
            FROM reviews SEMI JOIN fetched USING (origin, reviewed_at)
            """
        )
    known = {tuple(row.values()) for row in rows}
    return add_reviews(store, [r for r in reviews if (r.labelling_fingerprint, r.origin, r.reviewed_at) not in known])


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
    judges_disagree: bool  # with each other
    triage_score: float | None  # higher: more likely relevant
    reviewers: tuple[str, ...]  # who has answered it, if only to discard it; sorted. Adjudicators are not among them
    reference_kind: str | None = None


def pairs_to_review(store: Store, policy: Policy) -> list[PairToReview]:
    """Return the candidate pairs of a policy for review, except those settled as repeating a cited chunk.

    Order: by anchor's first appearance is left to the caller; here by anchor_id, rank, pair_id.
    """
    found = store.table(
        """
        WITH wanted AS (
            SELECT * FROM candidate_pairs WHERE policy_name = $policy AND duplicate_of IS NULL
        ), reference AS (
            SELECT anchor_id, chunk_id FROM reference_chunks WHERE policy_name = $policy
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
        ), opinions AS (
            SELECT pair_id, count(DISTINCT label) > 1 AS judges_disagree FROM judgments
            WHERE labelling_fingerprint = $fingerprint GROUP BY pair_id
        ), people AS (
            SELECT pair_id, list_sort(list(DISTINCT reviewer)) AS reviewers
            FROM votes WHERE labelling_fingerprint = $fingerprint GROUP BY pair_id
        )
        SELECT wanted.pair_id, anchors.text AS anchor, chunks.text AS chunk, chunks.kind, wanted.proposed,
               wanted.sources, wanted.rank, wanted.score, graded.grade,
               CASE WHEN wanted.proposed = 'negative' THEN shown.text END AS reference,
               CASE WHEN wanted.proposed = 'negative' THEN shown.kind END AS reference_kind,
               answers.answer, answers.log_source, judged.label, judged.reason,
               CASE WHEN judged.quote_found THEN judged.quote END AS quote, judged.judge_model,
               coalesce(judges_disagree, false) AS judges_disagree, triaged.triage_score,
               coalesce(people.reviewers, []) AS reviewers
        FROM wanted
        JOIN anchors USING (anchor_id)
        JOIN chunks ON chunks.chunk_id = wanted.chunk_id
        LEFT JOIN reference ON reference.anchor_id = wanted.anchor_id
        LEFT JOIN chunks AS shown ON shown.chunk_id = reference.chunk_id
        LEFT JOIN answers ON answers.anchor_id = wanted.anchor_id
        LEFT JOIN graded ON graded.anchor_id = wanted.anchor_id AND graded.chunk_id = wanted.chunk_id
        LEFT JOIN judged ON judged.pair_id = wanted.pair_id
        LEFT JOIN opinions ON opinions.pair_id = wanted.pair_id
        LEFT JOIN triaged ON triaged.pair_id = wanted.pair_id
        LEFT JOIN people ON people.pair_id = wanted.pair_id
        ORDER BY wanted.anchor_id, wanted.rank NULLS LAST, wanted.pair_id
        """,
        {"policy": policy.name, "fingerprint": policy.labelling_fingerprint},
    )
    return [
        PairToReview(**{**row, "sources": tuple(row["sources"]), "reviewers": tuple(row["reviewers"])})
        for row in found.to_pylist()
    ]


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


def carry_reviews(store: Store, *, old_fingerprint: str, new_fingerprint: str, labels: Mapping[str, str]) -> int:
    """Let the current reviews under an old question stand under a new one, where its labels mean the same.

    A carried review keeps reviewer, stream, time, note, suggestion and origin, and names in `carried_from` the review
    that was really given, however often it has been carried. Reviews whose label `labels` leaves out are not carried,
    so their pairs are asked again. Nobody's answer under the new question is overruled by an older one of theirs.
    Doing it twice, or there and back, adds nothing.

    Args:
        store: where to.
        old_fingerprint: the labelling fingerprint under which the reviews stand.
        new_fingerprint: the one under which they are to stand as well.
        labels: old label -> new label; discarded reviews are carried unless it is empty.

    Returns:
        How many reviews it added.
    """
    if not labels:
        return 0
    found = store.rows(
        """
        SELECT pair_id, reviewer, status, label, stream, reviewed_at, origin, note, suggested,
               coalesce(carried_from, review_id) AS carried_from
        FROM current_reviews AS held WHERE labelling_fingerprint = $old AND NOT EXISTS (
            FROM reviews AS later WHERE later.labelling_fingerprint = $new AND later.pair_id = held.pair_id
                AND later.reviewer = held.reviewer AND later.reviewed_at >= held.reviewed_at
                AND (later.stream = 'adjudication') = (held.stream = 'adjudication')
        ) ORDER BY review_id
        """,
        {"old": old_fingerprint, "new": new_fingerprint},
    )
    return add_reviews(store, [_carried(row, new_fingerprint, labels) for row in found if _holds(row, labels)])


def _holds(row: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return row["label"] is None or row["label"] in labels


def _carried(row: Mapping[str, Any], fingerprint: str, labels: Mapping[str, str]) -> Review:
    named = {key: labels.get(row[key]) for key in ("label", "suggested")}
    return Review(**{**row, **named}, labelling_fingerprint=fingerprint)


def pushed_pairs(store: Store, dataset_id: str) -> set[str]:
    """Return the ids of the pairs that were ever put into a dataset of a review server."""
    found = store.table("SELECT pair_id FROM review_records WHERE dataset_id = ?", [dataset_id])
    return set(found["pair_id"].to_pylist())


def add_pushed_pairs(store: Store, dataset_id: str, pair_ids: Collection[str]) -> None:
    """Remember which pairs were put into a dataset of a review server."""
    columns = {
        "dataset_id": pa.array([dataset_id] * len(pair_ids), pa.string()),
        "pair_id": pa.array(pair_ids, pa.string()),
    }
    store.insert("review_records", pa.table(columns))


def review_counts(store: Store, policy: Policy) -> list[dict[str, object]]:
    """Count a policy's current reviews.

    Returns:
        One dict a (reviewer, stream, status, label): reviews, carried (so many of them from an earlier wording).
    """
    return store.rows(
        """
        SELECT reviewer, stream, status, label, count(*) AS reviews, count(carried_from) AS carried FROM current_reviews
        WHERE labelling_fingerprint = ? GROUP BY ALL ORDER BY ALL
        """,
        [policy.labelling_fingerprint],
    )
