"""Candidates: pairs put forward for labelling, and where each came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from store.database import Store
from store.ids import pair_id

Proposed = Literal["positive", "negative"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair put forward under one policy.

    `proposed` is what its source suggests, nothing more: a candidate negative is not a negative. `duplicate_of` is
    the cited chunk of the same anchor that this chunk repeats, and `similarity` how closely (1.0: same text).
    """

    anchor_id: str
    chunk_id: str
    source: str  # cited, uncited, random ...
    proposed: Proposed
    interaction_id: str = ""  # "" where no interaction stands behind it
    rank: int | None = None
    score: float | None = None
    duplicate_of: str | None = None
    similarity: float | None = None


def put_candidates(store: Store, policy_name: str, candidates: Sequence[Candidate]) -> int:
    """Store candidates of a policy, replacing what an earlier run said of the same; return how many are new."""
    keys = [pair_id(c.anchor_id, c.chunk_id) for c in candidates]
    store.insert(
        "pairs",
        pa.table(
            {
                "pair_id": pa.array(keys, pa.string()),
                "anchor_id": pa.array([c.anchor_id for c in candidates], pa.string()),
                "chunk_id": pa.array([c.chunk_id for c in candidates], pa.string()),
            }
        ),
    )
    return store.insert(
        "candidates",
        pa.table(
            {
                "policy_name": pa.array([policy_name] * len(candidates), pa.string()),
                "pair_id": pa.array(keys, pa.string()),
                "source": pa.array([c.source for c in candidates], pa.string()),
                "interaction_id": pa.array([c.interaction_id for c in candidates], pa.string()),
                "proposed": pa.array([c.proposed for c in candidates], pa.string()),
                "rank": pa.array([c.rank for c in candidates], pa.int32()),
                "score": pa.array([c.score for c in candidates], pa.float64()),
                "duplicate_of": pa.array([c.duplicate_of for c in candidates], pa.string()),
                "similarity": pa.array([c.similarity for c in candidates], pa.float64()),
            }
        ),
        replace=True,
    )


def chunk_texts(store: Store, chunk_ids: pa.Array) -> dict[str, str]:
    """Map those of `chunk_ids` that are stored to their texts."""
    with store.view_of("asked", pa.table({"chunk_id": chunk_ids})):
        found = store.table("SELECT chunk_id, text FROM chunks SEMI JOIN asked USING (chunk_id)")
    return dict(zip(found["chunk_id"].to_pylist(), found["text"].to_pylist(), strict=True))


def candidate_counts(store: Store, policy_name: str) -> list[dict[str, object]]:
    """Count the candidate pairs of a policy by source.

    Returns:
        One dict a source: source, proposed, pairs, anchors, duplicates (flagged as repeating a cited chunk), too_close
        (flagged as scoring close to one).
    """
    return store.rows(
        """
        SELECT source, proposed, count(DISTINCT pair_id) AS pairs, count(DISTINCT anchor_id) AS anchors,
               count(DISTINCT pair_id) FILTER (duplicate_of IS NOT NULL) AS duplicates,
               count(DISTINCT pair_id) FILTER (too_close IS NOT NULL) AS too_close
        FROM candidates JOIN pairs USING (pair_id)
        WHERE policy_name = ? GROUP BY source, proposed ORDER BY proposed DESC, source
        """,
        [policy_name],
    )
