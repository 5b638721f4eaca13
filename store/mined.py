"""What mining beyond the logs reads and writes: corpus and anchors by their places, and the candidates of searches.

A chunk's place is its number in the corpus, an anchor's its number among those that are mined for; both from 0. Numbers
are what searches compute with; the ids that they stand for stay in two temporary tables.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from store.candidates import PAIR_ID, replace_candidates
from store.database import Store
from store.ids import canonical_json, content_id
from store.policies import Policy
from store.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np


FOUND = pa.schema(
    {
        "anchor": pa.int32(),  # places
        "chunk": pa.int32(),
        "source": pa.string(),
        "search_id": pa.string(),
        "rank": pa.int32(),  # among the chunks that were no candidates before; null where chance chose
        "score": pa.float32(),
        "too_close": pa.string(),  # the filter that it did not pass; null where it did
        "duplicate_of": pa.string(),
        "similarity": pa.float64(),
    }
)


@dataclass(frozen=True, slots=True)
class Ground:
    """The corpus and the anchors that are mined for. `known` and `positives` are pairs of places, in order."""

    anchor_ids: pa.Array
    anchors: list[str]
    chunk_ids: pa.Array
    kinds: "np.ndarray"  # of each chunk, as a number
    known: "tuple[np.ndarray, np.ndarray]"  # pairs that are candidates already: anchors, chunks
    positives: "tuple[np.ndarray, np.ndarray]"  # those among them that are candidate positives


class SourceChange(NamedTuple):
    """How the candidates of a source changed. `kept`: found no more, but judged or reviewed."""

    source: str
    new: int
    withdrawn: int
    kept: int


def read_ground(store: Store, policy: Policy, sources: Sequence[str]) -> Ground:
    """Number the chunks of the kinds that a policy covers, and the anchors that have a candidate positive under it.

    Candidates of `sources`, which are about to be mined again, are not `known`.
    """
    with store.view_of("covered", pa.table({"kind": pa.array(policy.kinds, pa.string())})):
        store.execute(
            """
            CREATE OR REPLACE TEMP TABLE mining_corpus AS
            SELECT (row_number() OVER (ORDER BY chunk_id) - 1)::INTEGER AS chunk, chunk_id, kind FROM chunks
            WHERE NOT EXISTS (FROM covered) OR kind IN (SELECT kind FROM covered) ORDER BY chunk
            """
        )
    with store.view_of("mined", pa.table({"source": pa.array(sources, pa.string())})):
        store.execute(
            """
            CREATE OR REPLACE TEMP TABLE mining_known AS
            SELECT anchor_id, chunk, bool_or(proposed = 'positive') AS positive
            FROM candidates JOIN pairs USING (pair_id) JOIN mining_corpus USING (chunk_id)
            WHERE policy_name = ? AND source NOT IN (SELECT source FROM mined) GROUP BY anchor_id, chunk
            """,
            [policy.name],
        )
    store.execute(
        """
        CREATE OR REPLACE TEMP TABLE mining_anchors AS
        SELECT (row_number() OVER (ORDER BY anchor_id) - 1)::INTEGER AS anchor, anchor_id, text
        FROM anchors WHERE anchor_id IN (SELECT anchor_id FROM mining_known WHERE positive) ORDER BY anchor
        """
    )
    corpus = store.table("SELECT chunk_id, kind FROM mining_corpus ORDER BY chunk").combine_chunks()
    anchors = store.table("SELECT anchor_id, text FROM mining_anchors ORDER BY anchor").combine_chunks()
    known = store.table(
        "SELECT anchor, chunk, positive FROM mining_known JOIN mining_anchors USING (anchor_id) ORDER BY anchor, chunk"
    )
    owner, chunk, positive = (known[name].to_numpy() for name in known.column_names)
    return Ground(
        anchor_ids=_whole(anchors["anchor_id"]),
        anchors=anchors["text"].to_pylist(),
        chunk_ids=_whole(corpus["chunk_id"]),
        kinds=_whole(corpus["kind"]).dictionary_encode().indices.to_numpy(),
        known=(owner, chunk),
        positives=(owner[positive], chunk[positive]),
    )


def add_search(store: Store, source: str, settings: Mapping[str, object]) -> str:
    """Store with what settings a source was searched; return the id of the search."""
    search_id = content_id("search", source, dict(settings))
    row = {
        "search_id": [search_id],
        "source": [source],
        "settings": [canonical_json(settings)],
        "first_run_at": pa.array([datetime.now(UTC)], pa.timestamp("us", tz="UTC")),
    }
    store.insert("searches", pa.table(row))
    return search_id


def replace_found(store: Store, policy: Policy, sources: Sequence[str], found: pa.Table) -> dict[str, SourceChange]:
    """Put what was found forward, in place of what earlier runs found in these sources.

    A pair that somebody has judged or reviewed stays a candidate, though it is found no more: that work is not lost.
    Call it inside `store.transaction()`, with the ground that `read_ground` laid.

    Args:
        store: where to.
        policy: under which policy.
        sources: that were searched.
        found: what they found, as in `FOUND`; a pair at most once a source.

    Returns:
        What changed, by source.
    """
    with store.view_of("found", found):
        store.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE mining_found AS
            SELECT {PAIR_ID} AS pair_id, anchor_id, chunk_id, '' AS interaction_id, 'negative' AS proposed,
                   found.* EXCLUDE (anchor, chunk)
            FROM found JOIN mining_anchors USING (anchor) JOIN mining_corpus USING (chunk)
            """
        )
    changes = _changes(store, policy, sources)
    store.execute(
        """
        DELETE FROM candidates WHERE policy_name = ? AND interaction_id = ''
        AND (pair_id, source) IN (SELECT (pair_id, source) FROM mining_stale WHERE NOT kept)
        """,
        [policy.name],
    )
    replace_candidates(store, policy.name, "mining_found", "search_id", "too_close")
    for name in ("found", "stale", "known", "anchors", "corpus"):
        store.execute(f"DROP TABLE mining_{name}")
    return changes


def _changes(store: Store, policy: Policy, sources: Sequence[str]) -> dict[str, SourceChange]:
    """Find out what of the sources' candidates is found no more, and count what changes."""
    parameters = {"policy": policy.name, "sources": list(sources)}
    store.execute(
        """
        CREATE OR REPLACE TEMP TABLE mining_stale AS
        SELECT pair_id, source, pair_id IN (
            SELECT pair_id FROM judgments UNION ALL FROM (SELECT pair_id FROM reviews)
            UNION ALL FROM (SELECT pair_id FROM batch_pairs)
        ) AS kept
        FROM candidates
        WHERE policy_name = $policy AND interaction_id = '' AND source IN (SELECT unnest($sources))
          AND (pair_id, source) NOT IN (SELECT (pair_id, source) FROM mining_found)
        """,
        parameters,
    )
    rows = store.rows(
        """
        SELECT source,
               (SELECT count(*) FROM mining_found ANTI JOIN (
                    FROM candidates WHERE policy_name = $policy AND interaction_id = ''
                ) USING (pair_id, source) WHERE mining_found.source = asked.source) AS new,
               (SELECT count(*) FROM mining_stale WHERE NOT kept AND mining_stale.source = asked.source) AS withdrawn,
               (SELECT count(*) FROM mining_stale WHERE kept AND mining_stale.source = asked.source) AS kept
        FROM (SELECT unnest($sources) AS source) AS asked
        """,
        parameters,
    )
    return {str(row["source"]): SourceChange(**row) for row in rows}  # type: ignore[arg-type]


def corpus_texts(store: Store, progress: Progress = silent) -> Iterator[str]:
    """Yield the texts of the corpus in the order of their places; ask the store nothing else meanwhile."""
    for batch in store.batches("SELECT text FROM mining_corpus JOIN chunks USING (chunk_id) ORDER BY chunk", rows=4096):
        yield from batch.column("text").to_pylist()
        progress.advance(batch.num_rows)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """Join the chunks of an Arrow column."""
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
