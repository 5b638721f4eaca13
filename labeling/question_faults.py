"""What is wrong with a question that a model wrote: it repeats another one, copies its chunk, or is none."""

import math
import re
from collections import defaultdict
from collections.abc import Callable

from store.text import Shingles, normalised, overlap, words

_LONGEST = 500  # characters
_RUN = 8  # words in a row that are also in the chunk: copied
_PART = 4  # words in a row that are also in the chunk: taken from there
_TAKEN = 0.7  # share of the words from which on the question is no more than a piece of its chunk
_ITS_TEXT = re.compile(
    r"\b(this|the (above|following|given|provided)) (text|passage|document|excerpt|chunk|snippet|candidate|paragraph)\b"
    r"|\b(according to|in|from|by) the (text|passage|excerpt|chunk|snippet|candidate)\b",
    re.IGNORECASE,
)


def fault_of(question: str, chunk: str) -> str | None:
    """Say what disqualifies a question about a chunk, or None."""
    spoken = words(normalised(question))
    if len(spoken) < 2:
        return "too short"
    if len(question) > _LONGEST:
        return "too long"
    if _ITS_TEXT.search(question):
        return "speaks of the text before it"
    return "copies its chunk" if _copies(spoken, words(normalised(chunk))) else None


def _copies(spoken: list[str], written: list[str]) -> bool:
    """Tell whether words are those of a text: a long run of them, or most of them in shorter runs."""
    unspaced = sum(map(len, spoken)) < 2 * len(spoken)  # scripts in which every character counts as a word
    run, part = (2 * _RUN, 2 * _PART) if unspaced else (_RUN, _PART)
    if _runs(spoken, run) & _runs(written, run):
        return True
    known = _runs(written, part)
    taken = {
        place
        for start in range(len(spoken) - part + 1)
        if tuple(spoken[start : start + part]) in known
        for place in range(start, start + part)
    }
    return len(taken) >= _TAKEN * len(spoken)


def _runs(spoken: list[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(spoken[start : start + length]) for start in range(len(spoken) - length + 1)}


class KnownTexts:
    """Texts by name, to be asked which of them another text repeats; one can be added at any time.

    Two sets that share the fraction t of all their members share one of the first n - ceil(t * n) + 1 members of each,
    in any one order of all members (prefix filter: Chaudhuri, Ganti and Kaushik, ICDE 2006), so few are compared.
    """

    def __init__(self, features: Callable[[str], Shingles], threshold: float) -> None:
        """Start with none; `features` and `threshold` as `store.text` has them for queries and for chunks."""
        self._features = features
        self._threshold = threshold
        self._exact: dict[str, str] = {}
        self._sets: dict[str, Shingles] = {}
        self._named_in: dict[int, list[str]] = defaultdict(list)

    def add(self, name: str, text: str) -> None:
        """Know a text from now on; of texts that are the same once normalised, the first keeps its name."""
        normal = normalised(text)
        if normal in self._exact:
            return
        self._exact[normal] = name
        self._sets[name] = self._features(normal)
        for member in self._first(self._sets[name]):
            self._named_in[member].append(name)

    def repeated_by(self, text: str) -> tuple[str, float] | None:
        """Return the text that another one repeats, with their similarity (1.0: the same once normalised), or None."""
        normal = normalised(text)
        if normal in self._exact:
            return self._exact[normal], 1.0
        own = self._features(normal)
        close = {name for member in self._first(own) for name in self._named_in.get(member, ())}
        scored = [(overlap(own, self._sets[name]), name) for name in close]
        best, name = max(scored, default=(0.0, ""))
        return (name, best) if best >= self._threshold else None

    def _first(self, members: Shingles) -> list[int]:
        count = len(members) - math.ceil(self._threshold * len(members) - 1e-9) + 1
        return sorted(members)[:count]
