"""Whether a question finds the chunk that it was written about, among all chunks that a policy covers."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from store.candidates import chunk_texts
from store.database import Store
from store.embeddings import embedded
from store.encoders import load_model, model_name
from store.policies import Policy
from store.progress import Progress, silent
from store.retrievals import all_chunk_ids
from store.synthetic import Retrieval, Waiting
from store.text import normalised, words

if TYPE_CHECKING:
    import numpy as np
    from bm25s import BM25

DEPTH = 20


def retriever(
    store: Store, policy: Policy, *, model: str = "", progress: Progress = silent
) -> Callable[[Sequence[Waiting]], list[Retrieval]]:
    """Return a function that looks for the chunk of each question by BM25 and, with a `model`, by cosine similarity.

    The rank of a chunk is one more than the number of chunks that score higher. The corpus is read and indexed when
    the function is first called; embeddings are kept in the store.

    Raises:
        MissingError: (the function) there is no such model.
    """

    @functools.cache
    def corpus() -> dict[str, str]:
        ids = all_chunk_ids(store, policy.kinds)
        texts = chunk_texts(store, ids.combine_chunks())
        return {chunk_id: texts[chunk_id] for chunk_id in ids.to_pylist()}

    @functools.cache
    def places() -> dict[str, int]:
        return {chunk_id: place for place, chunk_id in enumerate(corpus())}

    index = functools.cache(lambda: _indexed(list(corpus().values())))
    encoder = functools.cache(lambda: load_model(model))
    named = functools.cache(lambda: model_name(model))

    def encode(texts: list[str], part: str) -> "np.ndarray":
        loaded = encoder()
        as_part = loaded.encode_query if part == "query" else loaded.encode_document
        vectors: np.ndarray = as_part(texts, normalize_embeddings=True, show_progress_bar=False)
        return vectors

    def vectors(texts: Sequence[str], part: str) -> "np.ndarray":
        return embedded(
            store, texts, model=f"{named()}, {part}", encode=lambda batch: encode(batch, part), progress=progress
        )

    chunk_vectors = functools.cache(lambda: vectors(list(corpus().values()), "document"))

    def retrieve(questions: Sequence[Waiting]) -> list[Retrieval]:
        if not questions:
            return []
        dense: list[int | None] = [None] * len(questions)
        if model:
            asked = vectors([question.text for question in questions], "query")
            for number, question in enumerate(questions):
                dense[number] = _rank(chunk_vectors() @ asked[number], places().get(question.chunk_id))
        found = []
        progress.start("look for the chunks of the questions", len(questions))
        for question, dense_rank in zip(questions, dense, strict=True):
            scores = index().get_scores(words(normalised(question.text)))
            bm25_rank = _rank(scores, places().get(question.chunk_id))
            found.append(Retrieval(DEPTH, bm25_rank, dense_rank, named() if model else None))
            progress.advance()
        return found

    return retrieve


def _indexed(texts: Sequence[str]) -> "BM25":
    import bm25s

    index = bm25s.BM25()
    index.index([words(normalised(text)) for text in texts], show_progress=False)
    return index


def _rank(scores: "np.ndarray", place: int | None) -> int | None:
    """Return the 1-based rank of the chunk at `place`; None beyond `DEPTH`, and where nothing matches at all."""
    if place is None:  # the policy has come to cover other kinds of chunk
        return None
    own = scores[place]
    rank = 1 + int((scores > own).sum())
    return rank if rank <= DEPTH and own > 0 else None
