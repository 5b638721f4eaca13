"""Reviews in Argilla: push candidate pairs to people, pull their answers home.

A record's external id is its pair id and its metadata hold a hash of what it shows, so a push sends only what is not
there yet, whatever became of the push before. Answers are read through the REST API, because the SDK's records know
neither when an answer was given nor always its status.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from labeling.argilla_client import call, usernames
from labeling.review_dataset import (
    Dataset,
    ensure_dataset,
    find_dataset,
    progress_of,
    read_own_records,
    read_records,
    required_dataset,
    write_records,
)
from labeling.review_layout import CONTENT, LABEL, NOTE, SHOWN, dataset_name, record, shown_hash
from labeling.review_queue import review_queue
from store.database import Store
from store.errors import MissingError, ProviderError, UsageError
from store.labels import labelled_candidates
from store.policies import Policy
from store.progress import Progress, silent
from store.reviews import Review, add_reviews, current_reviews, review_counts
from store.workspace import ReviewSettings

if TYPE_CHECKING:
    from argilla import Argilla

Json = dict[str, Any]

_STATUSES = ("submitted", "discarded", "draft")
_BATCH_RESPONSES = 100  # the server's cap


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did. `kept` records were left as they are because somebody has answered them."""

    dataset: str
    url: str
    new: int
    updated: int
    unchanged: int
    kept: int
    refused: tuple[tuple[str, str], ...]  # pair id, what Argilla has against it


@dataclass(frozen=True, slots=True)
class PullResult:
    """What a pull brought. `problems` says, a line each, what was not taken and why."""

    dataset: str
    records: int
    submitted: int
    discarded: int
    drafts: int
    new: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReviewerProgress:
    """How far one reviewer is."""

    reviewer: str
    submitted: int
    discarded: int
    draft: int
    pending: int


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How far the reviews on the server are. A record is completed when enough people submitted an answer."""

    url: str
    records: int
    completed: int
    reviewers: tuple[ReviewerProgress, ...]


@dataclass(frozen=True, slots=True)
class ReviewStatus:
    """Reviews on the server (None: not asked, or no dataset there yet) and at home."""

    dataset: str
    on_server: ServerStatus | None
    at_home: tuple[Mapping[str, object], ...]  # rows of store.reviews.review_counts


def push_reviews(
    store: Store, policy: Policy, client: "Argilla", settings: ReviewSettings, *, progress: Progress = silent
) -> PushResult:
    """Put the candidate pairs of a policy before reviewers, those first that help most.

    What the server has already is not sent again, and what somebody has answered is not changed any more. Killed at
    any moment and run again, it ends as if it had not been.

    Raises:
        MissingError: the policy has no candidates.
        ProviderError: Argilla failed, or its dataset of this name asks something else.
    """
    queue = review_queue(store, policy, settings)
    if not queue:
        raise MissingError(f"policy {policy.name!r} has no candidates yet", hint=f"uncited mine --policy {policy.name}")
    dataset = ensure_dataset(client, policy)
    there = {r["external_id"]: r for r in read_records(client, dataset, silent)}
    new, changed, kept = [], [], 0
    for queued in queue:
        pair = queued.pair
        made = record(
            policy, pair, order=queued.order, stream=queued.stream, label_question_id=dataset.label_question_id
        )
        known = there.get(pair.pair_id)
        if pair.reviewers or (known is not None and _finished(known)):
            kept += 1
        elif known is None:
            new.append(made)
        elif (known["metadata"] or {}).get(CONTENT) != made["metadata"][CONTENT]:
            changed.append(made)
    refused = write_records(client, dataset, [*new, *changed], progress)
    bad = {pair_id for pair_id, _ in refused}
    return PushResult(
        dataset=dataset.name,
        url=dataset.url,
        new=sum(r["external_id"] not in bad for r in new),
        updated=sum(r["external_id"] not in bad for r in changed),
        unchanged=len(queue) - kept - len(new) - len(changed),
        kept=kept,
        refused=tuple(refused),
    )


def pull_reviews(
    store: Store, policy: Policy, client: "Argilla", settings: ReviewSettings, *, progress: Progress = silent
) -> PullResult:
    """Bring home every answer that reviewers submitted or discarded; drafts stay where they are.

    An answer that was changed in Argilla is a further review; nothing at home is overwritten.

    Raises:
        MissingError: nothing has been pushed.
        ProviderError: Argilla failed.
    """
    dataset = required_dataset(client, policy)
    names = usernames(client, dataset.workspace_id)
    records = read_records(client, dataset, progress)
    candidates = set(labelled_candidates(store, policy)["pair_id"].to_pylist())
    reviews: list[Review] = []
    problems: list[str] = []
    for found in records:
        answered = _finished(found)
        trouble = _trouble(candidates, found) if answered else None
        if trouble:
            problems.append(f"record {found['id']} {trouble}; answers not taken: {len(answered)}")
            continue
        for response in answered:
            review = _review(policy, dataset, names, found, response)
            if review.label is not None and review.label not in {answer.name for answer in policy.answers}:
                problems.append(f"record {found['id']}: {review.reviewer} answered {review.label!r}, which is no label")
            else:
                reviews.append(review)
    gone = _gone(store, policy, dataset, records)
    if gone:
        problems.append(f"{gone} reviewed records are no longer in Argilla; their reviews stay here as they are")
    return PullResult(
        dataset=dataset.name,
        records=len(records),
        submitted=sum(review.status == "submitted" for review in reviews),
        discarded=sum(review.status == "discarded" for review in reviews),
        drafts=sum(len(r.get("responses") or []) - len(_finished(r)) for r in records),
        new=add_reviews(store, reviews),
        problems=tuple(problems),
    )


def _finished(found: Json) -> list[Json]:
    """Return the responses of a record that reviewers have handed in."""
    return [r for r in found.get("responses") or [] if r["status"] in ("submitted", "discarded")]


def _trouble(candidates: Set[str], found: Json) -> str | None:
    """Say why answers to a record cannot be answers to its pair, or None."""
    if found["external_id"] not in candidates:
        return f"({found['external_id']}) is no candidate of this policy"
    if (found["metadata"] or {}).get(SHOWN) != shown_hash(found["fields"]):
        return "was edited in Argilla"
    return None


def _review(policy: Policy, dataset: Dataset, names: Mapping[str, str], found: Json, response: Json) -> Review:
    values = response["values"] or {}
    status: Literal["submitted", "discarded"] = response["status"]
    moment = datetime.fromisoformat(response["updated_at"])
    return Review(
        pair_id=found["external_id"],
        labelling_fingerprint=policy.labelling_fingerprint,
        reviewer=names.get(str(response["user_id"]), f"user {response['user_id']}"),
        status=status,
        label=values[LABEL]["value"] if status == "submitted" else None,
        stream="audit" if (found["metadata"] or {}).get("stream") == "audit" else "targeted",
        reviewed_at=moment if moment.tzinfo else moment.replace(tzinfo=UTC),  # Argilla's times are UTC and do not say
        origin=f"{dataset.origin}{found['id']}",
        note=(values.get(NOTE, {}).get("value") or "").strip() or None,
    )


def _gone(store: Store, policy: Policy, dataset: Dataset, records: Sequence[Json]) -> int:
    """Count the records of this dataset that have reviews at home and are not on the server any more."""
    origins = {str(o) for o in current_reviews(store, policy)["origin"].to_pylist()}
    return len({o for o in origins if o.startswith(dataset.origin)} - {f"{dataset.origin}{r['id']}" for r in records})


def review_status(store: Store, policy: Policy, client: "Argilla | None") -> ReviewStatus:
    """Say how far the reviews of a policy are, on the server (if there is a `client`) and at home.

    Raises:
        ProviderError: Argilla failed.
    """
    at_home = tuple(review_counts(store, policy))
    dataset = find_dataset(client, policy) if client is not None else None
    if client is None or dataset is None:
        return ReviewStatus(dataset_name(policy), None, at_home)
    total, users = progress_of(client, dataset)
    reviewers = []
    for user in users:
        # Argilla groups a user's responses by whether the record is completed.
        count = {s: user["completed"].get(s, 0) + user["pending"].get(s, 0) for s in _STATUSES}
        reviewers.append(ReviewerProgress(user["username"], **count, pending=total["total"] - sum(count.values())))
    server = ServerStatus(dataset.url, total["total"], total["completed"], tuple(reviewers))
    return ReviewStatus(dataset.name, server, at_home)


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
            if not any(r["values"] == values and r["status"] == "submitted" for r in _finished(found[pair])):
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
