"""What to ask people next, for a stated number of answers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from labeling.review_gains import ReviewGains, review_gains
from labeling.review_push import PushResult, push_queue, read_queue
from labeling.review_queue import QueuedPair, review_queue
from store.audits import audits_by_group, sample_of_all
from store.database import Store
from store.errors import MissingError, UsageError
from store.policies import Policy
from store.progress import Progress, silent
from store.review_streams import drawn_streams
from store.workspace import Overlap, ReviewSettings

if TYPE_CHECKING:
    from argilla import Argilla


class ChosenPair(NamedTuple):
    """A targeted pair that was chosen, with the parts of its value (see `labeling.review_value`)."""

    pair_id: str
    query: str
    chunk: str
    rank: int | None
    known: str
    relevant: float
    doubt: float
    gives: float
    corrects: float
    nearness: float
    newness: float
    alike: float
    value: float


@dataclass(frozen=True, slots=True)
class NextReviews:
    """What is asked next. `targeted` comes in the order of the queue; of the audit only the number is told.

    `answers` is how many people's answers it takes, `left` how many open pairs remain for later. `undrawn` counts the
    targeted pairs that chance may still move into the audit: a pair is drawn when it first goes to review. `beside`
    counts the pairs that stood open before reviewers already and are not among these.
    """

    policy: str
    budget: int
    answers: int
    targeted: tuple[ChosenPair, ...]
    audit: int
    left: int
    undrawn: int
    beside: int
    gains: ReviewGains
    pushed: PushResult | None


def next_reviews(
    store: Store,
    policy: Policy,
    settings: ReviewSettings,
    budget: int,
    client: "Argilla | None" = None,
    *,
    audit: bool = False,
    progress: Progress = silent,
) -> NextReviews:
    """Choose the first pairs of the review queue that the budget allows, and put them before reviewers.

    So the targeted ones come by value and the audit has its share, drawn by chance as ever. Pairs that wait for
    reviewers already count; they are not taken back. Run again with nothing answered, it adds nothing.

    Args:
        store: holds everything.
        policy: whose pairs.
        settings: of the reviews.
        budget: people's answers that can be had.
        client: of the Argilla server; None only plans, and changes nothing.
        audit: choose from the pilot and the audits that count now, and nothing else: in the queue these stand anywhere,
            and whoever wants to know the judge first need not have all of it answered.
        progress: told of the push.

    Raises:
        UsageError: the budget is below 1.
        MissingError: the policy has no candidates, or with `audit`, nothing that was drawn waits for an answer.
        ProviderError: Argilla failed.
    """
    if budget < 1:
        raise UsageError(f"a budget of {budget} answers buys nothing: at least 1", hint="--budget 100")
    there, queue = read_queue(store, policy, client, settings) if client else ({}, _planned(store, policy, settings))
    waiting = [queued for queued in queue if queued.open]
    if audit:
        drawn = _drawn(store, policy, settings)
        waiting = [queued for queued in waiting if queued.pair.pair_id in drawn]
        if not waiting:
            raise MissingError(
                f"no pair of policy {policy.name!r} that was drawn for a pilot or an audit waits for an answer",
                hint=f"uncited audit plan --policy {policy.name}",
            )
    chosen = within_budget(waiting, settings.overlap, budget)
    if waiting and not chosen:
        missing = _missing(waiting[0], settings.overlap)
        raise UsageError(
            f"a budget of {budget} answers settles no pair: the next one takes {missing}",
            hint=f"--budget {100 * missing}",
        )
    gains = review_gains(store, policy, queue, chosen, settings)  # before the push: then the numbers are of one moment
    only = {queued.pair.pair_id for queued in chosen}
    pushed = push_queue(store, policy, client, settings, there, queue, only=only, progress=progress) if client else None
    return NextReviews(
        policy=policy.name,
        budget=budget,
        answers=sum(_missing(queued, settings.overlap) for queued in chosen),
        targeted=tuple(_chosen(queued) for queued in chosen if queued.stream == "targeted"),
        audit=sum(queued.stream == "audit" for queued in chosen),
        left=sum(queued.open for queued in queue) - len(chosen),
        undrawn=len(only - drawn_streams(store, policy).keys()),
        beside=sum(q.open and q.pair.pair_id in there and q.pair.pair_id not in only for q in queue),
        gains=gains,
        pushed=pushed,
    )


def _planned(store: Store, policy: Policy, settings: ReviewSettings) -> list[QueuedPair]:
    queue = review_queue(store, policy, settings, draw=False)
    if not queue:
        raise MissingError(f"policy {policy.name!r} has no candidates yet", hint=f"uncited mine --policy {policy.name}")
    return queue


def _drawn(store: Store, policy: Policy, settings: ReviewSettings) -> set[str]:
    resolution = settings.resolution
    audits = audits_by_group(store, policy, resolution=resolution)
    samples = (*audits.values(), sample_of_all(store, policy, resolution=resolution))
    return {pair.pair_id for sample in samples for pair in sample.pairs if pair.sampled}


def within_budget(queue: Iterable[QueuedPair], overlap: Overlap, budget: int) -> list[QueuedPair]:
    """Return the first open pairs of the queue that this many answers settle."""
    chosen: list[QueuedPair] = []
    for queued in queue:
        cost = _missing(queued, overlap)
        if queued.open and cost > budget:
            break
        if queued.open:
            chosen.append(queued)
            budget -= cost
    return chosen


def _missing(queued: QueuedPair, overlap: Overlap) -> int:
    people: int = overlap.model_dump()[queued.stream]
    return people - len(queued.pair.reviewers)


def _chosen(queued: QueuedPair) -> ChosenPair:
    pair, value = queued.pair, queued.value
    return ChosenPair(
        pair_id=pair.pair_id,
        query=pair.anchor,
        chunk=pair.chunk,
        rank=pair.rank,
        known=value.known,
        relevant=value.relevant,
        doubt=value.doubt,
        gives=value.gives,
        corrects=value.corrects,
        nearness=value.nearness,
        newness=value.newness,
        alike=value.alike,
        value=value.value,
    )
