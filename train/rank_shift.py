"""Where relevant chunks stood before, and where they stand now."""

import math
import statistics
from collections.abc import Mapping, Sequence

from train.evaluation import Move, RankShift, ShownMove, Within
from train.held_out import HeldOut
from train.ranking import Ranked

_SHOWN = 10
_FIRST = (5, 10)


def rank_shift(
    test: HeldOut, queries: Sequence[str], before: str, after: str, systems: Mapping[str, Ranked]
) -> RankShift:
    """Follow each relevant chunk from its place in the ranking of the pool by one system to that by another.

    The size of a move is the factor between the places, since from 20 to 5 says more than from 220 to 205. A chunk that
    was not found counts as the place after the last one of the pool.
    """
    old, new = systems[before].places, systems[after].places
    moves = tuple(
        Move(query, chunk, old[query][chunk], new[query][chunk])
        for query in queries
        for chunk, relevant in test.qrels[query].items()
        if relevant
    )
    last = len(test.pool) + 1

    def factor(move: Move) -> float:
        return math.log((move.before or last) / (move.after or last))

    by_factor = sorted(moves, key=lambda move: (-factor(move), move.anchor_id, move.chunk_id))
    return RankShift(
        before,
        after,
        moves,
        _median([move.before for move in moves]),
        _median([move.after for move in moves]),
        tuple(_within(moves, first) for first in _FIRST),
        tuple(_shown(test, move) for move in by_factor[:_SHOWN] if factor(move) > 0),
        tuple(_shown(test, move) for move in by_factor[::-1][:_SHOWN] if factor(move) < 0),
    )


def _median(places: Sequence[int | None]) -> float | None:
    if not places:
        return None
    median = statistics.median(math.inf if place is None else place for place in places)
    return median if math.isfinite(median) else None


def _within(moves: Sequence[Move], first: int) -> Within:
    told = [(_is_within(move.before, first), _is_within(move.after, first)) for move in moves]
    return Within(
        first,
        sum(before for before, _ in told),
        sum(after for _, after in told),
        sum(after and not before for before, after in told),
        sum(before and not after for before, after in told),
    )


def _is_within(place: int | None, first: int) -> bool:
    return place is not None and place <= first


def _shown(test: HeldOut, move: Move) -> ShownMove:
    return ShownMove(test.queries[move.anchor_id], test.pool[move.chunk_id], move.before, move.after)
