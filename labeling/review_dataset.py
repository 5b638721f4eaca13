"""The Argilla dataset that holds the reviews of one policy's question: find it, make it, read it, fill it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from labeling.argilla_client import RefusedError, call, workspace_id
from labeling.review_guidelines import guidelines
from labeling.review_layout import (
    LABEL,
    ORDER,
    QUEUE,
    SHOWN,
    VECTOR,
    conflicts_name,
    dataset_name,
    fields,
    fits,
    metadata_properties,
    questions,
    shown_hash,
)
from store.errors import MissingError, ProviderError
from store.policies import Policy
from store.progress import Progress
from store.review_streams import ReviewStream

if TYPE_CHECKING:
    from argilla import Argilla

Json = dict[str, Any]

_PAGE = 1000  # the server's cap
_WITH = ("responses", "suggestions")
_SWEEPS = 3
_BATCH_RECORDS = 256
_BATCH_BYTES = 4_000_000  # proxies in front of a team's server cap what one request may hold
_UNPROCESSABLE = 422
_NOT_THE_RECORDS_FAULT = frozenset({401, 403, 404})


@dataclass(frozen=True, slots=True)
class Dataset:
    """The dataset of a policy on a server."""

    dataset_id: str
    name: str
    label_question_id: str
    address: str  # of the server
    min_submitted: int  # Argilla asks a record no more once so many people have submitted an answer

    @property
    def url(self) -> str:
        """The page on which annotators work: what is open, sorted by queue order."""
        page = f"{self.address}/dataset/{self.dataset_id}/annotation-mode"
        return f"{page}?page=1&status=pending&metadata={QUEUE}.open&sort=metadata.{ORDER}.asc"

    @property
    def origin(self) -> str:
        """What the origin of every review from here begins with."""
        return f"argilla:{urlsplit(self.address).netloc}/{self.name}/"


def find_dataset(client: "Argilla", policy: Policy, *, adjudication: bool = False) -> Dataset | None:
    """Return the dataset of a policy, or None while there is none that is complete.

    Args:
        client: of the server.
        policy: whose reviews the dataset holds.
        adjudication: the one that holds what reviewers disagree about, instead of the one for all.

    Raises:
        ProviderError: Argilla failed, or the dataset of this name asks for no label.
    """
    workspace = workspace_id(client)
    listed = _listed(client, _name(policy, adjudication), workspace)
    if listed is None or listed["status"] != "ready":
        return None
    asked = call(client, "GET", f"/api/v1/datasets/{listed['id']}/questions")["items"]
    label = next((q for q in asked if q["name"] == LABEL), None)
    if label is None:
        raise _other(client, policy, listed["name"])
    min_submitted = listed["distribution"]["min_submitted"]
    return Dataset(str(listed["id"]), listed["name"], str(label["id"]), client.api_url, min_submitted)


def _name(policy: Policy, adjudication: bool) -> str:
    return conflicts_name(policy) if adjudication else dataset_name(policy)


def _other(client: "Argilla", policy: Policy, name: str) -> ProviderError:
    return ProviderError(
        f"dataset {name!r} on {client.api_url} asks something else than policy {policy.name!r}",
        hint=f"rename or delete it in Argilla, then: uncited review push --policy {policy.name}",
    )


def required_dataset(client: "Argilla", policy: Policy, *, adjudication: bool = False) -> Dataset:
    """Return the dataset of a policy (`adjudication` as for `find_dataset`).

    Raises:
        MissingError: there is none.
        ProviderError: as `find_dataset`.
    """
    found = find_dataset(client, policy, adjudication=adjudication)
    if found is None:
        raise MissingError(
            f"{client.api_url} has no dataset {_name(policy, adjudication)!r} yet",
            hint=f"uncited review {'conflicts --push' if adjudication else 'push'} --policy {policy.name}",
        )
    return found


def ensure_dataset(client: "Argilla", policy: Policy, *, adjudication: bool = False, min_submitted: int = 1) -> Dataset:
    """Return the dataset of a policy (`adjudication` as for `find_dataset`), making it if need be.

    Some servers keep the `min_submitted` of a dataset once somebody has answered: see what the returned one has. A
    dataset takes records only when it is published, so what a killed run left half-made holds nothing and is made anew.

    Raises:
        ProviderError: Argilla failed, or the dataset of this name asks something else.
    """
    found = find_dataset(client, policy, adjudication=adjudication)
    if found is not None:
        path = f"/api/v1/datasets/{found.dataset_id}"
        described = (call(client, "GET", f"{path}/{part}")["items"] for part in ("fields", "questions"))
        if not fits(policy, *described, adjudication=adjudication):
            raise _other(client, policy, found.name)
        return found if found.min_submitted == min_submitted else _with_min_submitted(client, found, min_submitted)
    workspace = workspace_id(client)
    name = _name(policy, adjudication)
    half_made = _listed(client, name, workspace)
    if half_made is not None:
        call(client, "DELETE", f"/api/v1/datasets/{half_made['id']}")
    settings = {
        "name": name,
        "workspace_id": workspace,
        "guidelines": guidelines(policy),
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": min_submitted},
    }
    path = f"/api/v1/datasets/{call(client, 'POST', '/api/v1/datasets', json=settings)['id']}"
    for part, items in (
        ("fields", fields(policy, adjudication=adjudication)),
        ("questions", questions(policy)),
        ("metadata-properties", metadata_properties()),
    ):
        for item in items:
            call(client, "POST", f"{path}/{part}", json=item)
    call(client, "PUT", f"{path}/publish")
    return required_dataset(client, policy, adjudication=adjudication)


def _with_min_submitted(client: "Argilla", dataset: Dataset, min_submitted: int) -> Dataset:
    distribution = {"strategy": "overlap", "min_submitted": min_submitted}
    try:
        call(client, "PATCH", f"/api/v1/datasets/{dataset.dataset_id}", json={"distribution": distribution})
    except RefusedError as error:
        if error.status == _UNPROCESSABLE:
            return dataset
        raise
    return replace(dataset, min_submitted=min_submitted)


def ensure_vectors(client: "Argilla", dataset: Dataset, dimensions: int) -> None:
    """See to it that the records of a dataset may carry a vector of this length; one of another length is dropped."""
    path = f"/api/v1/datasets/{dataset.dataset_id}/vectors-settings"
    for known in call(client, "GET", path)["items"]:
        if known["name"] == VECTOR:
            if known["dimensions"] == dimensions:
                return
            call(client, "DELETE", f"/api/v1/vectors-settings/{known['id']}")
    call(client, "POST", path, json={"name": VECTOR, "title": "Query and candidate", "dimensions": dimensions})


def _listed(client: "Argilla", name: str, workspace: str) -> Json | None:
    named = {"name": name, "workspace_id": workspace}
    listed = call(client, "GET", "/api/v1/me/datasets", params=named)["items"]
    # Older servers do not know these filters and list everything.
    same = [d for d in listed if d["name"] == named["name"] and str(d["workspace_id"]) == workspace]
    return same[0] if same else None


def read_records(client: "Argilla", dataset: Dataset, progress: Progress) -> list[Json]:
    """Return all records with their suggestions and everybody's responses, as Argilla's REST API gives them."""
    path = f"/api/v1/datasets/{dataset.dataset_id}/records"
    found: dict[str, Json] = {}
    # Pages are ordered by time of insertion alone, so records of one instant, or a deletion, can hide one.
    for _ in range(_SWEEPS):
        offset, total = 0, 1
        while offset < total:
            page = call(client, "GET", path, params={"include": _WITH, "offset": offset, "limit": _PAGE})
            if offset == 0:
                progress.start("Reading records from Argilla", page["total"])
            found |= {str(r["id"]): r for r in page["items"]}
            progress.advance(len(page["items"]))
            offset, total = offset + _PAGE, page["total"]
        if len(found) >= total:
            break
    return list(found.values())


def finished(found: Json) -> list[Json]:
    """Return the responses of a record that reviewers have handed in: submitted or discarded, not drafts."""
    return [r for r in found.get("responses") or [] if r["status"] in ("submitted", "discarded")]


def is_ours(found: Json) -> bool:
    """Tell whether a record was pushed from here, and not made by somebody in Argilla."""
    return SHOWN in (found["metadata"] or {})


def stream_of(found: Json) -> ReviewStream:
    """Return the stream of one of our records."""
    return "audit" if found["metadata"].get("stream") == "audit" else "targeted"


def was_edited(found: Json) -> bool:
    """Tell whether one of our records shows something else than was pushed."""
    return bool(found["metadata"][SHOWN] != shown_hash(found["fields"]))


def requeued(found: Json, *, is_open: bool) -> Json | None:
    """Return what must be written so that one of our records is in the queue or not; None where nothing need be."""
    state = "open" if is_open else "closed"
    # Argilla itself asks nobody about a record that is completed.
    if found["metadata"].get(QUEUE) == state or (not is_open and found["status"] == "completed"):
        return None
    return {"external_id": found["external_id"], "metadata": found["metadata"] | {QUEUE: state}}


def read_own_records(client: "Argilla", dataset: Dataset, pair_ids: Sequence[str]) -> dict[str, Json]:
    """Map up to 250 pair ids to their records with the client's own response; an annotator may do this."""
    scope = {"entity": "record", "property": "external_id"}
    answer = call(
        client,
        "POST",
        f"/api/v1/me/datasets/{dataset.dataset_id}/records/search",
        params={"include": "responses", "limit": _PAGE},
        json={"filters": {"and": [{"type": "terms", "scope": scope, "values": list(pair_ids)}]}},
    )
    return {item["record"]["external_id"]: item["record"] for item in answer["items"]}


def withdraw_suggestions(client: "Argilla", found: Json | None, made: Json) -> None:
    """Delete the suggestions of a record that is to have none any more: writing it would leave them there.

    Raises:
        ProviderError: Argilla failed.
    """
    stale = [str(suggestion["id"]) for suggestion in (found or {}).get("suggestions") or []]
    if found and stale and made.get("suggestions") == []:
        call(client, "DELETE", f"/api/v1/records/{found['id']}/suggestions", params={"ids": ",".join(stale)})


def write_records(
    client: "Argilla", dataset: Dataset, records: Sequence[Json], progress: Progress
) -> list[tuple[str, str]]:
    """Put records by external id, in batches, one transaction each.

    Returns:
        What Argilla refused: external id and reason. The rest was taken.

    Raises:
        ProviderError: Argilla failed, or refuses everything.
    """
    if records:
        progress.start("Sending records to Argilla", len(records))
    refused: list[tuple[str, str]] = []
    for batch in _batches(records):
        bad = _put(client, dataset, batch)
        if len(bad) == len(batch) > 1:
            raise ProviderError(f"{dataset.address} refuses every record; the first: {bad[0][1]}")
        refused += bad
        progress.advance(len(batch))
    return refused


def _batches(records: Sequence[Json]) -> Iterator[list[Json]]:
    batch: list[Json] = []
    size = 0
    for item in records:
        length = len(json.dumps(item, ensure_ascii=False).encode())
        if batch and (len(batch) == _BATCH_RECORDS or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length
    if batch:
        yield batch


def _put(client: "Argilla", dataset: Dataset, batch: list[Json]) -> list[tuple[str, str]]:
    """Put a batch without its bad records. Where Argilla does not say which those are, halving finds out.

    Halving also waits out the last request of a push that was killed: the server may still be at it, and then
    refuses the same record a second time for as long as that takes.
    """
    try:
        call(client, "PUT", f"/api/v1/datasets/{dataset.dataset_id}/records/bulk", json={"items": batch})
    except RefusedError as error:
        if error.status in _NOT_THE_RECORDS_FAULT:
            raise
        named = re.search(r"Record at position (\d+) is not valid because (.*)", error.detail, re.DOTALL)
        if named:
            bad = int(named[1])
            rest = batch[:bad] + batch[bad + 1 :]
            return [(batch[bad]["external_id"], named[2]), *(_put(client, dataset, rest) if rest else [])]
        if len(batch) == 1:
            return [(batch[0]["external_id"], error.message)]
        middle = len(batch) // 2
        return [*_put(client, dataset, batch[:middle]), *_put(client, dataset, batch[middle:])]
    return []


def unfinished_records(client: "Argilla", dataset: Dataset, queue: Literal["open", "closed"]) -> int:
    """Count the records that are in the queue, or out of it, among those that Argilla takes for unfinished."""
    chosen = {"type": "terms", "scope": {"entity": "metadata", "metadata_property": QUEUE}, "values": [queue]}
    pending = {"type": "terms", "scope": {"entity": "record", "property": "status"}, "values": ["pending"]}
    path = f"/api/v1/datasets/{dataset.dataset_id}/records/search"
    found = call(client, "POST", path, params={"limit": 1}, json={"filters": {"and": [chosen, pending]}})
    return int(found["total"])


def progress_of(client: "Argilla", dataset: Dataset) -> tuple[Json, list[Json]]:
    """Return Argilla's progress of the dataset (total, completed) and of each user (username, completed, pending)."""
    path = f"/api/v1/datasets/{dataset.dataset_id}"
    users: list[Mapping[str, Any]] = call(client, "GET", f"{path}/users/progress")["users"]
    return call(client, "GET", f"{path}/progress"), [dict(user) for user in users]
