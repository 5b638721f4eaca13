"""Chunks that repeat a cited one: known before anybody is asked, and never to become negatives."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from store.text import NEAR_DUPLICATE, SHINGLE_WORDS, Shingles, normalised, overlap, shingles_of, words


class Repeat(NamedTuple):
    """A chunk that says again what a positive of the same anchor says. `similarity` is 1.0 for the same text."""

    chunk_id: str
    duplicate_of: str
    similarity: float


@dataclass(frozen=True, slots=True)
class _Positive:
    chunk_id: str
    shingles: Shingles
    beginnings: frozenset[str]  # the words that a shingle begins with
    spared: float  # how many shingles a text may lack and still repeat this one

    @classmethod
    def of(cls, chunk_id: str, normal: str) -> Self:
        spoken = words(normal)
        runs = shingles_of(spoken)
        beginnings = frozenset(spoken[: max(1, len(spoken) - SHINGLE_WORDS + 1)])
        return cls(chunk_id, runs, beginnings, (1 - NEAR_DUPLICATE) * len(runs) + 1e-9)

    def may_be_repeated_by(self, spoken: set[str]) -> bool:
        """Tell apart, at a tenth of the cost of comparing, nearly all texts that have little to do with this one.

        Exact: each beginning that a text lacks is a shingle that it lacks, and an overlap of t or more leaves at most
        1 - t of the shingles of either side unshared.
        """
        return len(self.beginnings) - len(self.beginnings & spoken) <= self.spared


def repeats(positives: Mapping[str, str], others: Mapping[str, str]) -> list[Repeat]:
    """Find those of `others` that equal or nearly equal one of `positives`; both map chunk ids to texts.

    Each is named once, with the positive that it resembles most (of equals, the first by id).
    """
    exact: dict[str, str] = {}
    for chunk_id in sorted(positives):
        exact.setdefault(normalised(positives[chunk_id]), chunk_id)
    known = [_Positive.of(chunk_id, normal) for normal, chunk_id in exact.items()]
    found = []
    for chunk_id, text in others.items():
        normal = normalised(text)
        if normal in exact:
            found.append(Repeat(chunk_id, exact[normal], 1.0))
            continue
        spoken = words(normal)
        vocabulary = set(spoken)
        close = [positive for positive in known if positive.may_be_repeated_by(vocabulary)]
        if close:
            runs = shingles_of(spoken)
            similarity, best = max(
                ((overlap(runs, positive.shingles), positive) for positive in close), key=operator.itemgetter(0)
            )
            if similarity >= NEAR_DUPLICATE:
                found.append(Repeat(chunk_id, best.chunk_id, similarity))
    return found
