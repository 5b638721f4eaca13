"""What a person's answer about a pair is worth: how many triplets it is expected to move, and what it teaches besides.

    value = (gives / 2 + corrects) x nearness x newness x alike

- gives: the number of triplets that the pair is expected to stand in once people have labelled it. Nothing where its
  label is in use without them: somebody has answered, a duplicate lends it one, or the judge's is certified.
  It counts half: a wrong label costs a model more than a missing one (RLHN, arXiv 2505.16967).
- corrects: the number of triplets that the answer is expected to change: the doubt, which is the chance that it
  contradicts what would be taken for true without it (see `_assumed`), times the triplets that hang on the pair, those
  with it as a positive and those with it as a negative.
- nearness: from 0 to 1, how near the top, and how near the score of the other side, it was retrieved. What stands there
  is what a model has to tell apart, and what does most harm if its label is wrong.
- newness: 1 for the first answer about a query; the k-th counts 1 / sqrt(k). A pair with n answers has it divided by
  1 + n.
- alike: how many pairs the answer is expected to settle, of those of its query that nearly repeat it: where answers
  hold for duplicates, all of these; elsewhere the others too if the pair is relevant, for then a build takes none of
  them as a negative. For all but the first of several it is 1 divided by their number.

It is the same every time it is reckoned from the same reviews and judgments, and hangs on no chance. It orders the
targeted stream; the audit is drawn and ordered by chance alone.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import NamedTuple

from labeling.judge_calibration import calibrated_relevance
from labeling.near_repeats import groups_alike
from labeling.review_chances import Calibrated, relevance_chances, role_of
from store.builds import NEGATIVES_PER_POSITIVE
from store.certificates import certified_labels
from store.database import Store
from store.errors import MissingError
from store.policies import Policy, Role
from store.propagation import Propagate
from store.review_value import NOTHING_KNOWN, Known, known_of_pairs
from store.reviews import PairToReview
from store.text import normalised
from store.workspace import ReviewSettings

_UNRANKED = 0.25  # nearness of a pair that has no rank: that of about the fifteenth


@dataclass(frozen=True, slots=True)
class ReviewValue:
    """The value of an answer about a pair, by its parts (see the module).

    `known` names what the chance `relevant`, that people call the pair relevant, rests on; `assumed` is the role that
    it would have without an answer. `group` numbers the pairs of one query that nearly repeat each other.
    """

    known: str
    relevant: float
    assumed: Role
    gives: float
    corrects: float
    nearness: float
    newness: float
    alike: float
    group: int

    @property
    def doubt(self) -> float:
        """The chance that people contradict what is assumed."""
        return _doubt(self.relevant, self.assumed)

    @property
    def value(self) -> float:
        """What the answer is worth."""
        return (self.gives / 2 + self.corrects) * self.nearness * self.newness * self.alike


def _doubt(relevant: float, assumed: Role) -> float:
    return 1 - relevant if assumed == "positive" else relevant


def value_pairs(
    store: Store, policy: Policy, pairs: Sequence[PairToReview], settings: ReviewSettings
) -> dict[str, ReviewValue]:
    """Return by pair id what an answer is worth.

    Args:
        store: holds judgments and reviews.
        policy: whose pairs.
        pairs: all that go to review under it, with those who have answered them.
        settings: what makes one label of several answers, and whether one holds for duplicates.
    """
    known = known_of_pairs(store, policy, resolution=settings.resolution, propagate=settings.propagate)
    judges = {found.judge_id for found in known.values() if found.judge_id}
    maps = {judge: calibrated_relevance(store, policy, judge) for judge in sorted(judges)}
    calibrated = {judge: made for judge, made in maps.items() if made}
    try:
        certified = certified_labels(store, policy, resolution=settings.resolution).pair_ids
    except MissingError:
        certified = frozenset()
    return values_of(policy, pairs, known, calibrated, certified=certified, propagate=settings.propagate)


def values_of(
    policy: Policy,
    pairs: Sequence[PairToReview],
    known: Mapping[str, Known],
    calibrated: Mapping[str, Calibrated],
    *,
    certified: Set[str] = frozenset(),
    propagate: Propagate = "none",
) -> dict[str, ReviewValue]:
    """Do what `value_pairs` does, from what is known.

    `calibrated` makes chances of the confidences of judges, by judge id; `certified` are the pairs whose judge's label
    may be used.
    """
    chances = relevance_chances(policy, pairs, known, calibrated)
    queries: dict[str, list[PairToReview]] = defaultdict(list)
    for pair in pairs:
        queries[normalised(pair.anchor)].append(pair)
    groups = groups_alike(pairs)
    values: dict[str, ReviewValue] = {}
    for group in queries.values():
        roles = {pair.pair_id: _assumed(policy, pair, known.get(pair.pair_id, NOTHING_KNOWN)) for pair in group}
        hanging, near = _triplets(group, roles), _nearness(group, roles)
        for pair in group:
            key, found = pair.pair_id, known.get(pair.pair_id, NOTHING_KNOWN)
            chance = chances[key].relevant
            with_it = hanging[key]
            in_use = bool(pair.reviewers) or found.label is not None or key in certified
            values[key] = ReviewValue(
                known=chances[key].known,
                relevant=chance,
                assumed=roles[key],
                gives=0.0 if in_use else chance * with_it.as_positive + (1 - chance) * with_it.as_negative,
                corrects=_doubt(chance, roles[key]) * (with_it.as_positive + with_it.as_negative),
                nearness=near[key],
                newness=1.0,
                alike=1.0,
                group=groups[key],
            )
    for group in queries.values():
        values |= _with_alike(group, values, propagate)
        values |= _with_newness(group, values)
    return values


def _assumed(policy: Policy, pair: PairToReview, known: Known) -> Role:
    """Return the role that a pair has without a further answer: people's, else the judge's, else what was proposed."""
    for label in (known.label, pair.label):
        if role_of(policy, label) != "excluded":
            return role_of(policy, label)
    return "positive" if pair.proposed == "positive" else "negative"


class _Hanging(NamedTuple):
    """How many triplets a pair stands in as a positive, and as a negative."""

    as_positive: float
    as_negative: float


def _triplets(pairs: Sequence[PairToReview], roles: Mapping[str, Role]) -> dict[str, _Hanging]:
    """Return how many triplets hang on each pair of one query, the others being what they are assumed to be.

    As a positive it meets each negative, up to as many as a build takes; as a negative each positive, or less often
    where there are more negatives than a build takes.
    """
    count = Counter(roles.values())
    found = {}
    for pair in pairs:
        own = roles[pair.pair_id]
        positives, negatives = count["positive"] - (own == "positive"), count["negative"] - (own == "negative")
        as_negative = positives * min(1.0, NEGATIVES_PER_POSITIVE / (negatives + 1))
        found[pair.pair_id] = _Hanging(min(negatives, NEGATIVES_PER_POSITIVE), as_negative)
    return found


def _nearness(pairs: Sequence[PairToReview], roles: Mapping[str, Role]) -> dict[str, float]:
    """Return how near the top (1 / log2(1 + rank)) and how near the best score of the other side each pair stands.

    Nearness in score is 1 less the distance, as a share of the spread of the query's scores; the mean of both counts,
    or the place alone where there are no scores.
    """
    scores = {pair.pair_id: pair.score for pair in pairs if pair.score is not None and math.isfinite(pair.score)}
    spread = max(scores.values(), default=0.0) - min(scores.values(), default=0.0)
    best = {
        role: max((score for key, score in scores.items() if roles[key] == role), default=None)
        for role in ("positive", "negative")
    }
    near = {}
    for pair in pairs:
        place = 1 / math.log2(1 + pair.rank) if pair.rank is not None else _UNRANKED
        other = best["negative" if roles[pair.pair_id] == "positive" else "positive"]
        if pair.pair_id in scores and other is not None and spread > 0:
            distance = min(1.0, abs(scores[pair.pair_id] - other) / spread)
            near[pair.pair_id] = (place + 1 - distance) / 2
        else:
            near[pair.pair_id] = place
    return near


def _with_alike(
    query: Iterable[PairToReview], values: Mapping[str, ReviewValue], propagate: Propagate
) -> dict[str, ReviewValue]:
    """Add what a pair of a query settles among those that nearly repeat it; the best one first."""
    groups: dict[int, list[PairToReview]] = defaultdict(list)
    for pair in sorted(query, key=lambda p: (not p.reviewers, *by_value(p, values))):  # those with answers settle first
        groups[values[pair.pair_id].group].append(pair)
    done = {}
    for group in groups.values():
        first, size = group[0], len(group)
        own = values[first.pair_id]
        lent = {"none": 1, "near": size}.get(propagate) or _same_text(first, group)
        done[first.pair_id] = replace(own, alike=lent + own.relevant * (size - lent))
        done |= {pair.pair_id: replace(values[pair.pair_id], alike=1 / size) for pair in group[1:]}
    return done


def _same_text(pair: PairToReview, others: Iterable[PairToReview]) -> int:
    text = normalised(pair.chunk)
    return sum(normalised(other.chunk) == text for other in others)


def _with_newness(query: Sequence[PairToReview], values: Mapping[str, ReviewValue]) -> dict[str, ReviewValue]:
    """Add how new an answer about each pair of a query would be: those with answers come first, then by value."""
    ordered = sorted(query, key=lambda p: (not p.reviewers, *by_value(p, values)))
    return {
        pair.pair_id: replace(values[pair.pair_id], newness=1 / math.sqrt(1 + before) / (1 + len(pair.reviewers)))
        for before, pair in enumerate(ordered)
    }


def by_value(pair: PairToReview, values: Mapping[str, ReviewValue]) -> tuple[float, float, str]:
    """Sort key: the highest value first, then by rank, then by id."""
    return -values[pair.pair_id].value, pair.rank if pair.rank is not None else math.inf, pair.pair_id
