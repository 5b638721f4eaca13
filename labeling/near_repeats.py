"""Pairs of one query whose chunks nearly repeat each other."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from store.propagation import near_pairs
from store.reviews import PairToReview
from store.text import Shingles, normalised, shingles


def groups_alike(pairs: Iterable[PairToReview]) -> dict[str, int]:
    """Number the groups of pairs of one anchor whose chunks nearly repeat each other, by single link; by pair id."""
    of_anchor: dict[str, list[PairToReview]] = defaultdict(list)
    for pair in pairs:
        of_anchor[pair.anchor].append(pair)
    known: dict[str, Shingles] = {}
    number: dict[str, int] = {}
    for group in of_anchor.values():
        for pair in group:
            if pair.chunk not in known:
                known[pair.chunk] = shingles(normalised(pair.chunk))
        leaders = _linked([known[pair.chunk] for pair in group])
        start = len(number)
        number |= {pair.pair_id: start + leader for pair, leader in zip(group, leaders, strict=True)}
    return number


def _linked(texts: Sequence[Shingles]) -> list[int]:
    """Return for each text the index of the first one that it is linked to by near-repetition, maybe over others."""
    leader = list(range(len(texts)))

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    for index, other, _ in near_pairs(texts):
        one, two = find(index), find(other)
        leader[max(one, two)] = min(one, two)
    return [find(index) for index in range(len(texts))]
