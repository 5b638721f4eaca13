"""Pull: bring the answers that people gave in Argilla home.

Answers are read through the REST API, because the SDK's records know neither when an answer was given nor always its
status. Nothing at home is overwritten: an answer that was changed in Argilla is a further review.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labeling.argilla_client import usernames
from labeling.conflicts import pull_adjudications
from labeling.review_answers import answers_in
from labeling.review_dataset import (
    Dataset,
    find_dataset,
    finished,
    is_ours,
    read_records,
    requeued,
    required_dataset,
    stream_of,
    write_records,
)
from labeling.review_layout import QUEUE
from store.database import Store
from store.policies import Policy
from store.progress import Progress, silent
from store.reviews import add_pushed_pairs, add_reviews, current_reviews, pairs_to_review, pushed_pairs
from store.workspace import ReviewSettings

if TYPE_CHECKING:
    from argilla import Argilla

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PullResult:
    """What a pull brought. `problems` says, a line each, what was not taken or is not there any more, and why."""

    dataset: str
    records: int
    submitted: int
    discarded: int
    drafts: int
    new: int
    adjudicated: int  # further new reviews, from the dataset of conflicts
    closed: int  # records that this pull took out of the queue: enough answers, or no candidates any more
    problems: tuple[str, ...]


def pull_reviews(
    store: Store, policy: Policy, client: "Argilla", settings: ReviewSettings, *, progress: Progress = silent
) -> PullResult:
    """Bring home every answer that reviewers submitted or discarded; drafts stay where they are.

    Records that have the answers they need, in Argilla or elsewhere, leave the queue there.

    Raises:
        MissingError: nothing has been pushed.
        ProviderError: Argilla failed.
    """
    if find_dataset(client, policy) is None and find_dataset(client, policy, adjudication=True) is not None:
        return _only_adjudications(store, policy, client)
    dataset = required_dataset(client, policy)
    names = usernames(client, dataset.workspace_id)
    records = read_records(client, dataset, progress)
    ours = [found for found in records if is_ours(found)]
    add_pushed_pairs(store, dataset.dataset_id, [str(found["external_id"]) for found in ours])
    reviews, problems = answers_in(policy, dataset, names, records)
    new = add_reviews(store, reviews)
    adjudicated, trouble = pull_adjudications(store, policy, client, names)
    problems += trouble
    problems += _gone(store, policy, dataset, {str(found["external_id"]) for found in records})
    return PullResult(
        dataset=dataset.name,
        records=len(records),
        submitted=sum(review.status == "submitted" for review in reviews),
        discarded=sum(review.status == "discarded" for review in reviews),
        drafts=sum(len(r.get("responses") or []) - len(finished(r)) for r in records),
        new=new,
        adjudicated=adjudicated,
        closed=_requeue(store, policy, client, dataset, ours, settings),
        problems=tuple(problems),
    )


def _only_adjudications(store: Store, policy: Policy, client: "Argilla") -> PullResult:
    """Pull where reviewers work elsewhere and Argilla holds their conflicts alone."""
    dataset = required_dataset(client, policy, adjudication=True)
    names = usernames(client, dataset.workspace_id)
    adjudicated, problems = pull_adjudications(store, policy, client, names)
    return PullResult(dataset.name, 0, 0, 0, 0, 0, adjudicated, 0, tuple(problems))


def _gone(store: Store, policy: Policy, dataset: Dataset, there: Set[str]) -> list[str]:
    """Say how many records of the dataset are not on the server any more, and how many of those had been answered."""
    gone = pushed_pairs(store, dataset.dataset_id) - there
    if not gone:
        return []
    rows = current_reviews(store, policy).select(["pair_id", "origin"]).to_pylist()
    reviewed = {row["pair_id"] for row in rows if row["origin"].startswith(dataset.origin)} & gone
    message = f"{len(gone)} records were deleted in Argilla"
    return [f"{message}; the reviews of {len(reviewed)} of them stay here as they are" if reviewed else message]


def _requeue(
    store: Store,
    policy: Policy,
    client: "Argilla",
    dataset: Dataset,
    records: Sequence[Json],
    settings: ReviewSettings,
) -> int:
    """Take out of the queue what need not be asked any more (and put back what must be); return how many went out."""
    answered = {pair.pair_id: len(pair.reviewers) for pair in pairs_to_review(store, policy)}
    overlap = settings.overlap.model_dump()
    moved: list[Json] = []
    for found in records:
        people = answered.get(found["external_id"])
        wanted = overlap[stream_of(found)]
        made = requeued(found, is_open=people is not None and people < wanted)
        moved += [] if made is None else [made]
    refused = {pair_id for pair_id, _ in write_records(client, dataset, moved, silent)}
    return len([m for m in moved if m["metadata"][QUEUE] == "closed" and m["external_id"] not in refused])
