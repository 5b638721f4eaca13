"""Chunks that come with no log: the rest of a corpus."""

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import pyarrow as pa

from store.database import Store
from store.forgotten import without_forgotten_chunks
from store.ids import chunk_id
from store.new_rows import adding_new


class NamedChunk(NamedTuple):
    """A chunk under the name that its corpus gives it."""

    external_id: str
    text: str
    kind: str = "text"
    document: str | None = None
    title: str | None = None


@contextlib.contextmanager
def adding_chunks(store: Store) -> Generator[Callable[[Sequence[NamedChunk]], int]]:
    """Offer a function that stores chunks, but for those that were to be forgotten, and returns how many are new."""
    with (
        adding_new(store, "chunks", "chunk_id") as add_texts,
        adding_new(store, "chunk_names", "external_id", "chunk_id") as add_names,
    ):

        def add(chunks: Sequence[NamedChunk]) -> int:
            columns = {name: pa.array([getattr(c, name) for c in chunks], pa.string()) for name in NamedChunk._fields}
            ids = pa.array([chunk_id(chunk.text) for chunk in chunks], pa.string())
            named = without_forgotten_chunks(store, pa.table({"chunk_id": ids, **columns}))
            add_names(named.select(["external_id", "chunk_id", "document", "title"]))
            return add_texts(named.select(["chunk_id", "text", "kind"]))

        yield add
