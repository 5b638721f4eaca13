"""Push: put the pairs of the review queue before people in Argilla.

A record's external id is its pair id, and its metadata hold a hash of what it shows and hides, so a push sends only
what is not there yet, whatever became of the push before. What people did in Argilla stands: a record that somebody
has answered or edited is not changed any more, and one that somebody deleted does not come back.
"""

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from labeling.argilla_client import usernames, workspace_id
from labeling.embeddings import pair_vectors
from labeling.review_dataset import (
    Dataset,
    ensure_dataset,
    ensure_vectors,
    find_dataset,
    finished,
    is_ours,
    read_records,
    requeued,
    stream_of,
    unfinished_records,
    was_edited,
    withdraw_suggestions,
    write_records,
)
from labeling.review_layout import CONTENT, ENCODED_BY, QUEUE, VECTOR, record
from labeling.review_places import set_places
from labeling.review_queue import QueuedPair, review_queue
from store.database import Store
from store.encoders import model_name
from store.errors import MissingError
from store.policies import Policy, policy_versions
from store.progress import Progress, silent
from store.review_streams import StreamCounts, stream_counts
from store.reviews import add_pushed_pairs, pushed_pairs
from store.workspace import ReviewSettings

if TYPE_CHECKING:
    from argilla import Argilla

Json = dict[str, Any]

_DECIMALS = 4  # of a vector's numbers; enough for cosines, and a third of the bytes


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did, counted in pairs. `problems` says, a line each, what it left undone and why."""

    dataset: str
    url: str
    new: int
    updated: int
    unchanged: int
    moved: int  # of the unchanged and the kept: those whose place in the queue is another now
    kept: int  # somebody has answered them: left as they are
    later: int  # not put before anybody yet: they lie beyond the budget
    closed: int  # taken out of the queue by this push: enough answers elsewhere, or no candidates any more
    retired: int  # records of datasets of earlier wordings, taken out of their queues by this push
    streams: tuple[StreamCounts, ...]
    refused: tuple[tuple[str, str], ...]  # pair id, what Argilla has against it
    problems: tuple[str, ...]


@dataclass(slots=True)
class _Plan:
    """What to send, and how many pairs have which fate."""

    new: list[tuple[QueuedPair, Json]] = field(default_factory=list)
    changed: list[tuple[QueuedPair, Json]] = field(default_factory=list)
    unencoded: list[tuple[QueuedPair, Json]] = field(default_factory=list)  # as they should be but for the vector
    requeued: list[Json] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # the pairs that are open after this push, in order
    counts: Counter[str] = field(default_factory=Counter)


def push_reviews(
    store: Store, policy: Policy, client: "Argilla", settings: ReviewSettings, *, progress: Progress = silent
) -> PushResult:
    """Put the candidate pairs of a policy before reviewers, those first that help most.

    New candidates join the dataset; answered pairs are not asked again, wherever they were answered. Killed at any
    moment and run again, it ends as if it had not been.

    Raises:
        MissingError: the policy has no candidates.
        ProviderError: Argilla failed, or its dataset of this name asks something else.
    """
    there, queue = read_queue(store, policy, client, settings)
    return push_queue(store, policy, client, settings, there, queue, progress=progress)


def read_queue(
    store: Store, policy: Policy, client: "Argilla", settings: ReviewSettings
) -> tuple[dict[str, Json], list[QueuedPair]]:
    """Return the records on the server by external id, and the queue with what was answered there taken into account.

    Raises:
        MissingError: the policy has no candidates.
        ProviderError: as `push_reviews`.
    """
    known = find_dataset(client, policy)
    there = {r["external_id"]: r for r in read_records(client, known, silent)} if known else {}
    queue = review_queue(store, policy, settings, answered=_answered_by(client, there))
    if not queue:
        raise MissingError(f"policy {policy.name!r} has no candidates yet", hint=f"uncited mine --policy {policy.name}")
    return there, queue


def push_queue(
    store: Store,
    policy: Policy,
    client: "Argilla",
    settings: ReviewSettings,
    there: Mapping[str, Json],
    queue: list[QueuedPair],
    *,
    only: Set[str] | None = None,
    progress: Progress = silent,
) -> PushResult:
    """Push what `read_queue` returned; with `only`, of the pairs that are not on the server just those of these ids."""
    most = max(settings.overlap.targeted, settings.overlap.audit)
    dataset = ensure_dataset(client, policy, min_submitted=most)
    add_pushed_pairs(store, dataset.dataset_id, [pair for pair, found in there.items() if is_ours(found)])
    encoder = model_name(settings.similarity_model) if settings.similarity_model else None
    gone = pushed_pairs(store, dataset.dataset_id) - set(there)
    asking = [q for q in queue if only is None or not q.open or q.pair.pair_id in only or q.pair.pair_id in there]
    plan = _plan(asking, there, gone, dataset, settings, encoder)
    problems = _problems(policy, plan, dataset, most)
    sending = [*plan.new, *plan.changed, *plan.unencoded]
    if encoder and sending:
        try:
            _add_vectors(store, client, dataset, sending, settings.similarity_model, encoder, progress)
        except MissingError as error:
            sending = [*plan.new, *plan.changed]
            problems.append(
                f"without vectors, so that Argilla finds nothing similar: {error.message};"
                " set similarity_model in the [review] table of uncited.toml to the folder of a SentenceTransformer,"
                ' or to "" for none'
            )
    writing = [*(made for _, made in sending), *plan.requeued]
    moved = set_places([(pair, there.get(pair)) for pair in plan.asked], writing)
    for made in writing:
        withdraw_suggestions(client, there.get(made["external_id"]), made)
    refused = write_records(client, dataset, [*writing, *moved], progress)
    bad = {pair_id for pair_id, _ in refused}
    add_pushed_pairs(store, dataset.dataset_id, [q.pair.pair_id for q, _ in plan.new if q.pair.pair_id not in bad])
    sent = sum(q.pair.pair_id not in bad for q, _ in sending)
    new = sum(q.pair.pair_id not in bad for q, _ in plan.new)
    return PushResult(
        dataset=dataset.name,
        url=dataset.url,
        new=new,
        updated=sent - new,
        unchanged=plan.counts["send"] - len(sending),
        kept=plan.counts["keep"],
        later=len(queue) - len(asking),
        moved=sum(r["external_id"] not in bad for r in moved),
        closed=sum(r["metadata"][QUEUE] == "closed" and r["external_id"] not in bad for r in plan.requeued),
        retired=_retire_earlier(store, policy, client),
        streams=tuple(stream_counts(store, policy)),
        refused=tuple(refused),
        problems=tuple(problems),
    )


def _retire_earlier(store: Store, policy: Policy, client: "Argilla") -> int:
    """Close what still waits in the datasets of earlier wordings, lest somebody goes on answering an old question.

    A pull brings home what is answered there all the same, and a return to an old wording opens its records again.
    """
    wordings = {version.labelling_fingerprint: version for version in policy_versions(store, policy.name)}
    wordings.pop(policy.labelling_fingerprint, None)
    retired = 0
    for old in wordings.values():
        dataset = find_dataset(client, old)
        if dataset is None or not unfinished_records(client, dataset, "open"):
            continue
        ours = (found for found in read_records(client, dataset, silent) if is_ours(found))
        closing = [made for made in (requeued(found, is_open=False) for found in ours) if made is not None]
        retired += len(closing) - len(write_records(client, dataset, closing, silent))
    return retired


def _answered_by(client: "Argilla", there: Mapping[str, Json]) -> dict[str, set[str]]:
    """Return by pair who has answered it on the server."""
    names = usernames(client, workspace_id(client))
    return {pair: {names.get(str(r["user_id"]), "") for r in finished(found)} for pair, found in there.items()}


def _plan(
    queue: list[QueuedPair],
    there: Mapping[str, Json],
    gone: Set[str],
    dataset: Dataset,
    settings: ReviewSettings,
    encoder: str | None,
) -> _Plan:
    """Compare the queue with the server.

    Args:
        queue: all pairs of a policy, with those who have answered them on the server or at home.
        there: the records on the server, by external id.
        gone: the pairs whose records were there once and are not any more.
        dataset: holds the records.
        settings: say how many must.
        encoder: what makes the vectors; None for no vectors.
    """
    plan = _Plan()
    overlap = settings.overlap.model_dump()
    for queued in queue:
        pair_id = queued.pair.pair_id
        found = there.get(pair_id)
        fate = _fate(queued, found, pair_id in gone)
        plan.counts[fate] += 1
        if fate == "send":
            made = record(
                queued.pair,
                order=queued.order,
                stream=queued.stream,
                label_question_id=dataset.label_question_id,
            )
            plan.asked.append(pair_id)
            _sort_in(plan, queued, made, found, encoder)
        elif fate == "keep" and found is not None:
            is_open = len(queued.pair.reviewers) < overlap[stream_of(found)]
            plan.asked += [pair_id] if is_open else []
            _requeue(plan, found, is_open=is_open)
    wanted = {queued.pair.pair_id for queued in queue}
    for pair_id, found in there.items():
        if pair_id not in wanted and is_ours(found):
            _requeue(plan, found, is_open=False)
    return plan


def _fate(queued: QueuedPair, found: Json | None, is_gone: bool) -> Literal["send", "keep", "deleted", "edited"]:
    if found is None:
        if not queued.open:
            return "keep"
        return "deleted" if is_gone else "send"
    if not is_ours(found) or was_edited(found):
        return "edited"
    return "keep" if queued.pair.reviewers else "send"


def _sort_in(plan: _Plan, queued: QueuedPair, made: Json, found: Json | None, encoder: str | None) -> None:
    if found is None:
        plan.new.append((queued, made))
    elif any(found["metadata"].get(key) != made["metadata"][key] for key in (CONTENT, QUEUE)):
        plan.changed.append((queued, made))
    elif encoder and found["metadata"].get(ENCODED_BY) != encoder:
        plan.unencoded.append((queued, made))


def _requeue(plan: _Plan, found: Json, *, is_open: bool) -> None:
    made = requeued(found, is_open=is_open)
    if made is not None:
        plan.requeued.append(made)


def _problems(policy: Policy, plan: _Plan, dataset: Dataset, most: int) -> list[str]:
    found = []
    again = f"pull, delete the dataset {dataset.name} in Argilla, and push (what was answered stays here)"
    if plan.counts["edited"]:
        found.append(f"{plan.counts['edited']} records were edited in Argilla and are left as they are")
    if plan.counts["deleted"]:
        found.append(
            f"{plan.counts['deleted']} records were deleted in Argilla and are not sent again;"
            f" to have them asked after all: {again}"
        )
    if dataset.min_submitted < most:
        found.append(
            f"Argilla asks {dataset.min_submitted} of the {most} people that [review] overlap names for a pair of"
            f" {policy.name}: it keeps the number once somebody has answered; to have {most} asked: {again}"
        )
    return found


def _add_vectors(
    store: Store,
    client: "Argilla",
    dataset: Dataset,
    sending: list[tuple[QueuedPair, Json]],
    model: str,
    encoder: str,
    progress: Progress,
) -> None:
    vectors = pair_vectors(store, [queued.pair for queued, _ in sending], model=model, progress=progress)
    ensure_vectors(client, dataset, vectors.shape[1])
    for (_, made), vector in zip(sending, vectors.astype("f8").round(_DECIMALS).tolist(), strict=True):
        made["vectors"] = {VECTOR: vector}
        made["metadata"][ENCODED_BY] = encoder
