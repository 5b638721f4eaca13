"""Retrievals as mining reads them, and the candidates that follow from them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from store.candidates import PAIR_ID, replace_candidates
from store.database import Store

UNCITED = "uncited"  # source of the chunks that carry none of a policy's signals
SAME_DOCUMENT = "same-document"  # source of those among them that are a part of the document of a candidate positive
CLICKED_THEN_LEFT = "clicked_then_left"  # what mining makes of a click and a short stay; see docs/interactions.md
SHORT_STAY_S = 10  # seconds of `dwell`

# Chunks of the kinds that a policy covers; those kinds are the rows of `covered`, none meaning all.
_COVERED = "(FROM chunks WHERE NOT EXISTS (FROM covered) OR kind IN (SELECT kind FROM covered))"

# What happened to the chunks of each interaction, under the signals of a policy. A click is `clicked_then_left`, where
# the policy names that, when the longest stay was short or `left` was told, no earlier than the click.
_CARRIED = f"""
    told AS (
        SELECT interaction_id, chunk_id, signal, value, happened_at
        FROM signals SEMI JOIN {_COVERED} USING (chunk_id) WHERE value > 0
    ), gone AS (
        SELECT interaction_id, chunk_id FROM told GROUP BY interaction_id, chunk_id
        HAVING bool_or(signal = 'clicked') AND '{CLICKED_THEN_LEFT}' IN (SELECT signal FROM votes) AND (
            max(value) FILTER (signal = 'dwell') < {SHORT_STAY_S}
            OR bool_or(signal = 'left') AND coalesce(
                max(happened_at) FILTER (signal = 'left') >= max(happened_at) FILTER (signal = 'clicked'), true
            )
        )
    ), carried AS (
        SELECT DISTINCT interaction_id, chunk_id, signal FROM (
            SELECT interaction_id, chunk_id, signal
            FROM told ANTI JOIN (SELECT *, 'clicked' AS signal FROM gone) USING (interaction_id, chunk_id, signal)
            UNION ALL SELECT interaction_id, chunk_id, '{CLICKED_THEN_LEFT}' FROM gone
        ) SEMI JOIN votes USING (signal)
    )
"""

# What the signals of a pair say together, over all interactions of its anchor: a weighted vote, a tie being positive.
_VOTED = f"""
    {_CARRIED}, voted AS (
        SELECT anchor_id, chunk_id,
               CASE WHEN max(weight) > 0 AND round(sum(weight), 9) >= 0 THEN 'positive' ELSE 'negative' END AS proposed
        FROM carried JOIN votes USING (signal) JOIN interactions USING (interaction_id)
        GROUP BY anchor_id, chunk_id
    )
"""


def count_interactions(store: Store) -> int:
    """Count the interactions of all logs."""
    return store.count("SELECT count(*) FROM interactions")


def count_without(store: Store, votes: Mapping[str, float], kinds: Sequence[str] = ()) -> int:
    """Count the interactions none of whose chunks (of these kinds) carries a signal with a vote above zero."""
    with store.view_of("votes", _weights(votes)), store.view_of("covered", _kinds(kinds)):
        return store.count(
            f"""
            WITH {_CARRIED} SELECT count(*) FROM interactions
            ANTI JOIN (FROM carried JOIN votes USING (signal) WHERE weight > 0) USING (interaction_id)
            """
        )


class SharedVotes(NamedTuple):
    """How many chunks that stood before several answers to one query were taken up by how many of them."""

    answers: int  # interactions of one query whose lists hold the chunk; two or more
    positive: int  # those of them in which it carries a signal that suggests a positive
    pairs: int


def shared_votes(store: Store, votes: Mapping[str, float], kinds: Sequence[str] = ()) -> list[SharedVotes]:
    """Count, for the chunks that several interactions of one query hold, in how many of them each was taken up."""
    with store.view_of("votes", _weights(votes)), store.view_of("covered", _kinds(kinds)):
        rows = store.rows(
            f"""
            WITH {_CARRIED}, taken AS (
                SELECT DISTINCT interaction_id, chunk_id, true AS taken FROM carried JOIN votes USING (signal)
                WHERE weight > 0
            ), asked AS (
                FROM interactions SEMI JOIN (
                    SELECT anchor_id FROM interactions GROUP BY anchor_id HAVING count(*) > 1
                ) USING (anchor_id)
            ), listed AS (
                SELECT DISTINCT anchor_id, interaction_id, chunk_id FROM retrievals JOIN asked USING (interaction_id)
                SEMI JOIN {_COVERED} USING (chunk_id)
            ), counted AS (
                SELECT count(*) AS answers, count(taken) AS positive
                FROM listed LEFT JOIN taken USING (interaction_id, chunk_id) GROUP BY anchor_id, chunk_id
            )
            SELECT answers, positive, count(*) AS pairs FROM counted WHERE answers > 1
            GROUP BY answers, positive ORDER BY answers, positive DESC
            """
        )
    return [SharedVotes(*(int(str(value)) for value in row.values())) for row in rows]


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


def not_repeated(store: Store, listed: pa.Table, repeated: pa.Table) -> pa.Table:
    """Leave out of what `chunks_by_anchor` lists the chunks of `repeated`, and anchors that have positives alone left.

    Returns:
        The same columns in the same order.
    """
    with store.view_of("listed", listed), store.view_of("repeated", repeated):
        return store.table(
            """
            SELECT anchor_id, chunk_id, carries FROM listed ANTI JOIN repeated USING (anchor_id, chunk_id)
            QUALIFY NOT bool_and(carries) OVER (PARTITION BY anchor_id) ORDER BY anchor_id, chunk_id
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


# A table of its own, by whose size DuckDB orders the joins of `_MINED`: it takes a filtered table for a small one.
_LISTED = f"""
    CREATE OR REPLACE TEMP TABLE listed AS
    SELECT interaction_id, anchor_id, chunk_id, min(rank) AS rank, arg_min_null(score, rank) AS score
    FROM retrievals SEMI JOIN {_COVERED} USING (chunk_id) JOIN interactions USING (interaction_id)
    SEMI JOIN anchors USING (anchor_id) -- a forgotten query has no text that anybody could label
    GROUP BY interaction_id, anchor_id, chunk_id
"""

_MINED = f"""
    CREATE OR REPLACE TEMP TABLE mined AS
    WITH {_VOTED}, documents AS (
        SELECT DISTINCT anchor_id, document FROM voted JOIN chunk_names USING (chunk_id)
        WHERE proposed = 'positive' AND document IS NOT NULL
    ), neighbours AS (
        SELECT DISTINCT anchor_id, chunk_id, true AS neighbour
        FROM listed JOIN chunk_names USING (chunk_id) SEMI JOIN documents USING (anchor_id, document)
    )
    SELECT {PAIR_ID} AS pair_id, anchor_id, chunk_id,
           coalesce(signal, CASE WHEN neighbour AND voted.proposed IS NULL THEN '{SAME_DOCUMENT}' ELSE '{UNCITED}' END)
               AS source,
           interaction_id, coalesce(proposed, 'negative') AS proposed, rank, score,
           repeated.* EXCLUDE (anchor_id, chunk_id)
    FROM listed
    LEFT JOIN carried USING (interaction_id, chunk_id)
    LEFT JOIN voted USING (anchor_id, chunk_id)
    LEFT JOIN neighbours USING (anchor_id, chunk_id)
    LEFT JOIN repeated USING (anchor_id, chunk_id)
"""


def put_log_candidates(
    store: Store, policy_name: str, votes: Mapping[str, float], repeated: pa.Table, kinds: Sequence[str] = ()
) -> Mined:
    """Put every retrieval forward under a policy, in place of what an earlier run made of the logs.

    A chunk is put forward once for each signal of `votes` that it carries (value above zero) in an interaction, as
    what all signals of the pair suggest together; one that carries none there has the source `uncited`, and is a
    candidate negative unless it carries one in another interaction of the anchor. Where it carries none anywhere, and
    is a part of the document of a candidate positive, its source is `same-document`. A chunk that one list holds twice
    stands once, at its best rank.

    Call it inside `store.transaction()`. Rows that say the same as before are not written again.

    Args:
        store: where to.
        policy_name: the policy.
        votes: how strongly each signal suggests a positive (above zero) or a negative (below); signals that are not
            named do not count.
        repeated: columns anchor_id, chunk_id, duplicate_of, similarity of the chunks that repeat a positive; and
            duplicate_model where an embedding model was asked (null where the texts say so).
        kinds: of chunk that are put forward; none named: all.
    """
    store.execute("CREATE OR REPLACE TEMP TABLE uncovered (pair_id VARCHAR)")
    with (
        store.view_of("votes", _weights(votes)),
        store.view_of("repeated", repeated),
        store.view_of("covered", _kinds(kinds)),
    ):
        store.execute(_LISTED)
        store.execute(_MINED)
        store.execute("DROP TABLE listed")
        store.execute(f"INSERT INTO uncovered SELECT pair_id FROM pairs ANTI JOIN {_COVERED} USING (chunk_id)")
    before = store.count("SELECT count(*) FROM candidates")
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
    replace_candidates(store, policy_name, "mined", *{"duplicate_model"}.intersection(repeated.column_names))
    store.execute("DROP TABLE mined; DROP TABLE uncovered")
    return Mined(store.count("SELECT count(*) FROM candidates") - kept, before - kept)


def _kinds(kinds: Sequence[str]) -> pa.Table:
    return pa.table({"kind": _strings(kinds)})


def _weights(votes: Mapping[str, float]) -> pa.Table:
    return pa.table({"signal": _strings(votes), "weight": pa.array(list(votes.values()), pa.float64())})


def _strings(values: Iterable[str]) -> pa.Array:
    return pa.array(list(values), pa.string())
