"""How a model of any kind orders chunks for queries."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from store.errors import UsageError
from store.progress import Progress
from train.held_out import HeldOut
from train.kinds import kind_of, load
from train.models import quiet
from train.recipe import Kind

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DEPTH = 10
RETRIEVED = 40  # chunks of the collection that are kept for a query, and that a reranker orders anew

_TEXTS_AT_ONCE = 512
_QUERIES_AT_ONCE = 256
_CELLS = 1 << 24  # of a block of token similarities: bounds the memory of late interaction to some 64 MB

Run = dict[str, dict[str, float]]  # query -> chunk -> score


class Ranked(NamedTuple):
    """What a model made of the test set: `labelled` orders the chunks with a label, `collection` the best of all."""

    labelled: Run
    collection: Run


def rank_with_all(test: HeldOut, wanted: Sequence[str], models: Sequence[str], progress: Progress) -> dict[str, Ranked]:
    """Rank for the `wanted` queries with each model, given by folder or hub name.

    A model that embeds scores the whole pool. A reranker reads each pair anew and cannot: it orders the first 40 that
    the first of the embedding models retrieves, as it would in use.

    Raises:
        UsageError: there are rerankers, and no model that retrieves.
        MissingError: there is no such model.
        InvalidDataError: a model cannot be read.
    """
    kinds = {model: kind_of(model) for model in models}
    retrieving = [model for model in models if kinds[model] != "reranker"]
    if not retrieving:
        raise UsageError(
            f"{models[0]} reorders what another model retrieves, and none is named that retrieves",
            hint="--base-model FOLDER_OF_A_SENTENCE_TRANSFORMER",
        )
    found = {model: _retrieve(test, wanted, model, kinds[model], progress) for model in retrieving}
    first_stage = found[retrieving[0]].collection
    for model in models:
        if kinds[model] == "reranker":
            found[model] = _rerank(test, wanted, model, first_stage, progress)
    return {model: found[model] for model in models}


def _retrieve(test: HeldOut, wanted: Sequence[str], model: str, kind: Kind, progress: Progress) -> Ranked:
    """Score the pool for each query by the similarity of the model's kind."""
    import numpy as np

    chunk_ids = list(test.pool)
    place = {chunk_id: i for i, chunk_id in enumerate(chunk_ids)}
    depth = min(RETRIEVED, len(chunk_ids))
    ranked = Ranked({}, {})
    queries = [test.queries[query] for query in wanted]
    loaded = load(kind, model)
    progress.start(f"Encoding with {model}", len(queries) + len(test.pool))
    rows = (row for block in _scores(loaded, kind, queries, list(test.pool.values()), progress) for row in block)
    for query, row in zip(wanted, rows, strict=True):
        best = np.argpartition(-row, depth - 1)[:depth]
        ranked.collection[query] = {chunk_ids[i]: float(row[i]) for i in best}
        ranked.labelled[query] = {chunk_id: float(row[place[chunk_id]]) for chunk_id in test.qrels[query]}
    return ranked


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
        with quiet():
            read = model.predict([(queries[query], chunks[chunk]) for query, chunk in pairs], show_progress_bar=False)
        found: Run = {query: {} for query in qrels}
        for (query, chunk), score in zip(pairs, read, strict=True):
            found[query][chunk] = float(score)
        progress.advance(len(pairs))
        return found
    place = {chunk: i for i, chunk in enumerate(chunks)}
    texts = [queries[query] for query in qrels]
    rows = (row for block in _scores(model, kind, texts, list(chunks.values()), progress) for row in block)
    return {
        query: {chunk: float(row[place[chunk]]) for chunk in qrels[query]}
        for query, row in zip(qrels, rows, strict=True)
    }


def _scores(
    model: Any,  # noqa: ANN401
    kind: Kind,
    queries: Sequence[str],
    chunks: Sequence[str],
    progress: Progress,
) -> Iterator["npt.NDArray[np.float32]"]:
    """Yield blocks of scores, shape (some queries, chunks), with the model's own prompts for both."""
    with quiet():
        encoded_queries = _encoded(model.encode_query, kind, queries, progress)
        encoded_chunks = _encoded(model.encode_document, kind, chunks, progress)
    if kind == "multi-vector":
        yield from _late_interaction(model, encoded_queries, encoded_chunks)
        return
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        block = encoded_queries[start : start + _QUERIES_AT_ONCE] @ encoded_chunks.T
        yield block.toarray() if kind == "sparse" else block


def _encoded(encode: Any, kind: Kind, texts: Sequence[str], progress: Progress) -> Any:  # noqa: ANN401
    """Return unit vectors (bi-encoder), a sparse matrix in rows (sparse), or a matrix of token vectors a text."""
    import numpy as np
    from scipy.sparse import vstack

    options = {"normalize_embeddings": True} if kind == "bi-encoder" else {}
    parts = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        some = list(texts[start : start + _TEXTS_AT_ONCE])
        part = encode(some, show_progress_bar=False, **options)
        parts.append(_in_rows(part) if kind == "sparse" else part)
        progress.advance(len(some))
    if kind == "multi-vector":
        return [matrix for part in parts for matrix in part]
    return vstack(parts, format="csr") if kind == "sparse" else np.concatenate(parts)


def _in_rows(tensor: Any) -> Any:  # noqa: ANN401
    """Turn a sparse tensor into scipy's matrix, whose rows can be sliced."""
    from scipy.sparse import csr_matrix

    whole = tensor.cpu().coalesce()
    return csr_matrix((whole.values().numpy(), whole.indices().numpy()), shape=tuple(whole.shape))


def _late_interaction(
    model: Any,  # noqa: ANN401
    queries: Sequence[Any],
    chunks: Sequence[Any],
) -> Iterator["npt.NDArray[np.float32]"]:
    """Yield the scores of one query after the other; chunks are padded to the longest of a block of their own."""
    import numpy as np

    tokens = max(len(chunk) for chunk in chunks)
    for query in queries:
        size = max(1, _CELLS // (tokens * len(query)))
        blocks = (chunks[start : start + size] for start in range(0, len(chunks), size))
        yield np.concatenate([model.similarity([query], block).cpu().numpy() for block in blocks], axis=1)


def _rerank(test: HeldOut, wanted: Sequence[str], model: str, first_stage: Run, progress: Progress) -> Ranked:
    """Let a reranker order the labelled chunks of each query, and those that the first stage retrieved."""
    reranker: Any = load("reranker", model)
    pairs = [(query, chunk) for query in wanted for chunk in {**test.qrels[query], **first_stage[query]}]
    progress.start(f"Reranking with {model}", len(pairs))
    scores: Run = {query: {} for query in wanted}
    for start in range(0, len(pairs), _TEXTS_AT_ONCE):
        some = pairs[start : start + _TEXTS_AT_ONCE]
        with quiet():
            read = reranker.predict(
                [(test.queries[query], test.pool[chunk]) for query, chunk in some], show_progress_bar=False
            )
        for (query, chunk), score in zip(some, read, strict=True):
            scores[query][chunk] = float(score)
        progress.advance(len(some))
    return Ranked(
        {query: {chunk: scores[query][chunk] for chunk in test.qrels[query]} for query in wanted},
        {query: {chunk: scores[query][chunk] for chunk in first_stage[query]} for query in wanted},
    )
