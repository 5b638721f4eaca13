"""What a person's answer about a pair is worth: how many triplets it is expected to move, and what it teaches besides.

    value = doubt x triplets x nearness x newness x alike

- doubt: the chance that the answer contradicts what would be taken for true without it (see `_assumed`)
- triplets: how many triplets hang on the pair: those that it is in as a positive, and those that it is in as a negative
  of its query. Doubt times triplets is the number that the answer is expected to move.
- nearness: from 0 to 1, how near the top, and how near the score of the other side, it was retrieved. What stands there
  is what a model has to tell apart, and what does most harm if its label is wrong.
- newness: 1 for the first answer about a query; the k-th counts 1 / sqrt(k). A pair with n answers has it divided by
  1 + n.
- alike: for the first of several pairs of a query that nearly repeat each other, their number: one answer tells of all
  of them. For each of the others one divided by it.

It is the same every time it is reckoned from the same reviews and judgments, and hangs on no chance. It orders the
targeted stream; the audit is drawn and ordered by chance alone.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from labeling.judge_calibration import calibrated_relevance
from labeling.judge_quality import relevance
from labeling.near_repeats import groups_alike
from store.builds import NEGATIVES_PER_POSITIVE
from store.database import Store
from store.policies import Policy, Role
from store.review_value import NOTHING_KNOWN, Known, known_of_pairs
from store.reviews import PairToReview
from store.text import normalised
from store.workspace import ReviewSettings

# The chance that people call a pair relevant, before the audit has told anything: by what put it forward and by what is
# known of it. On real logs half of what was not cited is relevant and a third of what was cited is not (TREC RAG 2024);
# in narrow collections it is far less. Judges are lenient: their "not relevant" is worth more than their "relevant".
_START: Mapping[str, Mapping[str, float]] = {
    "positive": {
        "judge: positive": 0.9,
        "judge: negative": 0.5,
        "judge: unsure": 0.65,
        "judges disagree": 0.65,
        "triage: upper third": 0.75,
        "triage: middle third": 0.65,
        "triage: lower third": 0.55,
        "nothing": 0.65,
    },
    "negative": {
        "judge: positive": 0.6,
        "judge: negative": 0.15,
        "judge: unsure": 0.5,
        "judges disagree": 0.5,
        "triage: upper third": 0.45,
        "triage: middle third": 0.3,
        "triage: lower third": 0.2,
        "nothing": 0.3,
    },
}
_START_COUNTS = 4  # as so many answers of the audit
_CONFIRMED = 0.9  # so often a second person says what the first one said, or what was said about a duplicate
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
    triplets: float
    nearness: float
    newness: float
    alike: float
    group: int

    @property
    def doubt(self) -> float:
        """The chance that people contradict what is assumed."""
        return 1 - self.relevant if self.assumed == "positive" else self.relevant

    @property
    def value(self) -> float:
        """The product of the five parts."""
        return self.doubt * self.triplets * self.nearness * self.newness * self.alike


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
    return values_of(policy, pairs, known, {judge: made for judge, made in maps.items() if made})


def values_of(
    policy: Policy,
    pairs: Sequence[PairToReview],
    known: Mapping[str, Known],
    calibrated: Mapping[str, Callable[[str, float | None], float | None]],
) -> dict[str, ReviewValue]:
    """Do what `value_pairs` does, from what is known; `calibrated` by judge id, as far as judges are calibrated."""
    kinds = _kinds(policy, pairs, known)
    starts = _chances(policy, pairs, kinds, known)
    queries: dict[str, list[PairToReview]] = defaultdict(list)
    for pair in pairs:
        queries[normalised(pair.anchor)].append(pair)
    groups = groups_alike(pairs)
    values: dict[str, ReviewValue] = {}
    for group in queries.values():
        roles = {pair.pair_id: _assumed(policy, pair, known.get(pair.pair_id, NOTHING_KNOWN)) for pair in group}
        hanging, near = _triplets(group, roles), _nearness(group, roles)
        for pair in group:
            key = pair.pair_id
            chance = _relevant(policy, pair, known.get(key, NOTHING_KNOWN), starts[kinds[key]], calibrated)
            parts = (hanging[key], near[key], 1.0, 1.0, groups[key])
            values[key] = ReviewValue(kinds[key][1], chance, roles[key], *parts)
    return _with_alike_and_newness(queries.values(), values)


def _role(policy: Policy, label: str | None) -> Role:
    return policy.role(label) if label is not None else "excluded"


def _assumed(policy: Policy, pair: PairToReview, known: Known) -> Role:
    """Return the role that a pair has without a further answer: people's, else the judge's, else what was proposed."""
    for label in (known.label, pair.label):
        if _role(policy, label) != "excluded":
            return _role(policy, label)
    return "positive" if pair.proposed == "positive" else "negative"


def _kinds(policy: Policy, pairs: Iterable[PairToReview], known: Mapping[str, Known]) -> dict[str, tuple[str, str]]:
    """Name for each pair what put it forward, and what is known of it besides."""
    pairs = list(pairs)
    thirds: dict[str, list[float]] = {}
    for proposed in ("positive", "negative"):
        scores = sorted(p.triage_score for p in pairs if p.proposed == proposed and p.triage_score is not None)
        thirds[proposed] = [scores[len(scores) // 3], scores[2 * len(scores) // 3]] if scores else []

    def kind(pair: PairToReview) -> str:
        if pair.label is not None:
            role = policy.role(pair.label)
            return "judges disagree" if pair.judges_disagree else f"judge: {'unsure' if role == 'excluded' else role}"
        if pair.triage_score is None:
            return "nothing"
        above = sum(pair.triage_score >= limit for limit in thirds[pair.proposed])
        return f"triage: {('lower', 'middle', 'upper')[above]} third"

    def people(pair: PairToReview) -> str | None:
        found = known.get(pair.pair_id, NOTHING_KNOWN)
        if found.answered and found.label is None:
            return "people: unsettled"
        who = "people" if found.answered else "duplicate"
        return f"{who}: {_role(policy, found.label)}" if found.label is not None else None

    return {pair.pair_id: (pair.proposed, people(pair) or kind(pair)) for pair in pairs}


def _chances(
    policy: Policy, pairs: Iterable[PairToReview], kinds: Mapping[str, tuple[str, str]], known: Mapping[str, Known]
) -> dict[tuple[str, str], float]:
    """Return the chance of relevance of each kind: a stated start, moved by what people answered blind.

    Only the audit moves it: what people answered elsewhere was chosen, and answered beside a suggestion.
    """
    unanswered = _kinds(policy, pairs, {})
    asked, relevant = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for key, found in known.items():
        if found.blind and found.label is not None and key in unanswered:
            asked[unanswered[key]] += 1
            relevant[unanswered[key]] += policy.role(found.label) == "positive"
    chances = {
        kind: (_START_COUNTS * _START[kind[0]][kind[1]] + relevant[kind]) / (_START_COUNTS + asked[kind])
        for kind in set(unanswered.values())
    }
    said = {"positive": _CONFIRMED, "negative": 1 - _CONFIRMED}
    return {kind: said.get(kind[1].rpartition(" ")[2], 0.5) for kind in set(kinds.values())} | chances


def _relevant(
    policy: Policy,
    pair: PairToReview,
    known: Known,
    of_kind: float,
    calibrated: Mapping[str, Callable[[str, float | None], float | None]],
) -> float:
    """Return the chance that people call a pair relevant.

    A calibrated confidence of the judge stands for itself; one that nobody calibrated counts half, beside that of the
    pair's kind.
    """
    if pair.label is None or pair.judges_disagree or known.answered or known.label is not None:
        return of_kind
    made = calibrated.get(known.judge_id or "")
    chance = made(pair.label, known.confidence) if made else None
    if chance is None:
        said = None if known.confidence is None else relevance(policy, pair.label, known.confidence)
        chance = of_kind if said is None else (of_kind + said) / 2
    return min(0.98, max(0.02, chance))


def _triplets(pairs: Sequence[PairToReview], roles: Mapping[str, Role]) -> dict[str, float]:
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
        found[pair.pair_id] = min(negatives, NEGATIVES_PER_POSITIVE) + as_negative
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


def _with_alike_and_newness(
    queries: Iterable[Sequence[PairToReview]], values: Mapping[str, ReviewValue]
) -> dict[str, ReviewValue]:
    """Add the two parts that hang on which pairs of a query come before: among the alike, and among all."""
    done: dict[str, ReviewValue] = {}
    for group in queries:
        waiting = sorted(group, key=lambda p: (bool(p.reviewers), *by_value(p, values)))
        size = Counter(values[pair.pair_id].group for pair in waiting if not pair.reviewers)
        seen = {values[pair.pair_id].group for pair in waiting if pair.reviewers}
        for pair in waiting:
            own = values[pair.pair_id]
            number = max(1, size[own.group])
            alike = 1 / number if own.group in seen else number
            seen.add(own.group)
            done[pair.pair_id] = replace(own, alike=float(alike))
        answered = sum(bool(pair.reviewers) for pair in group)
        for place, pair in enumerate(sorted(waiting, key=lambda p: (bool(p.reviewers), *by_value(p, done)))):
            newness = 1 / math.sqrt(1 + answered + place) / (1 + len(pair.reviewers))
            done[pair.pair_id] = replace(done[pair.pair_id], newness=newness)
    return done


def by_value(pair: PairToReview, values: Mapping[str, ReviewValue]) -> tuple[float, float, str]:
    """Sort key: the highest value first, then by rank, then by id."""
    return -values[pair.pair_id].value, pair.rank if pair.rank is not None else math.inf, pair.pair_id
