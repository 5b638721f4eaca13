"""Questions that a model wrote: what was removed and why, and which are in use (who wrote them: `store.generations`).

An anchor that a model wrote is known by its id for ever (view `synthetic_anchors`); the other modules ask here.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import pyarrow as pa

from store.database import Store

Purpose = Literal["evaluation", "few-shot", "training"]

SYNTHETIC = "synthetic"  # source of the chunk about which a question was written


class Question(NamedTuple):
    """A question out of an answer.

    Either it becomes an anchor, or `removed` says why it went no further, and `repeats` which anchor it repeats.
    """

    generation_id: str
    number: int  # 1-based
    anchor_id: str | None
    text: str
    removed: str | None = None
    repeats: str | None = None


class Waiting(NamedTuple):
    """A question that has still to make the round trip, and the chunk that it was written about."""

    anchor_id: str
    text: str
    chunk_id: str


class Retrieval(NamedTuple):
    """How a question's own chunk was found: its 1-based rank, None where it is not among the first `depth`."""

    depth: int
    bm25_rank: int | None
    dense_rank: int | None = None
    dense_model: str | None = None


class RoundTrip(NamedTuple):
    """What became of a question; `rejected` is None where it is accepted."""

    anchor_id: str
    retrieval: Retrieval
    label: str | None
    rejected: str | None


class SyntheticCount(NamedTuple):
    """How many questions were written for one purpose under one policy, and what became of them."""

    policy: str
    purpose: Purpose
    requests: int
    failed: int  # requests without a usable answer
    written: int  # questions
    removed: int  # before retrieval: repeats, copies ...
    rejected: int  # by retrieval or the judge
    waiting: int
    accepted: int
    cost_usd: float | None  # of writing them; None where it is not known what all of it cost


def add_questions(store: Store, questions: Sequence[Question]) -> None:
    """Store what was found in answers. Those that go further become anchors, for good."""
    columns = zip(*questions, strict=True) if questions else [()] * len(Question._fields)
    table = pa.table(
        {
            name: pa.array(column, pa.int32() if name == "number" else pa.string())
            for name, column in zip(Question._fields, columns, strict=True)
        }
    )
    kept = [question for question in questions if question.anchor_id is not None]
    anchors = {"anchor_id": [q.anchor_id for q in kept], "text": [q.text for q in kept]}
    with store.transaction():
        store.insert("synthetic_questions", table)
        store.insert("anchors", pa.table({name: pa.array(column, pa.string()) for name, column in anchors.items()}))


def waiting_questions(store: Store, policy_name: str, purpose: Purpose, limit: int) -> list[Waiting]:
    """Return the first questions that have still to make the round trip."""
    found = store.rows(
        """
        SELECT anchor_id, text, chunk_id FROM synthetic_anchors JOIN anchors USING (anchor_id)
        ANTI JOIN round_trips USING (anchor_id)
        WHERE policy_name = ? AND purpose = ? ORDER BY chunk_id, generation_id, number LIMIT ?
        """,
        [policy_name, purpose, limit],
    )
    return [Waiting(**row) for row in found]  # type: ignore[arg-type]


def put_round_trips(store: Store, policy_name: str, decided: Sequence[RoundTrip]) -> None:
    """Record what became of questions, and withdraw the candidates of those that were rejected.

    Call it inside `store.transaction()`.
    """
    retrievals = [trip.retrieval for trip in decided]
    store.insert(
        "round_trips",
        pa.table(
            {
                "anchor_id": pa.array([trip.anchor_id for trip in decided], pa.string()),
                "depth": pa.array([found.depth for found in retrievals], pa.int32()),
                "bm25_rank": pa.array([found.bm25_rank for found in retrievals], pa.int32()),
                "dense_rank": pa.array([found.dense_rank for found in retrievals], pa.int32()),
                "dense_model": pa.array([found.dense_model for found in retrievals], pa.string()),
                "label": pa.array([trip.label for trip in decided], pa.string()),
                "rejected": pa.array([trip.rejected for trip in decided], pa.string()),
                "decided_at": pa.array([datetime.now(UTC)] * len(decided), pa.timestamp("us", tz="UTC")),
            }
        ),
    )
    rejected = pa.array([trip.anchor_id for trip in decided if trip.rejected], pa.string())
    with store.view_of("rejected", pa.table({"anchor_id": rejected})):
        store.execute(
            """
            DELETE FROM candidates WHERE policy_name = ? AND source = ? AND pair_id IN (
                SELECT pair_id FROM pairs SEMI JOIN rejected USING (anchor_id)
            )
            """,
            [policy_name, SYNTHETIC],
        )


def count_accepted(store: Store, policy_name: str, purpose: Purpose) -> int:
    """Count the questions in use."""
    return store.count(
        """
        SELECT count(*) FROM synthetic_anchors SEMI JOIN anchors USING (anchor_id)  -- a text may have been forgotten
        WHERE policy_name = ? AND purpose = ? AND accepted
        """,
        [policy_name, purpose],
    )


def known_questions(store: Store) -> dict[str, str]:
    """Map all anchors, logged and synthetic, by id to their texts."""
    found = store.table("SELECT anchor_id, text FROM anchors ORDER BY anchor_id")
    return dict(zip(found["anchor_id"].to_pylist(), found["text"].to_pylist(), strict=True))


def synthetic_counts(store: Store) -> list[SyntheticCount]:
    """Count what was written for each policy and purpose."""
    found = store.rows(
        """
        WITH asked AS (
            SELECT policy_name, purpose, count(*) AS requests, count(error) AS failed,
                   CASE WHEN count(*) FILTER (cost_usd IS NULL AND duration_ms IS NOT NULL) = 0
                        THEN coalesce(sum(cost_usd), 0.0) END AS cost_usd
            FROM generations GROUP BY policy_name, purpose
        ), written AS (
            SELECT policy_name, purpose, count(*) AS written, count(removed) AS removed, count(rejected) AS rejected,
                   count(*) FILTER (removed IS NULL AND decided_at IS NULL) AS waiting,
                   count(*) FILTER (removed IS NULL AND decided_at IS NOT NULL AND rejected IS NULL) AS accepted
            FROM synthetic_questions JOIN generations USING (generation_id)
            LEFT JOIN round_trips USING (anchor_id)
            GROUP BY ALL
        )
        SELECT policy_name AS policy, purpose, requests, failed, coalesce(written, 0) AS written,
               coalesce(removed, 0) AS removed, coalesce(rejected, 0) AS rejected, coalesce(waiting, 0) AS waiting,
               coalesce(accepted, 0) AS accepted, cost_usd
        FROM asked LEFT JOIN written USING (policy_name, purpose) ORDER BY policy, purpose
        """
    )
    return [SyntheticCount(**row) for row in found]  # type: ignore[arg-type]


def removals(store: Store, policy_name: str, purpose: Purpose) -> dict[str, int]:
    """Count the questions that were not accepted, by reason, the most frequent first."""
    found = store.rows(
        """
        SELECT coalesce(removed, rejected) AS reason, count(*) AS questions
        FROM synthetic_questions JOIN generations USING (generation_id)
        LEFT JOIN round_trips USING (anchor_id)
        WHERE policy_name = ? AND purpose = ? AND coalesce(removed, rejected) IS NOT NULL
        GROUP BY reason ORDER BY questions DESC, reason
        """,
        [policy_name, purpose],
    )
    return {str(row["reason"]): int(str(row["questions"])) for row in found}


def synthetic_purposes(store: Store) -> dict[str, Purpose]:
    """Map the id of every anchor that a model wrote to what it was written for."""
    found = store.table("SELECT anchor_id, purpose FROM synthetic_anchors")
    return dict(zip(found["anchor_id"].to_pylist(), found["purpose"].to_pylist(), strict=True))


def synthetic_in_build(store: Store, build_id: str) -> list[dict[str, object]]:
    """Return the queries of a build that a model wrote: anchor_id, query, purpose, split; ordered by anchor_id."""
    return store.rows(
        """
        SELECT DISTINCT anchor_id, anchors.text AS query, purpose, split
        FROM build_labels JOIN pairs USING (pair_id) JOIN anchors USING (anchor_id)
        JOIN synthetic_anchors USING (anchor_id)
        WHERE build_id = ? ORDER BY anchor_id
        """,
        [build_id],
    )
