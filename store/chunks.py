"""Chunks that come with no log: the rest of a corpus."""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from store.database import Store
from store.ids import chunk_id


class NamedChunk(NamedTuple):
    """A chunk under the name that its corpus gives it."""

    external_id: str
    text: str
    kind: str = "text"
    document: str | None = None
    title: str | None = None


def add_chunks(store: Store, chunks: Sequence[NamedChunk]) -> int:
    """Store chunks, but for those that were to be forgotten; return how many are new."""
    columns = {name: pa.array([getattr(c, name) for c in chunks], pa.string()) for name in NamedChunk._fields}
    named = pa.table(
        {
            "number": pa.array(range(len(chunks)), pa.int64()),
            "chunk_id": pa.array([chunk_id(chunk.text) for chunk in chunks], pa.string()),
            **columns,
        }
    )
    _append(store, "chunk_names", named, "external_id, chunk_id", "document, title")
    return _append(store, "chunks", named, "chunk_id", "text, kind")


def _append(store: Store, table: str, incoming: pa.Table, key: str, others: str) -> int:
    """Add the rows whose key a table does not hold, the first of each."""
    # DuckDB finds `incoming` by the name of the variable.
    ((added,),) = store.connection.execute(
        f"""
        INSERT INTO {table} ({key}, {others}) SELECT {key}, {others} FROM incoming ANTI JOIN {table} USING ({key})
        WHERE chunk_id NOT IN (SELECT forgotten_id FROM forgotten WHERE allowed_at IS NULL)
        QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY number) = 1
        """
    ).fetchall()
    return int(added)
