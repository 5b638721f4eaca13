"""Conflicts: pairs about which reviewers disagree, put before an adjudicator who sees what each of them said.

Whatever stream the pair came from, the adjudicator sees nothing of the judge: an audit pair would not be blind any
more, and in the others the judge would have the casting vote.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from labeling.review_answers import answers_in
from labeling.review_dataset import (
    Dataset,
    ensure_dataset,
    find_dataset,
    finished,
    is_ours,
    read_records,
    requeued,
    write_records,
)
from labeling.review_layout import CONTENT, QUEUE, EarlierAnswer, conflicts_name, record
from store.database import Store
from store.disputes import Dispute, disputes
from store.policies import Policy
from store.progress import Progress, silent
from store.reviews import PairToReview, add_fetched_reviews, pairs_to_review

if TYPE_CHECKING:
    from argilla import Argilla

Json = dict[str, Any]

_ROUND = "-"  # between a pair id and how often it has been adjudicated


@dataclass(frozen=True, slots=True)
class Conflict:
    """An open dispute, with all that an adjudicator may want to see of the pair."""

    dispute: Dispute
    pair: PairToReview

    @property
    def earlier(self) -> tuple[EarlierAnswer, ...]:
        """What was answered so far: the reviewers, then the adjudicator whose answer was contradicted since."""
        said = [EarlierAnswer(a.reviewer, a.label, a.note) for a in self.dispute.answers]
        before = self.dispute.adjudication
        if before:
            said.append(EarlierAnswer(f"{before.reviewer} (adjudicated)", before.label, before.note))
        return tuple(said)

    @property
    def record_id(self) -> str:
        """External id of its record in Argilla: a reopened conflict is a new one, since the old is answered there."""
        rounds = self.dispute.adjudications
        return f"{self.dispute.pair_id}{_ROUND}{rounds}" if rounds else self.dispute.pair_id


def open_conflicts(store: Store, policy: Policy) -> list[Conflict]:
    """Return the pairs of a policy that wait for an adjudicator, those of one query together, most answers first."""
    waiting = [dispute for dispute in disputes(store, policy) if dispute.open]
    if not waiting:
        return []
    pairs = {pair.pair_id: pair for pair in pairs_to_review(store, policy)}
    place: dict[str, int] = {}
    for dispute in waiting:
        place.setdefault(dispute.anchor, len(place))
    waiting.sort(key=lambda dispute: place[dispute.anchor])
    return [Conflict(dispute, pairs[dispute.pair_id]) for dispute in waiting]


@dataclass(frozen=True, slots=True)
class ConflictsPushed:
    """What a push of conflicts did: `answered` ones wait to be pulled, `closed` ones were settled elsewhere."""

    dataset: str
    url: str | None  # None: nothing to adjudicate and no dataset yet
    new: int
    updated: int
    unchanged: int
    answered: int
    closed: int
    refused: tuple[tuple[str, str], ...]  # pair id, what Argilla has against it


def push_conflicts(store: Store, policy: Policy, client: "Argilla", *, progress: Progress = silent) -> ConflictsPushed:
    """Put the open conflicts into a dataset of their own, and take out of its queue what is settled by now.

    Raises:
        ProviderError: Argilla failed, or its dataset of this name asks something else.
    """
    conflicts = open_conflicts(store, policy)
    if not conflicts and find_dataset(client, policy, adjudication=True) is None:
        return ConflictsPushed(conflicts_name(policy), None, 0, 0, 0, 0, 0, ())
    dataset = ensure_dataset(client, policy, adjudication=True)
    there = {r["external_id"]: r for r in read_records(client, dataset, silent)}
    new, changed, answered = [], [], 0
    for order, conflict in enumerate(conflicts, start=1):
        made = _record(conflict, order, dataset)
        known = there.pop(conflict.record_id, None)
        if known is None:
            new.append(made)
        elif finished(known):
            answered += 1
        elif any((known["metadata"] or {}).get(key) != made["metadata"][key] for key in (CONTENT, QUEUE)):
            changed.append(made)
    refused = write_records(client, dataset, [*new, *changed], progress)
    closing = (requeued(found, is_open=False) for found in there.values() if is_ours(found))
    settled = [closed for closed in closing if closed is not None]
    refused += write_records(client, dataset, settled, silent)
    bad = {record_id for record_id, _ in refused}
    return ConflictsPushed(
        dataset=dataset.name,
        url=dataset.url,
        new=sum(r["external_id"] not in bad for r in new),
        updated=sum(r["external_id"] not in bad for r in changed),
        unchanged=len(conflicts) - answered - len(new) - len(changed),
        answered=answered,
        closed=sum(r["external_id"] not in bad for r in settled),
        refused=tuple(refused),
    )


def _record(conflict: Conflict, order: int, dataset: Dataset) -> Json:
    made = record(
        conflict.pair,
        order=order,
        stream="audit",
        label_question_id=dataset.label_question_id,
        earlier=conflict.earlier,
    )
    made["external_id"] = conflict.record_id
    made["metadata"]["stream"] = "adjudication"
    return made


def pull_adjudications(
    store: Store, policy: Policy, client: "Argilla", names: Mapping[str, str]
) -> tuple[int, list[str]]:
    """Bring home what adjudicators answered; return how many answers are new, and a line for each that is not taken.

    Args:
        store: where to.
        policy: whose conflicts.
        client: of the server.
        names: user id -> user name.

    Raises:
        ProviderError: Argilla failed.
    """
    dataset = find_dataset(client, policy, adjudication=True)
    if dataset is None:
        return 0, []
    reviews, problems = answers_in(policy, dataset, names, read_records(client, dataset, silent))
    adjudications = [
        replace(review, pair_id=review.pair_id.partition(_ROUND)[0], stream="adjudication") for review in reviews
    ]
    return add_fetched_reviews(store, adjudications), problems
