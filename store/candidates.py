"""Candidates: pairs put forward for labelling, and where each came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from store.database import Store
from store.ids import pair_id

Proposed = Literal["positive", "negative"]

# The id of a pair as `store.ids.pair_id` makes it, for millions of rows at once.
PAIR_ID = """'pair_' || left(sha256('["pair","' || anchor_id || '","' || chunk_id || '"]'), 32)"""

_SAID = ("pair_id", "source", "interaction_id", "proposed", "rank", "score", "duplicate_of", "similarity")


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
    """Store candidates of a policy, replacing what an earlier run said of the same; return how many are new.

    Call it inside `store.transaction()`. No two may be of one pair, source and interaction.
    """
    rows = pa.table(
        {
            "pair_id": pa.array([pair_id(c.anchor_id, c.chunk_id) for c in candidates], pa.string()),
            "anchor_id": pa.array([c.anchor_id for c in candidates], pa.string()),
            "chunk_id": pa.array([c.chunk_id for c in candidates], pa.string()),
            "source": pa.array([c.source for c in candidates], pa.string()),
            "interaction_id": pa.array([c.interaction_id for c in candidates], pa.string()),
            "proposed": pa.array([c.proposed for c in candidates], pa.string()),
            "rank": pa.array([c.rank for c in candidates], pa.int32()),
            "score": pa.array([c.score for c in candidates], pa.float64()),
            "duplicate_of": pa.array([c.duplicate_of for c in candidates], pa.string()),
            "similarity": pa.array([c.similarity for c in candidates], pa.float64()),
        }
    )
    before = store.count("SELECT count(*) FROM candidates")
    with store.view_of("put_forward", rows):
        replace_candidates(store, policy_name, "put_forward")
    return store.count("SELECT count(*) FROM candidates") - before


def replace_candidates(store: Store, policy_name: str, rows: str, *columns: str) -> None:
    """Store the candidates that a table of the database holds, and their pairs, in place of what was said of the same.

    Call it inside `store.transaction()`.

    Args:
        store: where to.
        policy_name: whose candidates they are.
        rows: the name of the table. It has anchor_id, chunk_id, and the columns of `candidates` but policy_name.
        columns: of those that need not be there, the ones that are: search_id, too_close, duplicate_model.
    """
    store.execute(
        f"INSERT INTO pairs SELECT DISTINCT pair_id, anchor_id, chunk_id FROM {rows} ANTI JOIN pairs USING (pair_id)"
    )
    said = ", ".join([*_SAID, *columns])
    compared = " AND ".join(f"stored.{name} IS NOT DISTINCT FROM {rows}.{name}" for name in (*_SAID, *columns))
    store.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE changed AS SELECT {said} FROM {rows}
        ANTI JOIN (SELECT {said} FROM candidates WHERE policy_name = $policy) AS stored ON {compared}
        """,
        {"policy": policy_name},
    )
    store.execute(
        """
        DELETE FROM candidates WHERE policy_name = $policy
        AND (pair_id, source, interaction_id) IN (SELECT (pair_id, source, interaction_id) FROM changed)
        """,
        {"policy": policy_name},
    )
    store.execute(
        f"INSERT INTO candidates (policy_name, {said}) SELECT $policy, {said} FROM changed", {"policy": policy_name}
    )
    store.execute("DROP TABLE changed")


def chunk_texts(store: Store, chunk_ids: pa.Array) -> dict[str, str]:
    """Map those of `chunk_ids` that are stored to their texts."""
    with store.view_of("asked", pa.table({"chunk_id": chunk_ids})):
        found = store.table("SELECT chunk_id, text FROM chunks SEMI JOIN asked USING (chunk_id)")
    return dict(zip(found["chunk_id"].to_pylist(), found["text"].to_pylist(), strict=True))


def candidate_counts(store: Store, policy_name: str) -> list[dict[str, object]]:
    """Count the candidate pairs of a policy by source.

    Returns:
        One dict a source: source, proposed, pairs, anchors, duplicates (flagged as repeating a cited chunk), too_close
        (flagged as scoring close to one), by_embedding (those of the duplicates whose words are others).
    """
    return store.rows(
        """
        WITH embedded AS ( -- by itself: as one more count of all rows it would take a quarter of the time
            SELECT source, proposed, count(DISTINCT pair_id) AS by_embedding FROM candidates
            WHERE policy_name = $policy AND duplicate_model IS NOT NULL GROUP BY source, proposed
        )
        SELECT source, proposed, count(DISTINCT pair_id) AS pairs, count(DISTINCT anchor_id) AS anchors,
               count(DISTINCT pair_id) FILTER (duplicate_of IS NOT NULL) AS duplicates,
               count(DISTINCT pair_id) FILTER (too_close IS NOT NULL) AS too_close,
               coalesce(any_value(by_embedding), 0) AS by_embedding
        FROM candidates JOIN pairs USING (pair_id) LEFT JOIN embedded USING (source, proposed)
        WHERE policy_name = $policy GROUP BY source, proposed ORDER BY proposed DESC, source
        """,
        {"policy": policy_name},
    )
