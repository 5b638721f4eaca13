"""The order in which pairs are worth a reviewer's time, and who is asked blind.

Nothing about a record's place may tell an audit record from one that no judge has seen. So audit records stand at
random places all along the queue, in runs of one query like every other; and the unjudged ones are spread along it too.
Where audit pairs need more answers than the others, those that have some of them stay while the targeted ones around
them leave, and would come to stand close together. So they are spread anew then, among what is left.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from types import MappingProxyType

from labeling.review_value import ReviewValue, by_value, value_pairs
from store.database import Store
from store.policies import Policy
from store.review_streams import ReviewStream, audit_place, audit_seed, draw_streams, drawn_streams, uniform
from store.reviews import PairToReview, pairs_to_review
from store.workspace import Overlap, ReviewSettings

RUN = 3  # pairs of one query in a row: enough to use that it has been read, too few to tire of it

_NOBODY: Mapping[str, Set[str]] = MappingProxyType({})
_Unit = list[PairToReview]  # near-duplicates of one query, which are answered together


@dataclass(frozen=True, slots=True)
class QueuedPair:
    """A pair in the review queue. `order` counts from 1; `open` says whether it needs a further person's answer.

    The place of a targeted pair comes from its `value`; an audit pair has one too, which nothing hangs on.
    """

    pair: PairToReview
    order: int
    stream: ReviewStream
    open: bool
    value: ReviewValue


def review_queue(
    store: Store,
    policy: Policy,
    settings: ReviewSettings,
    *,
    answered: Mapping[str, Set[str]] = _NOBODY,
    draw: bool = True,
) -> list[QueuedPair]:
    """Return the pairs of a policy that go to review: first the open ones, in the order in which they are asked.

    Pairs that go to review for the first time are drawn into a stream here, once and for all. Whoever asks people, asks
    in this order what is `open` and what that person has not answered yet (`pair.reviewers`), and shows of a pair in
    the audit stream nothing that a judge or a ranking said.

    Args:
        store: holds the pairs.
        policy: whose pairs.
        settings: the audit's share, how many people answer a pair, and whether an answer holds for duplicates.
        answered: who has answered elsewhere, by pair id, where that is not in the store yet.
        draw: False leaves the pairs that have no stream yet without one, and orders them as targeted ones.
    """
    known = pairs_to_review(store, policy)
    ids = [pair.pair_id for pair in known]
    if draw:
        streams = draw_streams(store, policy, ids, audit_share=settings.audit_share)
    else:
        drawn = drawn_streams(store, policy)
        streams = {pair_id: drawn.get(pair_id, "targeted") for pair_id in ids}
    pairs = [
        replace(pair, reviewers=tuple(sorted({*pair.reviewers, *answered.get(pair.pair_id, ())}))) for pair in known
    ]
    values = value_pairs(store, policy, pairs, settings)
    waiting = in_waiting_order(pairs, streams, values, settings, seed=audit_seed(store, policy) or "")
    still_open = {pair.pair_id for pair in waiting}
    done = [pair for pair in pairs if pair.pair_id not in still_open]
    return [
        QueuedPair(pair, order, streams[pair.pair_id], pair.pair_id in still_open, values[pair.pair_id])
        for order, pair in enumerate([*waiting, *done], start=1)
    ]


def in_waiting_order(
    pairs: Sequence[PairToReview],
    streams: Mapping[str, ReviewStream],
    values: Mapping[str, ReviewValue],
    settings: ReviewSettings,
    *,
    seed: str,
) -> list[PairToReview]:
    """Return the pairs that need a further person's answer, in review order.

    Args:
        pairs: in any order, with those who have answered them.
        streams: of each pair, by id.
        values: of each pair, by id.
        settings: how many people answer a pair of each stream, and whether an answer holds for duplicates.
        seed: decides what chance decides here.
    """
    people = settings.overlap.model_dump()
    waiting = {pair.pair_id for pair in pairs if len(pair.reviewers) < people[streams[pair.pair_id]]}
    if needs_spreading(settings.overlap):
        pairs = [pair for pair in pairs if pair.pair_id in waiting]
    together = settings.propagate == "none"  # else one answer does for all of them
    ordered = in_review_order(pairs, streams, values, seed=seed, alike_together=together)
    return [pair for pair in ordered if pair.pair_id in waiting]


def needs_spreading(wanted: Overlap) -> bool:
    """Tell whether audit pairs stay open where targeted ones close, so that they must be spread anew as people answer.

    Otherwise both streams leave the queue alike, or the targeted ones stay; then everyone finds the pairs that they
    have not answered as they were spread from the start.
    """
    return wanted.audit > wanted.targeted


def in_review_order(
    pairs: Iterable[PairToReview],
    streams: Mapping[str, ReviewStream],
    values: Mapping[str, ReviewValue],
    *,
    seed: str,
    alike_together: bool = True,
) -> list[PairToReview]:
    """Order pairs by what a person's answer is worth, with the audit spread evenly among them.

    Targeted pairs come by value (see `labeling.review_value`), and queries take turns: at most `RUN` pairs of one stand
    in a row while another waits, or fewer where much is audited. Near-duplicates of one query stand together.

    Audit pairs come in random order, each at a random place of its equal share of the queue, as one of a run of its
    query; near-duplicates join the first of theirs. So the audit pairs up to any point are a random sample of all.
    Those answered by people who have answered none of the targeted ones are spread evenly among the other audit pairs:
    what these people have not answered has its audit spread evenly too.

    Args:
        pairs: in any order.
        streams: of each pair, by id.
        values: of each pair, by id.
        seed: decides what chance decides here.
        alike_together: False lets near-duplicates stand apart, each where its own value puts it.
    """
    pairs = sorted(pairs, key=lambda pair: pair.pair_id)
    audit = [pair for pair in pairs if streams[pair.pair_id] == "audit"]
    targeted = [pair for pair in pairs if streams[pair.pair_id] == "targeted"]
    audit = _in_audit_order(audit, {pair.reviewers for pair in targeted}, seed)
    cluster = {p.pair_id: values[p.pair_id].group if alike_together else -n for n, p in enumerate(pairs, start=1)}
    joined, units = _units(_by_worth(targeted, values), audit, cluster)
    limit = max(1, min(RUN, len(pairs) // len(audit))) if audit else RUN
    turns = _Turns(units, limit=limit)
    ordered: list[PairToReview] = []
    for number, pair in enumerate(audit):
        due = int((number + uniform(seed, "place", pair.pair_id)) * len(pairs) / len(audit))
        while turns.left and len(ordered) < due:
            ordered += turns.next_run(_anchor_of_last(ordered))
        on_time = len(ordered) <= due + 2 * limit  # else, with few queries and much to audit, the audit falls behind
        if on_time and _anchor_of_last(ordered) == pair.anchor and turns.left_besides(pair.anchor):
            ordered += turns.next_run(pair.anchor)
        near = [[other] for other in joined.get(pair.pair_id, [])]
        together = _put_into(near, [pair], uniform(seed, "near", pair.pair_id))
        company = turns.company(pair.anchor, len(together)) if on_time else []
        ordered += _put_into(company, together, uniform(seed, "run", pair.pair_id))
    while turns.left:
        ordered += turns.next_run(_anchor_of_last(ordered))
    return ordered


def _in_audit_order(audit: Sequence[PairToReview], elsewhere: Set[tuple[str, ...]], seed: str) -> list[PairToReview]:
    """Order audit pairs by chance, those answered by people as in no pair `elsewhere` spread among the others."""
    groups: dict[tuple[str, ...], list[PairToReview]] = defaultdict(list)
    for pair in sorted(audit, key=lambda pair: audit_place(seed, pair.pair_id)):
        groups[() if pair.reviewers in elsewhere else pair.reviewers].append(pair)
    return _in_proportion(groups.values())


def _in_proportion(groups: Iterable[Sequence[PairToReview]]) -> list[PairToReview]:
    """Let the pairs of several groups take turns in proportion to the groups' sizes, each group in its order."""
    places = [((place + 0.5) / len(group), pair.pair_id, pair) for group in groups for place, pair in enumerate(group)]
    return [pair for _, _, pair in sorted(places, key=lambda found: found[:2])]


def _anchor_of_last(ordered: Sequence[PairToReview]) -> str | None:
    return ordered[-1].anchor if ordered else None


def _put_into(others: Sequence[_Unit], unit: _Unit, chance: float) -> list[PairToReview]:
    """Join units, with `unit` before, between or after the others: `chance`, from [0, 1), says where."""
    place = int(chance * (len(others) + 1))
    return [pair for each in (*others[:place], unit, *others[place:]) for pair in each]


def _by_worth(pairs: Sequence[PairToReview], values: Mapping[str, ReviewValue]) -> list[PairToReview]:
    """Order pairs by value. Judged and unjudged ones, each in that order, take turns in proportion to their numbers.

    Audit pairs look like unjudged ones: were those all at one end, whatever looks so elsewhere would be of the audit.
    """
    return _in_proportion(
        sorted((pair for pair in pairs if (pair.label is None) == unjudged), key=lambda pair: by_value(pair, values))
        for unjudged in (False, True)
    )


def _units(
    pairs: Sequence[PairToReview], audit: Sequence[PairToReview], cluster: Mapping[str, int]
) -> tuple[Mapping[str, _Unit], list[tuple[int, _Unit]]]:
    """Gather what stands together.

    Args:
        pairs: the targeted ones, best first.
        audit: the others, in their order.
        cluster: of each pair, by id; those of one cluster stand together.

    Returns:
        By id of an audit pair, the targeted ones that join it; and the other units, each with the place of its best
        pair, best first.
    """
    first: dict[int, str] = {}
    for pair in audit:
        first.setdefault(cluster[pair.pair_id], pair.pair_id)
    joined: dict[str, _Unit] = defaultdict(list)
    units: dict[int, tuple[int, _Unit]] = {}
    for place, pair in enumerate(pairs):
        leader = first.get(cluster[pair.pair_id])
        if leader is not None:
            joined[leader].append(pair)
        else:
            units.setdefault(cluster[pair.pair_id], (place, []))[1].append(pair)
    return joined, list(units.values())


class _Turns:
    """Units of several anchors, taken in runs of one anchor: the anchor with the best unit left goes first."""

    def __init__(self, units: Iterable[tuple[int, _Unit]], *, limit: int) -> None:
        """Take units with their places, best first; `limit` is the length of a run."""
        self._limit = limit
        self._waiting: dict[str, deque[tuple[int, _Unit]]] = defaultdict(deque)
        for place, unit in units:
            self._waiting[unit[0].anchor].append((place, unit))
        # By place of an anchor's best unit. An entry whose unit has been taken meanwhile is dropped when it comes up.
        self._best = [(mine[0][0], anchor) for anchor, mine in self._waiting.items()]
        heapq.heapify(self._best)

    @property
    def left(self) -> bool:
        """Whether there are units left."""
        return bool(self._waiting)

    def left_besides(self, anchor: str) -> bool:
        """Tell whether units of another anchor are left."""
        return len(self._waiting) > (anchor in self._waiting)

    def next_run(self, last: str | None) -> list[PairToReview]:
        """Take the next run; of the anchor `last` only where no other is left."""
        held = None
        while True:
            place, anchor = heapq.heappop(self._best)
            mine = self._waiting.get(anchor)
            if mine is None or mine[0][0] != place:
                continue
            if anchor != last or not self.left_besides(anchor):
                break
            held = (place, anchor)
        if held is not None:
            heapq.heappush(self._best, held)
        return [pair for unit in self._take(anchor, 0) for pair in unit]

    def company(self, anchor: str, length: int) -> list[_Unit]:
        """Take units that fill up a run of this anchor that has this length already."""
        return self._take(anchor, length) if anchor in self._waiting else []

    def _take(self, anchor: str, length: int) -> list[_Unit]:
        mine = self._waiting[anchor]
        taken: list[_Unit] = []
        while mine and (not length or length + len(mine[0][1]) <= self._limit):
            taken.append(mine.popleft()[1])
            length += len(taken[-1])
        if not mine:
            del self._waiting[anchor]
        elif taken:
            heapq.heappush(self._best, (mine[0][0], anchor))
        return taken
