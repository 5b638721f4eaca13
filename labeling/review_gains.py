"""What further reviews would buy, before anybody is asked.

All of it is expectation, from the chance of each pair to be called relevant (`labeling.review_value`): where the
chances are off, so is this.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from labeling.audit_sample import bounded, confirmed, errors_at_most, sample_of
from labeling.bounds import spent
from labeling.certify import CONFIDENCE, MAX_ERROR
from labeling.review_queue import QueuedPair
from store.audits import ROLE_OF, Audit, AuditedPair, Group, audits_by_group, questions_asked
from store.builds import NEGATIVES_PER_POSITIVE, build_labels, latest_build
from store.database import Store
from store.errors import MissingError
from store.policies import Policy, Role
from store.review_value import known_of_pairs
from store.text import NEAR_DUPLICATE, normalised, overlap, shingles
from store.workspace import ReviewSettings

_NOTHING: Mapping[str, int] = {"positive": 0, "negative": 0}


class TripletGain(NamedTuple):
    """Triplets from what people have labelled: now, and as expected once the reviews are in.

    For each query every positive meets its negatives, up to as many as a build takes. Those that (nearly) repeat one of
    the positives do not count, as a build leaves them out; what it keeps from training because the test split needs it
    is not taken off.
    """

    now: int
    expected: float


class ErrorGain(NamedTuple):
    """Labels that the reviews are expected to correct.

    `contradicted`: of the pairs to be asked, how many are expected to turn out otherwise than judge or log say (the sum
    of the doubts). `in_build`: so many wrong labels of the newest build that nobody has reviewed are expected to be
    corrected, of `unreviewed_in_build` such labels that are to be asked about. Both are 0 where there is no build, or
    it holds people's labels only.
    """

    contradicted: float
    in_build: float
    unreviewed_in_build: int


class BoundGain(NamedTuple):
    """The upper bound of the share of wrong labels among those of a judge that nobody has reviewed, by the audit.

    `now`, and as it is expected once the `answers` blind ones to be given about this group are in, if as many of them
    contradict the judge as their doubts add up to. Only the audit's answers move it, and those of its pairs that are
    `open` now count against the judge until they are answered. None: there is nothing to bound.
    """

    group: Group
    answers: int
    open: int
    now: float | None
    expected: float | None


@dataclass(frozen=True, slots=True)
class ReviewGains:
    """What a number of answers buys; see the parts. `bounds` has the groups about which there is an audit."""

    triplets: TripletGain
    errors: ErrorGain
    bounds: tuple[BoundGain, ...]


def review_gains(
    store: Store, policy: Policy, queue: Sequence[QueuedPair], chosen: Sequence[QueuedPair], settings: ReviewSettings
) -> ReviewGains:
    """Say what answers about the chosen pairs are expected to bring.

    Args:
        store: holds judgments, reviews and builds.
        policy: whose pairs.
        queue: all pairs that go to review.
        chosen: those of them that are to be asked.
        settings: what makes a label of answers.
    """
    return ReviewGains(
        _triplets(store, policy, queue, chosen, settings),
        _errors(store, policy, chosen),
        tuple(_bounds(store, policy, chosen, settings)),
    )


def _triplets(
    store: Store, policy: Policy, queue: Iterable[QueuedPair], chosen: Iterable[QueuedPair], settings: ReviewSettings
) -> TripletGain:
    known = known_of_pairs(store, policy, resolution=settings.resolution, propagate=settings.propagate)
    texts: dict[str, dict[Role, list[str]]] = defaultdict(lambda: {"positive": [], "negative": [], "excluded": []})
    for queued in queue:
        found = known.get(queued.pair.pair_id)
        if found is not None and found.label is not None:
            texts[queued.pair.anchor][policy.role(found.label)].append(queued.pair.chunk)
    have = {anchor: _usable(found["positive"], found["negative"]) for anchor, found in texts.items()}
    new: dict[str, list[float]] = defaultdict(list)
    for queued in chosen:
        found = known.get(queued.pair.pair_id)
        if not queued.pair.reviewers and (found is None or found.label is None):
            new[queued.pair.anchor].append(queued.value.relevant)
    now = {anchor: _made(roles["positive"], roles["negative"]) for anchor, roles in have.items()}
    after = {anchor: expected_triplets(have.get(anchor, _NOTHING), chances) for anchor, chances in new.items()}
    gained = sum(expected - now.get(anchor, 0) for anchor, expected in after.items())
    return TripletGain(sum(now.values()), sum(now.values()) + gained)


def _usable(positives: Sequence[str], negatives: Iterable[str]) -> dict[str, int]:
    """Count the positives of a query, and the negatives that are no (nearly) equal text of one of them."""
    same = {normalised(text) for text in positives}
    known = [shingles(normal) for normal in same]
    others = [shingles(normal) for text in negatives if (normal := normalised(text)) not in same]
    kept = sum(all(overlap(other, one) < NEAR_DUPLICATE for one in known) for other in others)
    return {"positive": len(positives), "negative": kept}


def _made(positives: int, negatives: int) -> int:
    return positives * min(negatives, NEGATIVES_PER_POSITIVE)


def expected_triplets(have: Mapping[str, int], chances: Sequence[float]) -> float:
    """Return the expected number of triplets of one query, if pairs with these chances of relevance are answered."""
    ways = [1.0]  # by how many of them are relevant
    for chance in chances:
        shorter, longer = [*ways, 0.0], [0.0, *ways]
        ways = [(1 - chance) * no + chance * yes for no, yes in zip(shorter, longer, strict=True)]
    return sum(
        probability * _made(have["positive"] + relevant, have["negative"] + len(chances) - relevant)
        for relevant, probability in enumerate(ways)
    )


def _errors(store: Store, policy: Policy, chosen: Iterable[QueuedPair]) -> ErrorGain:
    unanswered = [queued for queued in chosen if not queued.pair.reviewers]
    try:
        labels = build_labels(store, latest_build(store, policy.name).build_id)
        rows = zip(*(labels[name].to_pylist() for name in ("pair_id", "role", "source")), strict=True)
        used = {pair_id: role for pair_id, role, source in rows if source != "human"}
    except MissingError:
        used = {}
    wrong = [
        1 - q.value.relevant if used[q.pair.pair_id] == "positive" else q.value.relevant
        for q in unanswered
        if q.pair.pair_id in used
    ]
    return ErrorGain(sum(queued.value.doubt for queued in unanswered), sum(wrong), len(wrong))


def _bounds(
    store: Store, policy: Policy, chosen: Iterable[QueuedPair], settings: ReviewSettings
) -> Iterator[BoundGain]:
    doubts = {q.pair.pair_id: q.value.doubt for q in chosen if q.stream == "audit" and not q.pair.reviewers}
    for group, audit in audits_by_group(store, policy, resolution=settings.resolution).items():
        if not any(pair.group == group for pair in audit.pairs):
            continue
        asked = [p for p in audit.pairs if p.group == group and p.sampled and not p.reviewed and p.pair_id in doubts]
        asked.sort(key=lambda pair: -doubts[pair.pair_id])
        contradicted = round(sum(doubts[pair.pair_id] for pair in asked))
        answered = {pair.pair_id: _answered(pair, group, right=n >= contradicted) for n, pair in enumerate(asked)}
        after = [answered.get(pair.pair_id, pair) for pair in audit.pairs]
        alpha = spent(1 - CONFIDENCE, max(1, questions_asked(store, policy, group)))
        bounds = [_bound(audit, pairs, group, alpha) for pairs in (audit.pairs, after)]
        yield BoundGain(group, len(asked), sample_of(audit.pairs, group, 0.0).open, *bounds)


def _answered(pair: AuditedPair, group: Group, *, right: bool) -> AuditedPair:
    other: Role = "negative" if ROLE_OF[group] == "positive" else "positive"
    return confirmed(pair, group) if right else confirmed(pair, group)._replace(role=other)


def _bound(audit: Audit, pairs: Sequence[AuditedPair], group: Group, alpha: float) -> float | None:
    errors = errors_at_most(audit, pairs, group, 0.0, alpha=alpha)
    return bounded(sample_of(pairs, group, 0.0), errors, MAX_ERROR).bound_unreviewed
