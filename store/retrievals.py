"""Retrievals as mining reads them, and the candidates that follow from them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from store.database import Store

UNCITED = "uncited"  # source of the chunks that carry none of a policy's signals

# Chunks of the kinds that a policy covers; those kinds are the rows of `covered`, none meaning all.
_COVERED = "(FROM chunks WHERE NOT EXISTS (FROM covered) OR kind IN (SELECT kind FROM covered))"

# What the signals of a pair say together, over all interactions of its anchor: a weighted vote, a tie being positive.
_VOTED = f"""
    carried AS (
        SELECT DISTINCT interaction_id, chunk_id, signal
        FROM signals SEMI JOIN votes USING (signal) SEMI JOIN {_COVERED} USING (chunk_id) WHERE value > 0
    ), voted AS (
        SELECT anchor_id, chunk_id,
               CASE WHEN max(weight) > 0 AND round(sum(weight), 9) >= 0 THEN 'positive' ELSE 'negative' END AS proposed
        FROM carried JOIN votes USING (signal) JOIN interactions USING (interaction_id)
        GROUP BY anchor_id, chunk_id
    )
"""


def count_interactions(store: Store) -> int:
    """Count the interactions of all logs."""
    return store.count("SELECT count(*) FROM interactions")


def count_without(store: Store, signals: Sequence[str], kinds: Sequence[str] = ()) -> int:
    """Count the interactions none of whose chunks (of these kinds) carries one of `signals`, with a value above 0."""
    with store.view_of("named", _names(signals)), store.view_of("covered", _kinds(kinds)):
        return store.count(
            f"""
            SELECT count(*) FROM interactions ANTI JOIN (
                FROM signals SEMI JOIN named USING (signal) SEMI JOIN {_COVERED} USING (chunk_id) WHERE value > 0
            ) USING (interaction_id)
            """
        )


def chunks_by_anchor(store: Store, votes: Mapping[str, float], kinds: Sequence[str] = ()) -> pa.Table:
    """List what was ever retrieved for each anchor that has a candidate positive.

    Args:
        store: where the logs are.
        votes: see `put_log_candidates`.
        kinds: of chunk that count; none named: all.

    Returns:
        Columns anchor_id, chunk_id, carries (the votes make it a candidate positive); ordered by anchor_id, chunk_id.
    """
    with store.view_of("votes", _weights(votes)), store.view_of("covered", _kinds(kinds)):
        return store.table(
            f"""
            WITH {_VOTED}, positive AS (
                SELECT anchor_id, chunk_id, true AS carries FROM voted WHERE proposed = 'positive'
            ), listed AS (
                SELECT DISTINCT anchor_id, chunk_id FROM retrievals JOIN interactions USING (interaction_id)
                SEMI JOIN {_COVERED} USING (chunk_id)
            )
            SELECT anchor_id, chunk_id, coalesce(carries, false) AS carries
            FROM listed SEMI JOIN positive USING (anchor_id) LEFT JOIN positive USING (anchor_id, chunk_id)
            ORDER BY anchor_id, chunk_id
            """
        )


def all_chunk_ids(store: Store, kinds: Sequence[str] = ()) -> pa.ChunkedArray:
    """Return the ids of all chunks (of these kinds), ordered."""
    with store.view_of("covered", _kinds(kinds)):
        return store.table(f"SELECT chunk_id FROM {_COVERED} ORDER BY chunk_id")["chunk_id"]


def texts_at(store: Store, chunk_ids: pa.Array, *, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the texts of chunks, in any order, with the place of each in `chunk_ids`: columns place, text.

    Ask the store nothing else until the last batch has been read.
    """
    import numpy as np

    asked = pa.table({"chunk_id": chunk_ids, "place": np.arange(len(chunk_ids), dtype=np.int32)})
    with store.view_of("asked", asked):
        yield from store.batches("SELECT place, text FROM chunks JOIN asked USING (chunk_id)", rows=rows)


class Mined(NamedTuple):
    """How the candidates that stand on the logs changed."""

    new: int
    removed: int


# The id of a pair as `store.ids.pair_id` makes it, for millions of rows at once.
_PAIR_ID = """'pair_' || left(sha256('["pair","' || anchor_id || '","' || chunk_id || '"]'), 32)"""

_MINED = f"""
    CREATE OR REPLACE TEMP TABLE mined AS
    WITH {_VOTED}, listed AS (
        SELECT interaction_id, chunk_id, rank, score FROM retrievals SEMI JOIN {_COVERED} USING (chunk_id)
        QUALIFY row_number() OVER (PARTITION BY interaction_id, chunk_id ORDER BY rank) = 1
    )
    SELECT {_PAIR_ID} AS pair_id, anchor_id, chunk_id, coalesce(signal, '{UNCITED}') AS source, interaction_id,
           CASE WHEN signal IS NULL THEN 'negative' ELSE proposed END AS proposed, rank, score, duplicate_of, similarity
    FROM listed JOIN interactions USING (interaction_id)
    LEFT JOIN carried USING (interaction_id, chunk_id)
    LEFT JOIN voted USING (anchor_id, chunk_id)
    LEFT JOIN repeated USING (anchor_id, chunk_id)
"""

_COLUMNS = "policy_name, pair_id, source, interaction_id, proposed, rank, score, duplicate_of, similarity"


def put_log_candidates(
    store: Store, policy_name: str, votes: Mapping[str, float], repeated: pa.Table, kinds: Sequence[str] = ()
) -> Mined:
    """Put every retrieval forward under a policy, in place of what an earlier run made of the logs.

    A chunk is put forward once for each signal of `votes` that it carries (value above zero) in an interaction, as
    what all signals of the pair suggest together; one that carries none is a candidate negative with the source
    `uncited`. A chunk that one list holds twice stands once, at its best rank.

    Call it inside `store.transaction()`. Rows that say the same as before are not written again.

    Args:
        store: where to.
        policy_name: the policy.
        votes: how strongly each signal suggests a positive (above zero) or a negative (below); signals that are not
            named do not count.
        repeated: columns anchor_id, chunk_id, duplicate_of, similarity of the chunks that repeat a positive.
        kinds: of chunk that are put forward; none named: all.
    """
    store.execute("CREATE OR REPLACE TEMP TABLE uncovered (pair_id VARCHAR)")
    with (
        store.view_of("votes", _weights(votes)),
        store.view_of("repeated", repeated),
        store.view_of("covered", _kinds(kinds)),
    ):
        store.execute(_MINED)
        store.execute(f"INSERT INTO uncovered SELECT pair_id FROM pairs ANTI JOIN {_COVERED} USING (chunk_id)")
    before = store.count("SELECT count(*) FROM candidates")
    store.execute("INSERT OR IGNORE INTO pairs SELECT DISTINCT pair_id, anchor_id, chunk_id FROM mined")
    store.execute(
        """
        DELETE FROM candidates WHERE policy_name = $policy AND (
            pair_id IN (FROM uncovered) OR interaction_id <> ''
            AND (pair_id, source, interaction_id) NOT IN (SELECT (pair_id, source, interaction_id) FROM mined)
        )
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
    store.execute("DROP TABLE mined; DROP TABLE uncovered")
    return Mined(store.count("SELECT count(*) FROM candidates") - kept, before - kept)


def _names(signals: Sequence[str]) -> pa.Table:
    return pa.table({"signal": _strings(signals)})


def _kinds(kinds: Sequence[str]) -> pa.Table:
    return pa.table({"kind": _strings(kinds)})


def _weights(votes: Mapping[str, float]) -> pa.Table:
    return pa.table({"signal": _strings(votes), "weight": pa.array(list(votes.values()), pa.float64())})


def _strings(values: Iterable[str]) -> pa.Array:
    return pa.array(list(values), pa.string())
