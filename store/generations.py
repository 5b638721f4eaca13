"""Requests for questions about chunks: who was asked about what, what came back, and which chunks come next."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa

from store.database import Store
from store.ids import content_id
from store.policies import Policy
from store.synthetic import Purpose

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
    "generated_at": pa.timestamp("us", tz="UTC"),
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
