"""How far reviews are; and answers that are given through Argilla's interface for programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labeling.argilla_client import call
from labeling.review_dataset import (
    find_dataset,
    finished,
    progress_of,
    read_own_records,
    required_dataset,
    unfinished_records,
)
from labeling.review_layout import LABEL, NOTE, dataset_name
from store.database import Store
from store.errors import MissingError, ProviderError, UsageError
from store.policies import Policy
from store.progress import Progress, silent
from store.review_streams import StreamCounts, stream_counts
from store.reviews import review_counts

if TYPE_CHECKING:
    from argilla import Argilla

Json = dict[str, Any]

_STATUSES = ("submitted", "discarded", "draft")
_BATCH_RESPONSES = 100  # the server's cap


@dataclass(frozen=True, slots=True)
class ReviewerProgress:
    """How far one reviewer is.

    `unanswered` are the records that this reviewer has not touched and too few others have answered there. Those that
    are out of the queue are among them: Argilla does not tell them apart.
    """

    reviewer: str
    submitted: int
    discarded: int
    draft: int
    unanswered: int


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How far the reviews on the server are.

    A record is completed when enough people submitted an answer there; `closed` ones are asked no more for another
    reason (answered elsewhere, discarded, no candidates any more).
    """

    url: str
    records: int
    completed: int
    closed: int
    min_submitted: int  # so many submitted answers complete a record
    reviewers: tuple[ReviewerProgress, ...]


@dataclass(frozen=True, slots=True)
class ReviewStatus:
    """Reviews on the server (None: not asked, or no dataset there yet) and at home."""

    dataset: str
    on_server: ServerStatus | None
    at_home: tuple[Mapping[str, object], ...]  # rows of store.reviews.review_counts
    streams: tuple[StreamCounts, ...]  # empty before the first push


def review_status(store: Store, policy: Policy, client: "Argilla | None") -> ReviewStatus:
    """Say how far the reviews of a policy are, on the server (if there is a `client`) and at home.

    Raises:
        ProviderError: Argilla failed.
    """
    at_home = tuple(review_counts(store, policy))
    streams = tuple(stream_counts(store, policy))
    dataset = find_dataset(client, policy) if client is not None else None
    if client is None or dataset is None:
        return ReviewStatus(dataset_name(policy), None, at_home, streams)
    total, users = progress_of(client, dataset)
    reviewers = []
    for user in users:
        # Argilla groups a user's responses by whether the record is completed.
        count = {s: user["completed"].get(s, 0) + user["pending"].get(s, 0) for s in _STATUSES}
        unanswered = total["pending"] - sum(user["pending"].values())
        reviewers.append(ReviewerProgress(user["username"], **count, unanswered=unanswered))
    server = ServerStatus(
        dataset.url,
        total["total"],
        total["completed"],
        unfinished_records(client, dataset, "closed"),
        dataset.min_submitted,
        tuple(reviewers),
    )
    return ReviewStatus(dataset.name, server, at_home, streams)


def submit_reviews(
    client: "Argilla",
    policy: Policy,
    answers: Mapping[str, str],
    *,
    notes: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> int:
    """Submit answers through Argilla as the user that `client` signs in as; return how many were submitted.

    Answers that this user has submitted before are not submitted again.

    Args:
        client: the reviewer's own connection; an annotator's will do.
        policy: the policy whose pairs are answered.
        answers: pair id -> label.
        notes: pair id -> remark, for some of them.
        progress: is told of every answer.

    Raises:
        UsageError: an answer is no label of the policy.
        MissingError: nothing has been pushed, or a pair is not among it.
        ProviderError: Argilla failed, or refused an answer.
    """
    labels = [answer.name for answer in policy.answers]
    for pair, label in answers.items():
        if label not in labels:
            raise UsageError(f"{label!r} (for {pair}) is no label of {policy.name}; they are: {', '.join(labels)}")
    dataset = required_dataset(client, policy)
    progress.start("Submitting answers", len(answers))
    submitted = 0
    pairs = list(answers)
    for start in range(0, len(pairs), _BATCH_RESPONSES):
        wanted = pairs[start : start + _BATCH_RESPONSES]
        found = read_own_records(client, dataset, wanted)
        items = []
        for pair in wanted:
            if pair not in found:
                hint = f"uncited review push --policy {policy.name}"
                raise MissingError(f"{pair} is not in dataset {dataset.name!r}", hint)
            values = {LABEL: {"value": answers[pair]}}
            if notes and pair in notes:
                values[NOTE] = {"value": notes[pair]}
            if not any(r["values"] == values and r["status"] == "submitted" for r in finished(found[pair])):
                items.append({"record_id": found[pair]["id"], "status": "submitted", "values": values})
        if items:
            _submit(client, items)
        submitted += len(items)
        progress.advance(len(wanted))
    return submitted


def _submit(client: "Argilla", items: list[Json]) -> None:
    answered = call(client, "POST", "/api/v1/me/responses/bulk", json={"items": items})["items"]
    errors = [item["error"]["detail"] for item in answered if item.get("error")]
    if errors:
        raise ProviderError(f"Argilla refused {len(errors)} of {len(items)} answers: {errors[0]}")
