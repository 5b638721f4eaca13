"""Questions that a model wrote: who wrote them about what, what was removed and why, and which are in use.

An anchor that a model wrote is known by its id for ever (view `synthetic_anchors`); the other modules ask here.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import pyarrow as pa

from store.database import Store
from store.ids import content_id
from store.policies import Policy

Purpose = Literal["evaluation", "few-shot", "training"]

SYNTHETIC = "synthetic"  # source of the chunk about which a question was written

_UTC = pa.timestamp("us", tz="UTC")
_GENERATION: dict[str, pa.DataType] = {
    "request_id": pa.string(),
    "prompt_id": pa.string(),
    "writer": pa.string(),
    "policy_name": pa.string(),
    "labelling_fingerprint": pa.string(),
    "purpose": pa.string(),
    "chunk_id": pa.string(),
    "persona": pa.string(),
    "difficulty": pa.string(),
    "error": pa.string(),
    "raw_answer": pa.string(),
    "answered_model": pa.string(),
    "prompt_characters": pa.int64(),
    "prompt_tokens": pa.int64(),
    "cached_tokens": pa.int64(),
    "completion_tokens": pa.int64(),
    "reasoning_tokens": pa.int64(),
    "cost_usd": pa.float64(),
    "duration_ms": pa.int64(),
    "generated_at": _UTC,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One request for questions about a chunk, and what came of it: `error` is None where there is a usable answer.

    `writer` is canonical JSON of all that can change an answer but the chunk. Token counts as in `Judgment`.
    """

    request_id: str
    prompt_id: str
    writer: str
    policy_name: str
    labelling_fingerprint: str
    purpose: Purpose
    chunk_id: str
    persona: str
    difficulty: str
    prompt_characters: int
    generated_at: datetime
    error: str | None = None
    raw_answer: str | None = None
    answered_model: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    duration_ms: int | None = None

    @property
    def generation_id(self) -> str:
        """Hash of all that the row says."""
        said = {name: str(value) for name in _GENERATION if (value := getattr(self, name)) is not None}
        return content_id("generation", said)


class SourceChunk(NamedTuple):
    """A chunk about which questions can be written."""

    chunk_id: str
    text: str
    kind: str


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


def add_generations(store: Store, generations: Sequence[Generation]) -> None:
    """Append generations. Call it at least once a second during a run, so that a crash loses no more than that."""
    columns = {name: pa.array([getattr(g, name) for g in generations], kind) for name, kind in _GENERATION.items()}
    keys = pa.array([generation.generation_id for generation in generations], pa.string())
    store.insert("generations", pa.table({"generation_id": keys, **columns}))


def unread_answers(store: Store, policy_name: str, purpose: Purpose) -> list[dict[str, object]]:
    """Return the usable answers whose questions have not been looked at, ordered by chunk.

    Returns:
        One dict an answer: generation_id, chunk_id, chunk (text), raw_answer.
    """
    return store.rows(
        """
        SELECT generation_id, chunk_id, chunks.text AS chunk, raw_answer
        FROM generations JOIN chunks USING (chunk_id)
        ANTI JOIN synthetic_questions USING (generation_id)
        WHERE policy_name = ? AND purpose = ? AND error IS NULL ORDER BY chunk_id, generation_id
        """,
        [policy_name, purpose],
    )


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
                "decided_at": pa.array([datetime.now(UTC)] * len(decided), _UTC),
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


def chunks_to_ask_about(
    store: Store, policy: Policy, *, seed: int, shortest: int, longest: int, retry: Collection[str], limit: int
) -> list[SourceChunk]:
    """Return chunks of a policy's kinds that no question was asked for under it, in an order made by chance.

    The order takes one chunk of each document before a second one of any, and is the same every time.

    Args:
        store: holds them.
        policy: whose kinds count.
        seed: makes another order.
        shortest: characters of a chunk.
        longest: characters of a chunk.
        retry: kinds of error after which a chunk may be asked about again.
        limit: how many at most.
    """
    found = store.rows(
        """
        WITH named AS (
            SELECT chunk_id, min(document) AS document FROM chunk_names GROUP BY chunk_id
        ), shuffled AS (
            SELECT chunk_id, sha256($seed || chunk_id) AS place,
                   row_number() OVER (PARTITION BY coalesce(document, chunk_id) ORDER BY place) AS turn
            FROM chunks LEFT JOIN named USING (chunk_id)
            WHERE length(text) BETWEEN $shortest AND $longest
              AND (len($kinds) = 0 OR kind IN (SELECT unnest($kinds)))
        ), next AS (
            FROM shuffled ANTI JOIN (
                FROM generations WHERE policy_name = $policy AND coalesce(error NOT IN (SELECT unnest($retry)), true)
            ) AS asked USING (chunk_id)
            ORDER BY turn, place LIMIT $limit
        )
        SELECT chunk_id, text, kind FROM next JOIN chunks USING (chunk_id) ORDER BY turn, place
        """,
        {
            "seed": f"{seed}:",
            "shortest": shortest,
            "longest": longest,
            "kinds": list(policy.kinds),
            "retry": list(retry),
            "policy": policy.name,
            "limit": limit,
        },
    )
    return [SourceChunk(**row) for row in found]  # type: ignore[arg-type]


def chunks_asked_about(store: Store, policy_name: str) -> list[str]:
    """Return the texts of the chunks that questions were written about under a policy."""
    found = store.table(
        """
        SELECT text FROM chunks SEMI JOIN (FROM generations WHERE policy_name = ? AND error IS NULL) AS asked
            USING (chunk_id) ORDER BY chunk_id
        """,
        [policy_name],
    )
    texts: list[str] = found["text"].to_pylist()
    return texts


def asked_before(store: Store, policy_name: str) -> bool:
    """Tell whether questions were ever asked for under a policy."""
    return bool(store.count("SELECT count(*) FROM generations WHERE policy_name = ?", [policy_name]))


def known_questions(store: Store) -> dict[str, str]:
    """Map all anchors, logged and synthetic, by id to their texts."""
    found = store.table("SELECT anchor_id, text FROM anchors ORDER BY anchor_id")
    return dict(zip(found["anchor_id"].to_pylist(), found["text"].to_pylist(), strict=True))


class WritingHabits(NamedTuple):
    """What requests for questions brought and took so far. None: none tells."""

    usable: float | None  # questions a request: accepted, or not decided yet
    characters_a_token: float | None
    completion_tokens: float | None  # a request


def writing_habits(store: Store, policy_name: str, purpose: Purpose, model: str) -> WritingHabits:
    """Sum up past requests: usable questions of this policy and purpose, tokens of this model wherever it was asked."""
    (row,) = store.rows(
        """
        SELECT (
            SELECT count(synthetic_questions.anchor_id) FILTER (rejected IS NULL)
                   / nullif(count(DISTINCT generation_id), 0)
            FROM generations LEFT JOIN synthetic_questions USING (generation_id)
            LEFT JOIN round_trips USING (anchor_id)
            WHERE policy_name = $policy AND purpose = $purpose AND duration_ms IS NOT NULL
              AND (error IS NOT NULL OR number IS NOT NULL)  -- what has not been looked at tells nothing
        ) AS usable,
        sum(prompt_characters) FILTER (prompt_tokens > 0) / nullif(sum(prompt_tokens), 0) AS characters_a_token,
        avg(completion_tokens) AS completion_tokens
        FROM generations WHERE writer ->> '$.model' = $model
        """,
        {"policy": policy_name, "purpose": purpose, "model": model},
    )
    return WritingHabits(**row)  # type: ignore[arg-type]


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
