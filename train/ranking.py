"""How systems of any kind order chunks for queries."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from store.progress import Progress, silent
from train.evaluation import Cost
from train.held_out import HeldOut
from train.indexes import TEXTS_AT_ONCE, Index, bm25_over, device_name, embedding_index
from train.kinds import kind_of, load
from train.models import quiet
from train.recipe import Kind

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BM25 = "bm25"  # stands in the place of a model
RETRIEVED = 40  # chunks of the collection that are kept for a query, and that a reranker orders anew

_TIMED = 25  # queries, one at a time
_WARM_UP = 2

Run = dict[str, dict[str, float]]  # query -> chunk -> score
_Query = TypeVar("_Query")  # a text, or what it is encoded to


class Ranked(NamedTuple):
    """What a system made of the test set.

    `labelled` orders the chunks with a label, `collection` the best of all. `places` tells where each labelled chunk
    stands in the whole pool, from 1 on; None where it is not found. `shorter` is the same with embeddings cut to their
    first values.
    """

    labelled: Run
    collection: Run
    places: Mapping[str, Mapping[str, int | None]]
    kind: str
    cost: Cost
    reorders: str | None = None
    dimensions: int | None = None
    shorter: "Mapping[int, Ranked] | None" = None


def rank_with_all(
    test: HeldOut,
    wanted: Sequence[str],
    models: Sequence[str],
    progress: Progress,
    *,
    sizes: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Ranked]:
    """Rank for the `wanted` queries with each model, given by folder or hub name, or `BM25`.

    What has an index scores the whole pool. A reranker reads each pair anew and cannot: it orders the first 40 that
    the first of the embedding models retrieves, as it would in use, or else BM25.

    Args:
        test: what is held out.
        wanted: ids of queries.
        models: each once.
        progress: told of texts encoded and pairs read.
        sizes: lengths to which the embeddings of a model are cut besides; models without such embeddings have none.

    Raises:
        MissingError: there is no such model.
        InvalidDataError: a model cannot be read.
    """
    kinds = {model: kind_of(model) for model in models if model != BM25}
    retrieving = [model for model, kind in kinds.items() if kind != "reranker"]
    found = {
        model: _retrieve(test, wanted, model, kinds[model], progress, (sizes or {}).get(model, ()))
        for model in retrieving
    }
    if BM25 in models or not retrieving:
        index = bm25_over(list(test.pool.values()))
        found[BM25] = _searched(test, wanted, index, BM25, silent)
    first_stage = retrieving[0] if retrieving else BM25
    for model, kind in kinds.items():
        if kind == "reranker":
            found[model] = _rerank(test, wanted, model, found[first_stage], first_stage, progress)
    return {model: found[model] for model in models}


def labelled_scores(
    model: Any,  # noqa: ANN401
    kind: Kind,
    queries: Mapping[str, str],
    chunks: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    progress: Progress,
) -> Run:
    """Let a loaded model of any kind score the labelled chunks of each query, and nothing else.

    Args:
        model: of sentence-transformers, in training perhaps.
        kind: its kind.
        queries: text by id.
        chunks: text by id.
        qrels: relevance by query and chunk.
        progress: told of texts, or of pairs where the kind reads pairs.
    """
    if kind == "reranker":
        pairs = [(query, chunk) for query, labels in qrels.items() for chunk in labels]
        return _read(model, queries, chunks, pairs, progress)
    place = {chunk: i for i, chunk in enumerate(chunks)}
    index = embedding_index(model, kind, list(chunks.values()), progress)
    encoded = index.encode([queries[query] for query in qrels], progress)
    rows = (row for block in index.search(encoded) for row in block)
    return {
        query: {chunk: float(row[place[chunk]]) for chunk in qrels[query]}
        for query, row in zip(qrels, rows, strict=True)
    }


def _retrieve(
    test: HeldOut, wanted: Sequence[str], model: str, kind: Kind, progress: Progress, sizes: Sequence[int]
) -> Ranked:
    """Score the pool for each query by the similarity of the model's kind."""
    loaded = load(kind, model)
    progress.start(f"Encoding with {model}", len(wanted) * (1 + len(sizes)) + len(test.pool))
    index = embedding_index(loaded, kind, list(test.pool.values()), progress)
    ranked = _searched(test, wanted, index, kind, progress)
    if not index.cut or not index.dimensions:
        return ranked
    lengths = [size for size in sizes if size < index.dimensions]
    shorter = {size: _searched(test, wanted, index.cut(size), kind, progress, whole=False) for size in lengths}
    return ranked._replace(shorter=shorter)


def _searched(
    test: HeldOut, wanted: Sequence[str], index: Index, kind: str, progress: Progress, *, whole: bool = True
) -> Ranked:
    """Search an index for each query. Where its embeddings are cut, not `whole`, only the search is timed."""
    chunk_ids = list(test.pool)
    place = {chunk_id: i for i, chunk_id in enumerate(chunk_ids)}
    labelled: Run = {}
    collection: Run = {}
    places: dict[str, dict[str, int | None]] = {}
    queries = [test.queries[query] for query in wanted]
    encoded = index.encode(queries, progress)
    rows = (row for block in index.search(encoded) for row in block)
    for query, row in zip(wanted, rows, strict=True):
        best = _best(row)
        collection[query] = {chunk_ids[i]: float(row[i]) for i in best if row[i] > index.floor}
        of_labelled = {chunk_id: place[chunk_id] for chunk_id in test.qrels[query]}
        labelled[query] = {chunk_id: float(row[i]) for chunk_id, i in of_labelled.items()}
        places[query] = {
            chunk_id: _place(row, i) if row[i] > index.floor else None for chunk_id, i in of_labelled.items()
        }

    def search(one: Any) -> None:  # noqa: ANN401
        for block in index.search(one):
            _best(block[0])

    times = _timed(queries, lambda query: search(index.encode([query], silent))) if whole else []
    some = range(min(_TIMED, len(queries))) if index.cut else ()
    searches = _timed([encoded[i : i + 1] for i in some], search)
    cost = _cost(index.device, times, index.size_bytes, searches)
    return Ranked(labelled, collection, places, kind, cost, dimensions=index.dimensions)


def _best(row: "npt.NDArray[np.float32]") -> "npt.NDArray[np.int64]":
    """Return where the highest scores stand, in no order."""
    import numpy as np

    depth = min(RETRIEVED, len(row))
    found: npt.NDArray[np.int64] = np.argpartition(-row, depth - 1)[:depth]
    return found


def _place(row: "npt.NDArray[np.float32]", i: int) -> int:
    """Return the place of a chunk in the ranking, from 1 on; of equal scores the first one comes first."""
    import numpy as np

    return 1 + int(np.count_nonzero(row > row[i])) + int(np.count_nonzero(row[:i] == row[i]))


def _rerank(
    test: HeldOut, wanted: Sequence[str], model: str, first: Ranked, first_stage: str, progress: Progress
) -> Ranked:
    """Let a reranker order the labelled chunks of each query, and those that the first stage retrieved."""
    reranker: Any = load("reranker", model)
    pairs = [(query, chunk) for query in wanted for chunk in {**test.qrels[query], **first.collection[query]}]
    progress.start(f"Reranking with {model}", len(pairs))
    scores = _read(reranker, test.queries, test.pool, pairs, progress)
    collection = {query: {chunk: scores[query][chunk] for chunk in first.collection[query]} for query in wanted}

    def once(query: str) -> None:
        _read(reranker, test.queries, test.pool, [(query, chunk) for chunk in first.collection[query]], silent)

    own = _cost(device_name(reranker.device.type), _timed(wanted, once), first.cost.index_bytes)
    return Ranked(
        {query: {chunk: scores[query][chunk] for chunk in test.qrels[query]} for query in wanted},
        collection,
        {query: _places_after(collection[query], first.places[query]) for query in wanted},
        "reranker",
        _one_after_the_other(first.cost, own),
        reorders=first_stage,
    )


def _read(
    reranker: Any,  # noqa: ANN401
    queries: Mapping[str, str],
    chunks: Mapping[str, str],
    pairs: Sequence[tuple[str, str]],
    progress: Progress,
) -> Run:
    """Let a reranker score pairs of ids."""
    scores: Run = {query: {} for query, _ in pairs}
    for start in range(0, len(pairs), TEXTS_AT_ONCE):
        some = pairs[start : start + TEXTS_AT_ONCE]
        with quiet():
            read = reranker.predict([(queries[query], chunks[chunk]) for query, chunk in some], show_progress_bar=False)
        for (query, chunk), score in zip(some, read, strict=True):
            scores[query][chunk] = float(score)
        progress.advance(len(some))
    return scores


def _places_after(reordered: Mapping[str, float], first: Mapping[str, int | None]) -> dict[str, int | None]:
    """Return the place of each labelled chunk once some were put in order; the others stay where they were before."""
    order = {chunk: i for i, chunk in enumerate(sorted(reordered, key=lambda chunk: -reordered[chunk]), start=1)}
    return {chunk: order.get(chunk, place) for chunk, place in first.items()}


def _timed(queries: Sequence[_Query], once: Callable[[_Query], None]) -> list[float]:
    """Return how long each of some queries takes, in seconds; the first ones, which warm up, do not count."""
    some = list(queries[:_TIMED])
    for query in some[:_WARM_UP]:
        once(query)
    times = []
    for query in some:
        started = time.perf_counter()
        once(query)
        times.append(time.perf_counter() - started)
    return times


def _cost(device: str, seconds: Sequence[float], index_bytes: int | None, searches: Sequence[float] = ()) -> Cost:
    import numpy as np

    search_ms = float(np.median(searches)) * 1000 if searches else None
    if not seconds:
        return Cost(device, 0, None, None, index_bytes, search_ms)
    median, p95 = np.quantile(seconds, [0.5, 0.95]) * 1000
    return Cost(device, len(seconds), float(median), float(p95), index_bytes, search_ms)


def _one_after_the_other(first: Cost, second: Cost) -> Cost:
    """Add up what two stages take; the sum of two 95th percentiles is above that of the sum, if anything."""
    total = (_sum(first.median_ms, second.median_ms), _sum(first.p95_ms, second.p95_ms))
    return replace(second, median_ms=total[0], p95_ms=total[1])


def _sum(one: float | None, other: float | None) -> float | None:
    total = (math.nan if one is None else one) + (math.nan if other is None else other)
    return None if math.isnan(total) else total
