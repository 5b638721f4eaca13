"""The order in which pairs are worth a reviewer's time."""

from collections import deque
from collections.abc import Iterable

from store.policies import Policy
from store.reviews import PairToReview

RUN = 3  # pairs of one query in a row: enough to use that it has been read, too few to tire of it


def in_review_order(policy: Policy, pairs: Iterable[PairToReview]) -> list[PairToReview]:
    """Order pairs by what a person's answer can change most.

    First those where the judge contradicts what the source proposed; then those that no judge settled, likely
    relevant ones (by triage score) first; then the rest; by rank inside each. Inside each of the three, queries
    take turns, with at most `RUN` pairs of one in a row while there is another.
    """
    tiers: tuple[list[PairToReview], ...] = ([], [], [])
    for pair in pairs:
        tiers[_tier(policy, pair)].append(pair)
    ordered: list[PairToReview] = []
    for tier, urgency in zip(tiers, (_by_rank, _by_triage, _by_rank), strict=True):
        last = ordered[-1].anchor if ordered else None
        ordered += _in_turns(sorted(tier, key=urgency), last)
    return ordered


def _tier(policy: Policy, pair: PairToReview) -> int:
    role = policy.role(pair.label) if pair.label is not None else "excluded"
    if role == "excluded":
        return 1
    return 2 if role == pair.proposed else 0


def _by_rank(pair: PairToReview) -> tuple[float, str]:
    return pair.rank if pair.rank is not None else float("inf"), pair.pair_id


def _by_triage(pair: PairToReview) -> tuple[float, float, str]:
    return -pair.triage_score if pair.triage_score is not None else float("inf"), *_by_rank(pair)


def _in_turns(pairs: list[PairToReview], last: str | None) -> list[PairToReview]:
    """Let anchors take turns of `RUN` pairs, in order of first appearance; `last` was on just before."""
    waiting: dict[str, deque[PairToReview]] = {}
    for pair in pairs:
        waiting.setdefault(pair.anchor, deque()).append(pair)
    turns = deque(waiting.values())
    if turns and turns[0][0].anchor == last:
        turns.rotate(-1)
    ordered = []
    while turns:
        mine = turns.popleft()
        ordered += [mine.popleft() for _ in range(min(RUN, len(mine)))]
        if mine:
            turns.append(mine)
    return ordered
