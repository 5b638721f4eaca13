"""What was forgotten must not come back: what is kept of it is hashes, and what is imported is held against them."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from store.database import Store
from store.ids import content_id

if TYPE_CHECKING:
    from store.interactions import Prepared


def name_hash(kind: str, name: str) -> str:
    """Return what is kept of a forgotten name; `kind` is query-id, chunk-id or reviewer."""
    return content_id(kind, name)


def pseudonyms(store: Store, reviewers: Collection[str]) -> dict[str, str]:
    """Map those of the reviewers that were forgotten to the names under which their answers go on to count."""
    hashes = {name_hash("reviewer", name): name for name in reviewers}
    found = store.rows(
        "SELECT forgotten_id, pseudonym FROM forgotten WHERE kind = 'reviewer' AND allowed_at IS NULL"
        " AND forgotten_id IN (SELECT unnest($hashes))",
        {"hashes": list(hashes)},
    )
    return {hashes[str(row["forgotten_id"])]: str(row["pseudonym"]) for row in found}


def without_forgotten(store: Store, rows: "Prepared") -> "Prepared":
    """Leave out of an import what was forgotten.

    An interaction about a forgotten query is left out. One that retrieved a forgotten chunk stays, without the chunk's
    text and names, and without answer and extra fields, which may repeat it.
    """
    if not store.scalar("SELECT 1 FROM forgotten WHERE allowed_at IS NULL LIMIT 1"):
        return rows
    gone = store.table("SELECT forgotten_id FROM forgotten WHERE allowed_at IS NULL")["forgotten_id"]
    dropped = rows.interactions.filter(_among(rows.interactions["anchor_id"], gone))["interaction_id"]
    retrievals = _without(rows.retrievals, "interaction_id", dropped)
    interactions = _without(rows.interactions, "interaction_id", dropped)
    touched = _among(retrievals["chunk_id"], gone)
    blank = _among(interactions["interaction_id"], retrievals.filter(touched)["interaction_id"])
    answers = pc.if_else(blank, pa.scalar(None, pa.string()), interactions["answer"])
    extra = pc.if_else(blank, "{}", interactions["extra"])
    names = pc.if_else(touched, retrievals["chunk_id"], retrievals["external_id"])
    return rows._replace(
        anchors=_without(rows.anchors, "anchor_id", gone),
        chunks=_without(rows.chunks, "chunk_id", gone),
        chunk_names=_without(rows.chunk_names, "chunk_id", gone),
        interactions=_with(_with(interactions, "answer", answers), "extra", extra),
        retrievals=_with(retrievals, "external_id", names),
        signals=_without(rows.signals, "interaction_id", dropped),
    )


def without_forgotten_chunks(store: Store, rows: pa.Table) -> pa.Table:
    """Leave out the rows whose `chunk_id` was forgotten."""
    gone = store.table("SELECT forgotten_id FROM forgotten WHERE allowed_at IS NULL")["forgotten_id"]
    return _without(rows, "chunk_id", gone)


def _among(column: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_in(column, value_set=values)


def _without(rows: pa.Table, column: str, values: pa.ChunkedArray) -> pa.Table:
    return rows.filter(pc.invert(_among(rows[column], values)))


def _with(rows: pa.Table, column: str, values: pa.ChunkedArray) -> pa.Table:
    return rows.set_column(rows.column_names.index(column), column, values)
