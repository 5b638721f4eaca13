"""BM25 over the corpus: which chunks share rare words with a query (bm25s, with Lucene's formula and parameters)."""

from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from store.text import normalised, words

if TYPE_CHECKING:
    import numpy as np

    from mining.hits import Score


def bm25_score(queries: Sequence[str], corpus: Iterable[str]) -> "Score":
    """Index a corpus, and return the scores of queries for its texts; -inf where they share no word.

    Words are those of `store.text`: case, accents of form and punctuation do not count, and in scripts without spaces
    each character is a word. No language is assumed: no stop words, no stemming.
    """
    import numpy as np
    from bm25s import BM25

    vocabulary: dict[str, int] = {}
    # Arrays, since lists of lists of numbers would take ten times the memory of the index.
    indexed = [array("i", [vocabulary.setdefault(word, len(vocabulary)) for word in _words(text)]) for text in corpus]
    size = len(indexed)
    if not vocabulary:
        return lambda rows, columns: np.full(
            (rows.stop - rows.start, columns.stop - columns.start), -np.inf, np.float32
        )
    index = BM25(csc_backend="scipy")
    index.index((indexed, vocabulary), create_empty_token=False, show_progress=False)
    del indexed
    asked = [[vocabulary[word] for word in _words(query) if word in vocabulary] for query in queries]

    def score(rows: slice, columns: slice) -> "np.ndarray":
        found = np.zeros((rows.stop - rows.start, size), np.float32)
        for row, ids in zip(found, asked[rows], strict=True):
            if ids:
                row[:] = index.get_scores_from_ids(ids)
        found[found <= 0] = -np.inf
        return found[:, columns]

    return score


def _words(text: str) -> list[str]:
    return words(normalised(text))
