"""Retrievals as mining reads them, and the candidates that follow from them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from store.candidates import Proposed
from store.database import Store

UNCITED = "uncited"  # source of the chunks that carry none of a policy's signals
RANDOM = "random"  # source of the chunks that nothing but chance put forward


def count_interactions(store: Store) -> int:
    """Count the interactions of all logs."""
    return store.count("SELECT count(*) FROM interactions")


def count_without(store: Store, signals: Sequence[str]) -> int:
    """Count the interactions none of whose chunks carries one of `signals` (with a value above zero)."""
    with store.view_of("named", _names(signals)):
        return store.count(
            """
            SELECT count(*) FROM interactions ANTI JOIN (
                FROM signals SEMI JOIN named USING (signal) WHERE value > 0 AND chunk_id IS NOT NULL
            ) USING (interaction_id)
            """
        )


def chunks_by_anchor(store: Store, signals: Sequence[str]) -> pa.Table:
    """List what was ever retrieved for each anchor that has a chunk with one of `signals` (value above zero).

    Returns:
        Columns anchor_id, chunk_id, carries (the chunk carries one of them in some interaction of the anchor);
        ordered by anchor_id, chunk_id.
    """
    with store.view_of("named", _names(signals)):
        return store.table(
            """
            WITH carried AS (
                SELECT DISTINCT anchor_id, chunk_id, true AS carries
                FROM signals SEMI JOIN named USING (signal) JOIN interactions USING (interaction_id)
                WHERE value > 0 AND chunk_id IS NOT NULL
            ), listed AS (
                SELECT DISTINCT anchor_id, chunk_id FROM retrievals JOIN interactions USING (interaction_id)
            )
            SELECT anchor_id, chunk_id, coalesce(carries, false) AS carries
            FROM listed SEMI JOIN carried USING (anchor_id) LEFT JOIN carried USING (anchor_id, chunk_id)
            ORDER BY anchor_id, chunk_id
            """
        )


def all_chunk_ids(store: Store) -> pa.ChunkedArray:
    """Return the ids of all chunks, ordered."""
    return store.table("SELECT chunk_id FROM chunks ORDER BY chunk_id")["chunk_id"]


def random_by_anchor(store: Store, policy_name: str) -> dict[str, set[str]]:
    """Map each anchor to the chunks that chance put forward for it under a policy before."""
    rows = store.table(
        "SELECT anchor_id, chunk_id FROM candidates JOIN pairs USING (pair_id) WHERE policy_name = ? AND source = ?",
        [policy_name, RANDOM],
    )
    found: dict[str, set[str]] = {}
    for anchor, chunk in zip(rows["anchor_id"].to_pylist(), rows["chunk_id"].to_pylist(), strict=True):
        found.setdefault(anchor, set()).add(chunk)
    return found


class Mined(NamedTuple):
    """How the candidates that stand on the logs changed."""

    new: int
    removed: int


# The id of a pair as `store.ids.pair_id` makes it, for millions of rows at once.
_PAIR_ID = """'pair_' || left(sha256('["pair","' || anchor_id || '","' || chunk_id || '"]'), 32)"""

_MINED = f"""
    CREATE OR REPLACE TEMP TABLE mined AS
    WITH carried AS (
        SELECT DISTINCT interaction_id, chunk_id, signal, proposed
        FROM signals JOIN suggested USING (signal) WHERE value > 0 AND chunk_id IS NOT NULL
    ), listed AS (
        SELECT interaction_id, chunk_id, rank, score FROM retrievals
        QUALIFY row_number() OVER (PARTITION BY interaction_id, chunk_id ORDER BY rank) = 1
    )
    SELECT {_PAIR_ID} AS pair_id, anchor_id, chunk_id, coalesce(signal, '{UNCITED}') AS source, interaction_id,
           coalesce(proposed, 'negative') AS proposed, rank, score, duplicate_of, similarity
    FROM listed JOIN interactions USING (interaction_id)
    LEFT JOIN carried USING (interaction_id, chunk_id)
    LEFT JOIN repeated USING (anchor_id, chunk_id)
"""

_COLUMNS = "policy_name, pair_id, source, interaction_id, proposed, rank, score, duplicate_of, similarity"


def put_log_candidates(store: Store, policy_name: str, suggested: Mapping[str, Proposed], repeated: pa.Table) -> Mined:
    """Put every retrieval forward under a policy, in place of what an earlier run made of the logs.

    A chunk is put forward once for each signal of `suggested` that it carries (value above zero) in an interaction,
    as what that signal suggests; one that carries none is a candidate negative with the source `uncited`. A chunk
    that one list holds twice stands once, at its best rank.

    Call it inside `store.transaction()`. Rows that say the same as before are not written again.

    Args:
        store: where to.
        policy_name: the policy.
        suggested: what each signal suggests; signals that are not named do not count.
        repeated: columns anchor_id, chunk_id, duplicate_of, similarity of the chunks that repeat a positive.
    """
    signals = pa.table({"signal": _strings(suggested), "proposed": _strings(suggested.values())})
    with store.view_of("suggested", signals), store.view_of("repeated", repeated):
        store.execute(_MINED)
    before = store.count("SELECT count(*) FROM candidates")
    store.execute("INSERT OR IGNORE INTO pairs SELECT DISTINCT pair_id, anchor_id, chunk_id FROM mined")
    store.execute(
        """
        DELETE FROM candidates WHERE policy_name = $policy AND interaction_id <> ''
        AND (pair_id, source, interaction_id) NOT IN (SELECT (pair_id, source, interaction_id) FROM mined)
        """,
        {"policy": policy_name},
    )
    kept = store.count("SELECT count(*) FROM candidates")
    store.execute(
        f"""
        INSERT OR REPLACE INTO candidates ({_COLUMNS})
        SELECT $policy AS policy_name, * EXCLUDE (anchor_id, chunk_id) FROM mined
        EXCEPT SELECT {_COLUMNS} FROM candidates
        """,
        {"policy": policy_name},
    )
    store.execute("DROP TABLE mined")
    return Mined(store.count("SELECT count(*) FROM candidates") - kept, before - kept)


def _names(signals: Sequence[str]) -> pa.Table:
    return pa.table({"signal": _strings(signals)})


def _strings(values: Iterable[str]) -> pa.Array:
    return pa.array(list(values), pa.string())
