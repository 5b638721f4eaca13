"""What must not stand side by side in training data: a query's positive as its negative, a test text in train."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from train.alike import Alike, queries_like_chunks
from train.labelled import Labelled
from train.splits import Split

_EXAMPLES = 5


class Guarded(NamedTuple):
    """The labels that remain, how many were left out, and a few of those as (anchor id, chunk id, what it repeats)."""

    kept: list[Labelled]
    left_out: int
    examples: list[tuple[str, str, str]]


def without_hidden_positives(labelled: list[Labelled], chunks: Alike, queries: Alike) -> Guarded:
    """Leave out negatives that equal or nearly repeat a positive of the same query, however that query is written."""
    positives = defaultdict(set)
    for row in labelled:
        if row.role == "positive":
            positives[queries.representative[row.anchor_id]].add(row.chunk_id)

    def repeats(row: Labelled) -> str | None:
        own = positives[queries.representative[row.anchor_id]]
        if row.role == "positive" or not chunks.any_alike(row.chunk_id, own):
            return None
        return min(other for other in own if chunks.any_alike(row.chunk_id, [other]))

    return _guarded(labelled, repeats)


def without_test_texts(
    labelled: list[Labelled], splits: Mapping[str, Split], chunks: Alike, *, shared_chunks: bool
) -> Guarded:
    """Leave out labels of train queries whose chunk equals or nearly repeats one of the test split.

    Queries that repeat each other are on one side already (see `train.splits`). A chunk that equals or nearly repeats a
    test query, or a query that does so with a test chunk, is left out too; there near is what it is for two queries.

    Args:
        labelled: all labels.
        splits: of each anchor.
        chunks: all chunks, compared.
        shared_chunks: leave out only what a test query is to find. What it is not to find stands in the collection,
            and may be a negative, or even a positive, of train queries too.
    """
    tested = [row for row in labelled if splits[row.anchor_id] == "test"]
    held_back: dict[str, str] = {}  # representative -> a chunk of the test split that it is like
    for row in sorted(tested, key=lambda row: row.chunk_id):
        if row.role == "positive" or not shared_chunks:
            for like in chunks.of(row.chunk_id):
                held_back.setdefault(like, row.chunk_id)
    trained = [row for row in labelled if splits[row.anchor_id] != "test"]
    chunk_of = {row.anchor_id: row.chunk_id for row in tested}
    asked = queries_like_chunks(_anchors(tested), {row.chunk_id: row.chunk for row in trained})
    as_query = {chunk: chunk_of[query] for query, chunk in asked}
    tested_chunks = {row.chunk_id: row.chunk for row in tested if row.role == "positive" or not shared_chunks}
    as_chunk = dict(queries_like_chunks(_anchors(trained), tested_chunks))

    def repeats(row: Labelled) -> str | None:
        if splits[row.anchor_id] == "test":
            return None
        like = held_back.get(chunks.representative[row.chunk_id])
        return like or as_query.get(row.chunk_id) or as_chunk.get(row.anchor_id)

    return _guarded(labelled, repeats)


def _anchors(labelled: list[Labelled]) -> dict[str, str]:
    return {row.anchor_id: row.anchor for row in labelled}


def _guarded(labelled: list[Labelled], repeats: Callable[[Labelled], str | None]) -> Guarded:
    kept, found = [], []
    for row in labelled:
        like = repeats(row)
        if like is None:
            kept.append(row)
        else:
            found.append((row.anchor_id, row.chunk_id, like))
    return Guarded(kept, len(found), sorted(found)[:_EXAMPLES])
