"""BM25 over the corpus, in blocks of scores as `mining.hits` reads them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from store.bm25 import bm25_index

if TYPE_CHECKING:
    import numpy as np

    from mining.hits import Score


def bm25_score(queries: Sequence[str], corpus: Iterable[str]) -> "Score":
    """Index a corpus, and return the scores of queries for its texts; -inf where they share no word."""
    import numpy as np

    index = bm25_index(corpus)
    asked = [index.terms(query) for query in queries]

    def score(rows: slice, columns: slice) -> "np.ndarray":
        found = np.empty((rows.stop - rows.start, index.size), np.float32)
        for row, terms in zip(found, asked[rows], strict=True):
            row[:] = index.scores(terms)
        found[found <= 0] = -np.inf
        return found[:, columns]

    return score
