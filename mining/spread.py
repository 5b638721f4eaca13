"""Who gets which negatives: a quota for each query, a cap for each chunk, and all queries served in turn."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Pair = tuple[int, int]  # places of an anchor and of a chunk


def spread(
    options: Sequence[Sequence[int]],
    quota: int,
    *,
    per_chunk: int,
    order: Sequence[int],
    holders: Counter[int],
    unfit: Callable[[list[Pair]], set[Pair]],
) -> list[list[int]]:
    """Let anchors choose from their options in turn, one chunk a round, until each has its quota.

    A chunk goes to at most `per_chunk` anchors. Only an anchor that would be left with nothing gets one beyond that:
    the one that the fewest others have.

    Args:
        options: chunks of each anchor, the best first.
        quota: how many each gets, where there are so many.
        per_chunk: the cap.
        order: of the anchors within a round.
        holders: how many anchors have a chunk already; counted on.
        unfit: names those of newly chosen pairs that cannot be taken; asked once about each.

    Returns:
        The chunks of each anchor, in the order of its options.
    """
    table = _Table([iter(own) for own in options], [[] for _ in options], holders, per_chunk)
    refused: set[Pair] = set()
    while True:
        fresh = [pair for _ in range(quota) for pair in table.serve([a for a in order if len(table.taken[a]) < quota])]
        for anchor in (a for a in order if quota and not table.taken[a]):
            rest = [chunk for chunk in options[anchor] if (anchor, chunk) not in refused]
            if rest:
                fresh.append(table.give(anchor, min(rest, key=lambda chunk: holders[chunk])))
        if not fresh:
            place = [{chunk: number for number, chunk in enumerate(own)} for own in options]
            return [sorted(own, key=place[anchor].__getitem__) for anchor, own in enumerate(table.taken)]
        found = unfit(fresh)
        for anchor, chunk in found:
            table.taken[anchor].remove(chunk)
            holders[chunk] -= 1
        refused |= found


@dataclass(frozen=True, slots=True)
class _Table:
    left: list[Iterator[int]]  # options that an anchor has not looked at
    taken: list[list[int]]
    holders: Counter[int]
    per_chunk: int

    def serve(self, hungry: Sequence[int]) -> Iterator[Pair]:
        for anchor in hungry:
            chunk = next((chunk for chunk in self.left[anchor] if self.holders[chunk] < self.per_chunk), None)
            if chunk is not None:
                yield self.give(anchor, chunk)

    def give(self, anchor: int, chunk: int) -> Pair:
        self.taken[anchor].append(chunk)
        self.holders[chunk] += 1
        return anchor, chunk
