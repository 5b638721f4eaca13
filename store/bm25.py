"""BM25: which texts share rare words with a query (bm25s, with Lucene's formula and parameters)."""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store.text import normalised, words

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Bm25Index:
    """An index of `size` texts. Make it with `bm25_index`; `index` is None where no text has a word."""

    size: int
    vocabulary: Mapping[str, int]
    index: Any

    @property
    def bytes_held(self) -> int:
        """Size of its postings, without the vocabulary."""
        return (
            sum(int(part.nbytes) for part in self.index.scores.values() if hasattr(part, "nbytes")) if self.index else 0
        )

    def terms(self, query: str) -> list[int]:
        """Return the words of a query that the texts have."""
        return [self.vocabulary[word] for word in _words(query) if word in self.vocabulary]

    def scores(self, terms: list[int]) -> "npt.NDArray[np.float32]":
        """Return the score of each text for such words; 0 where it has none of them."""
        import numpy as np

        found = np.zeros(self.size, np.float32)
        if terms:
            found[:] = self.index.get_scores_from_ids(terms)
        return found


def bm25_index(corpus: Iterable[str]) -> Bm25Index:
    """Index texts.

    Words are those of `store.text`: case, accents of form and punctuation do not count, and in scripts without spaces
    each character is a word. No language is assumed: no stop words, no stemming.
    """
    from bm25s import BM25

    vocabulary: dict[str, int] = {}
    # Arrays, since lists of lists of numbers would take ten times the memory of the index.
    indexed = [array("i", [vocabulary.setdefault(word, len(vocabulary)) for word in _words(text)]) for text in corpus]
    if not vocabulary:
        return Bm25Index(len(indexed), {}, None)
    index = BM25(csc_backend="scipy")
    index.index((indexed, vocabulary), create_empty_token=False, show_progress=False)
    return Bm25Index(len(indexed), vocabulary, index)


def _words(text: str) -> list[str]:
    return words(normalised(text))
