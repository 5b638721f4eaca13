"""Logged interactions: what was asked, what was retrieved, what happened to it."""

import contextlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from store.database import Store
from store.forgotten import without_forgotten
from store.ids import anchor_id, chunk_ids, content_id
from store.new_rows import adding_new
from store.text import storable

_UTC = pa.timestamp("us", tz="UTC")


class Retrieved(NamedTuple):
    """One chunk of a ranked list. `rank` is 1-based; `external_id` is the log's own name for the chunk."""

    external_id: str
    rank: int
    text: str
    score: float | None = None
    kind: str = "text"
    document: str | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """What happened to a retrieved chunk, or with `chunk` None to the interaction as a whole."""

    name: str
    chunk: str | None = None  # external id
    value: float = 1.0
    happened_at: datetime | None = None
    source: str | None = None  # who or what said so, where the log tells


@dataclass(frozen=True, slots=True)
class Interaction:
    """One logged query with its ranked chunks and signals, and the file line it was read from (1-based)."""

    query: str
    retrieved: tuple[Retrieved, ...]
    signals: tuple[Signal, ...]
    line: int
    external_id: str | None = None
    query_id: str | None = None
    answer: str | None = None
    source: str | None = None
    happened_at: datetime | None = None
    extra: str = "{}"  # canonical JSON of what the line held besides


class Added(NamedTuple):
    """What a write of interactions brought: new rows, and interactions that were known already."""

    interactions: int
    known: int
    chunks: int
    retrievals: int


class Prepared(NamedTuple):
    """Interactions as the rows that they become. Equal interactions are there once."""

    told: int  # interactions, equal ones counted each time
    anchors: pa.Table
    chunks: pa.Table
    chunk_names: pa.Table
    interactions: pa.Table  # without import_id
    retrievals: pa.Table
    signals: pa.Table


def add_interactions(store: Store, interactions: Sequence[Interaction], *, import_id: str) -> Added:
    """Add interactions with their chunks and signals; those already stored are left as they are.

    Call it inside `store.transaction()`. For many batches there is `adding`.
    """
    with adding(store, import_id) as add:
        return add(prepared(interactions))


def prepared(interactions: Sequence[Interaction]) -> Prepared:
    """Do what can be done without the database, and so in a thread of its own."""
    texts = list(dict.fromkeys(c.text for i in interactions for c in i.retrieved))
    ids = dict(zip(texts, chunk_ids(texts), strict=True))
    by_id: dict[str, Interaction] = {}
    for interaction in interactions:
        by_id.setdefault(_interaction_id(interaction, ids), interaction)
    anchors = {i.query: anchor_id(i.query) for i in by_id.values()}
    flat = [chunk for interaction in by_id.values() for chunk in interaction.retrieved]
    flat_ids = [ids[chunk.text] for chunk in flat]
    return Prepared(
        len(interactions),
        pa.table({"anchor_id": _strings(anchors.values()), "text": _strings(anchors)}),
        _chunk_columns(flat, ids),
        _name_columns(flat, flat_ids),
        _interaction_columns(by_id, anchors),
        _retrieval_columns(by_id, flat, flat_ids),
        _signal_columns(by_id, ids),
    )


@contextlib.contextmanager
def adding(store: Store, import_id: str) -> Generator[Callable[[Prepared], Added]]:
    """Offer a function that adds prepared interactions as `add_interactions` does, for many batches of one import."""
    with (
        adding_new(store, "chunks", "chunk_id") as add_chunks,
        adding_new(store, "chunk_names", "external_id", "chunk_id") as add_names,
    ):

        def add(rows: Prepared) -> Added:
            rows = without_forgotten(store, rows)
            known = _known(store, rows.interactions)
            interactions, retrievals, signals = (
                _without(known, table) for table in (rows.interactions, rows.retrievals, rows.signals)
            )
            store.insert("anchors", rows.anchors)  # what known interactions hold is known, too
            chunks = add_chunks(rows.chunks)
            add_names(rows.chunk_names)
            imported = pa.array([import_id] * interactions.num_rows, pa.string())
            store.insert("interactions", interactions.append_column("import_id", imported))
            store.append("retrievals", retrievals)
            store.append("signals", signals)
            return Added(interactions.num_rows, rows.told - interactions.num_rows, chunks, retrievals.num_rows)

        yield add


def _interaction_id(interaction: Interaction, ids: Mapping[str, str]) -> str:
    """Name an interaction by all that it says; where it was read from is not part of it."""
    return content_id(
        "interaction",
        interaction.external_id,
        interaction.query_id,
        interaction.query,
        interaction.answer,
        interaction.source,
        _iso(interaction.happened_at),
        [[name, rank, ids[text], score] for name, rank, text, score, *_ in interaction.retrieved],
        sorted(_said(signal) for signal in interaction.signals),
        interaction.extra,
    )


def _said(signal: Signal) -> list[str | float]:
    said: list[str | float] = [signal.name, signal.chunk or "", signal.value, _iso(signal.happened_at) or ""]
    return [*said, signal.source] if signal.source else said  # ids of signals without a source are as they always were


class Imported(NamedTuple):
    """How many lines an import took, and how many it left out."""

    interactions: int
    rejected: int


def find_import(store: Store, import_id: str) -> Imported | None:
    """Return what was recorded when this very content was imported before, or None."""
    rows = store.rows("SELECT interactions, rejected FROM imports WHERE import_id = ?", [import_id])
    return Imported(int(str(rows[0]["interactions"])), int(str(rows[0]["rejected"]))) if rows else None


def record_import(
    store: Store, import_id: str, file: str, *, interactions: int, rejected: int, format_name: str = "uncited"
) -> None:
    """Note that a file was imported; `interactions` and `rejected` count its lines."""
    row = {
        "import_id": [import_id],
        "file": [storable(file)],
        "imported_at": [datetime.now(UTC)],
        "interactions": [interactions],
        "rejected": [rejected],
        "format": [format_name],
    }
    store.insert("imports", pa.table(row))


class LogCounts(NamedTuple):
    """How much the logs hold."""

    imports: int
    interactions: int
    anchors: int
    chunks: int
    retrievals: int
    cited: int
    uncited: int


def log_counts(store: Store) -> LogCounts:
    """Count what has been imported; a retrieval is `cited` when it carries that signal."""
    row = store.rows(
        """
        SELECT (SELECT count(*) FROM imports) AS imports,
               (SELECT count(*) FROM interactions) AS interactions,
               (SELECT count(DISTINCT anchor_id) FROM interactions) AS anchors,
               (SELECT count(*) FROM chunks) AS chunks,
               (SELECT count(*) FROM retrievals) AS retrievals,
               (SELECT count(*) FROM retrievals SEMI JOIN (FROM signals WHERE signal = 'cited')
                    USING (interaction_id, chunk_id)) AS cited
        """
    )[0]
    counts = {name: int(str(value)) for name, value in row.items()}
    return LogCounts(**counts, uncited=counts["retrievals"] - counts["cited"])


def _known(store: Store, interactions: pa.Table) -> pa.ChunkedArray:
    with store.view_of("asked", interactions.select(["interaction_id"])):
        known = store.table("SELECT interaction_id FROM asked SEMI JOIN interactions USING (interaction_id)")
    return known["interaction_id"]


def _without(known: pa.ChunkedArray, rows: pa.Table) -> pa.Table:
    if not len(known):
        return rows
    return rows.filter(pc.invert(pc.is_in(rows["interaction_id"], value_set=known)))


def _interaction_columns(by_id: Mapping[str, Interaction], anchors: Mapping[str, str]) -> pa.Table:
    values = by_id.values()
    return pa.table(
        {
            "interaction_id": _strings(by_id),
            "anchor_id": _strings(anchors[i.query] for i in values),
            "external_id": _strings(i.external_id for i in values),
            "query_id": _strings(i.query_id for i in values),
            "answer": _strings(i.answer for i in values),
            "source": _strings(i.source for i in values),
            "happened_at": pa.array([i.happened_at for i in values], _UTC),
            "extra": _strings(i.extra for i in values),
            "line": pa.array([i.line for i in values], pa.int64()),
        }
    )


def _chunk_columns(flat: Sequence[Retrieved], ids: Mapping[str, str]) -> pa.Table:
    kinds = dict.fromkeys(ids, "text")
    for chunk in reversed(flat):  # so that the first one's kind stays
        kinds[chunk.text] = chunk.kind
    return pa.table({"chunk_id": _strings(ids.values()), "text": _strings(ids), "kind": _strings(kinds.values())})


def _name_columns(flat: Sequence[Retrieved], flat_ids: Sequence[str]) -> pa.Table:
    names: dict[tuple[str, str], Retrieved] = {}
    for chunk, chunk_id in zip(flat, flat_ids, strict=True):
        names.setdefault((chunk.external_id, chunk_id), chunk)
    return pa.table(
        {
            "external_id": _strings(name for name, _ in names),
            "chunk_id": _strings(chunk for _, chunk in names),
            "document": _strings(chunk.document for chunk in names.values()),
            "title": _strings(chunk.title for chunk in names.values()),
        }
    )


def _retrieval_columns(
    by_id: Mapping[str, Interaction], flat: Sequence[Retrieved], flat_ids: Sequence[str]
) -> pa.Table:
    return pa.table(
        {
            "interaction_id": _strings(key for key, interaction in by_id.items() for _ in interaction.retrieved),
            "rank": pa.array([chunk.rank for chunk in flat], pa.int32()),
            "chunk_id": _strings(flat_ids),
            "external_id": _strings(chunk.external_id for chunk in flat),
            "score": pa.array([chunk.score for chunk in flat], pa.float64()),
        }
    )


def _signal_columns(by_id: Mapping[str, Interaction], ids: Mapping[str, str]) -> pa.Table:
    flat = []
    for key, interaction in by_id.items():
        if interaction.signals:
            named = {chunk.external_id: ids[chunk.text] for chunk in interaction.retrieved}
            flat += [(key, named[s.chunk] if s.chunk else None, s) for s in interaction.signals]
    return pa.table(
        {
            "interaction_id": _strings(key for key, _, _ in flat),
            "chunk_id": _strings(chunk for _, chunk, _ in flat),
            "signal": _strings(signal.name for _, _, signal in flat),
            "value": pa.array([signal.value for _, _, signal in flat], pa.float64()),
            "happened_at": pa.array([signal.happened_at for _, _, signal in flat], _UTC),
            "source": _strings(signal.source for _, _, signal in flat),
        }
    )


def _strings(values: Iterable[str | None]) -> pa.Array:
    return pa.array(list(values), pa.string())


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None
