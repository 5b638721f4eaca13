"""Whether a question finds the chunk that it was written about, among all chunks that a policy covers."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from mining.bm25 import bm25_score
from mining.dense import embed
from store.candidates import chunk_texts
from store.database import Store
from store.policies import Policy
from store.progress import Progress, silent
from store.retrievals import all_chunk_ids
from store.synthetic import Retrieval, Waiting
from store.workspace import MineSettings

if TYPE_CHECKING:
    from mining.hits import Score

DEPTH = 20


def retriever(
    store: Store, policy: Policy, *, dense: MineSettings | None = None, progress: Progress = silent
) -> Callable[[Sequence[Waiting]], list[Retrieval]]:
    """Return a function that looks for the chunk of each question by BM25 and, with `dense`, by cosine similarity.

    The rank of a chunk is one more than the number of chunks that score higher. The corpus is read when the function is
    first called. Model and prompts are those of `dense`; embeddings are kept in the store, as those of mining are.

    Raises:
        MissingError: (the function) there is no such model.
    """
    chunk_ids = functools.cache(lambda: all_chunk_ids(store, policy.kinds).combine_chunks())
    places = functools.cache(lambda: {chunk_id: place for place, chunk_id in enumerate(chunk_ids().to_pylist())})

    def by_words(questions: Sequence[Waiting]) -> "Score":
        texts = chunk_texts(store, chunk_ids())
        return bm25_score([question.text for question in questions], (texts[chunk_id] for chunk_id in places()))

    def retrieve(questions: Sequence[Waiting]) -> list[Retrieval]:
        if not questions:
            return []
        lexical, vectors = by_words(questions), None
        if dense:
            anchor_ids = pa.array([question.anchor_id for question in questions], pa.string())
            vectors = embed(store, anchor_ids, chunk_ids(), dense, progress)
        progress.start("look for the chunks of the questions", len(questions))
        found = []
        for number, question in enumerate(questions):
            place, row = places().get(question.chunk_id), slice(number, number + 1)
            bm25_rank = _rank(lexical, row, place, len(places()))
            dense_rank = _rank(vectors.score, row, place, len(places())) if vectors else None
            found.append(Retrieval(DEPTH, bm25_rank, dense_rank, vectors.model if vectors else None))
            progress.advance()
        return found

    return retrieve


def _rank(score: "Score", row: slice, place: int | None, chunks: int) -> int | None:
    """Return the 1-based rank of the chunk at `place`; None beyond `DEPTH`, and where nothing matches at all."""
    if place is None:  # the policy has come to cover other kinds of chunk
        return None
    scores = score(row, slice(0, chunks))[0]
    rank = 1 + int((scores > scores[place]).sum())
    return rank if rank <= DEPTH and scores[place] > float("-inf") else None
