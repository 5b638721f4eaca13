"""Pull: bring the answers that people gave in Argilla home.

Answers are read through the REST API, because the SDK's records know neither when an answer was given nor always its
status. Nothing at home is overwritten: an answer that was changed in Argilla is a further review.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from labeling.argilla_client import usernames, workspace_id
from labeling.conflicts import pull_adjudications
from labeling.policy_changes import carried_labels
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
    was_edited,
    write_records,
)
from labeling.review_layout import QUEUE, dataset_name
from labeling.review_places import set_places
from labeling.review_queue import in_waiting_order, needs_spreading
from labeling.review_value import value_pairs
from store.database import Store
from store.policies import Policy, policy_versions
from store.progress import Progress, silent
from store.review_streams import audit_seed
from store.reviews import (
    add_fetched_reviews,
    add_pushed_pairs,
    carry_reviews,
    current_reviews,
    pairs_to_review,
    pushed_pairs,
)
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
    earlier: int  # further new reviews, of what the policy asked before it was reworded
    carried: int  # reviews of earlier wordings that hold for the present one from this pull on
    closed: int  # records that this pull took out of the queue: enough answers, or no candidates any more
    problems: tuple[str, ...]


def pull_reviews(
    store: Store, policy: Policy, client: "Argilla", settings: ReviewSettings, *, progress: Progress = silent
) -> PullResult:
    """Bring home every answer that reviewers submitted or discarded; drafts stay where they are.

    Records that have the answers they need, in Argilla or elsewhere, leave the queue there. Answers to what the policy
    asked before it was reworded come too, as answers to that.

    Raises:
        MissingError: nothing has been pushed.
        ProviderError: Argilla failed.
    """
    names = usernames(client, workspace_id(client))
    earlier = _pull_earlier(store, policy, client, names, progress)  # first: what it brings need not be asked any more
    if find_dataset(client, policy) is None:
        conflicts = find_dataset(client, policy, adjudication=True)
        if conflicts or earlier.new:
            name = conflicts.name if conflicts else dataset_name(policy)
            adjudicated, problems = pull_adjudications(store, policy, client, names)
            problems += earlier.problems
            return PullResult(name, 0, 0, 0, 0, 0, adjudicated, earlier.new, earlier.carried, 0, tuple(problems))
    dataset = required_dataset(client, policy)
    records = read_records(client, dataset, progress)
    ours = [found for found in records if is_ours(found)]
    add_pushed_pairs(store, dataset.dataset_id, [str(found["external_id"]) for found in ours])
    reviews, problems = answers_in(policy, dataset, names, records)
    new = add_fetched_reviews(store, reviews)
    adjudicated, trouble = pull_adjudications(store, policy, client, names)
    problems += trouble + earlier.problems
    problems += _gone(store, policy, dataset, {str(found["external_id"]) for found in records})
    return PullResult(
        dataset=dataset.name,
        records=len(records),
        submitted=sum(review.status == "submitted" for review in reviews),
        discarded=sum(review.status == "discarded" for review in reviews),
        drafts=sum(len(r.get("responses") or []) - len(finished(r)) for r in records),
        new=new,
        adjudicated=adjudicated,
        earlier=earlier.new,
        carried=earlier.carried,
        closed=_requeue(store, policy, client, dataset, ours, settings),
        problems=tuple(problems),
    )


class _Earlier(NamedTuple):
    """What a pull brought of answers to earlier wordings."""

    new: int
    carried: int
    problems: list[str]


def _pull_earlier(
    store: Store, policy: Policy, client: "Argilla", names: Mapping[str, str], progress: Progress
) -> _Earlier:
    """Bring home what was answered to earlier wordings of the policy, and carry over what still holds by itself.

    Some of it was not pulled yet when the policy was edited, and who has the link of an old dataset can go on there.
    """
    wordings = {version.labelling_fingerprint: version for version in policy_versions(store, policy.name)}
    wordings.pop(policy.labelling_fingerprint, None)
    new = carried = 0
    problems: list[str] = []
    for fingerprint, old in wordings.items():
        added, trouble = pull_adjudications(store, old, client, names)
        problems += trouble
        dataset = find_dataset(client, old)
        if dataset is not None:
            reviews, trouble = answers_in(old, dataset, names, read_records(client, dataset, progress))
            added += add_fetched_reviews(store, reviews)
            problems += trouble
        if added:
            new += added
            carried += carry_reviews(
                store,
                old_fingerprint=fingerprint,
                new_fingerprint=policy.labelling_fingerprint,
                labels=carried_labels(old, policy),
            )
    return _Earlier(new, carried, problems)


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
    """Take out of the queue what need not be asked any more (and put back what must be); return how many went out.

    Where that leaves more of the audit open than of the rest, the audit is spread anew among what is left.
    """
    pairs = {pair.pair_id: pair for pair in pairs_to_review(store, policy)}
    there = {str(found["external_id"]): found for found in records}
    overlap = settings.overlap.model_dump()
    writing: list[Json] = []
    for pair_id, found in there.items():
        pair = pairs.get(pair_id)
        made = requeued(found, is_open=pair is not None and len(pair.reviewers) < overlap[stream_of(found)])
        writing += [] if made is None else [made]
    moved: list[Json] = []
    if needs_spreading(settings.overlap):
        asked = [pairs[pair_id] for pair_id, found in there.items() if pair_id in pairs and not was_edited(found)]
        streams = {pair.pair_id: stream_of(there[pair.pair_id]) for pair in asked}
        seed = audit_seed(store, policy) or ""
        values = value_pairs(store, policy, list(pairs.values()), settings)
        waiting = in_waiting_order(asked, streams, values, settings, seed=seed)
        moved = set_places([(pair.pair_id, there[pair.pair_id]) for pair in waiting], writing)
    refused = {pair_id for pair_id, _ in write_records(client, dataset, [*writing, *moved], silent)}
    return len([m for m in writing if m["metadata"][QUEUE] == "closed" and m["external_id"] not in refused])
