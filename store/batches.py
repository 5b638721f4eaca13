"""What was handed to a Batch API, and which pairs wait there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from store.database import Store
from store.errors import MissingError
from store.judge_queue import PairToJudge
from store.policies import Policy, get_policy_by_id

_UTC = pa.timestamp("us", tz="UTC")

CHUNK_ID_KEPT = 30  # characters of a chunk's id that name it in a batch: 96 bits


@dataclass(frozen=True, slots=True)
class Submission:
    """Requests handed over together. `batch_id` is None while it is not known whether the endpoint took them."""

    submission_id: str
    batch_id: str | None
    base_url: str
    judge_id: str
    labelling_fingerprint: str
    requests: int
    status: str
    submitted_at: datetime
    collected_at: datetime | None


def add_submission(store: Store, submission: Submission, pair_ids: Sequence[str]) -> None:
    """Record that these pairs are about to be handed over: from now on nobody else asks about them."""
    columns = {
        "submission_id": [submission.submission_id],
        "batch_id": pa.array([submission.batch_id], pa.string()),
        "base_url": [submission.base_url],
        "judge_id": [submission.judge_id],
        "labelling_fingerprint": [submission.labelling_fingerprint],
        "requests": pa.array([submission.requests], pa.int64()),
        "status": [submission.status],
        "submitted_at": pa.array([submission.submitted_at], _UTC),
        "collected_at": pa.array([submission.collected_at], _UTC),
    }
    members = {"submission_id": [submission.submission_id] * len(pair_ids), "pair_id": pa.array(pair_ids, pa.string())}
    with store.transaction():
        store.insert("batches", pa.table(columns))
        store.insert("batch_pairs", pa.table(members))


def set_batch(store: Store, submission_id: str, *, batch_id: str | None, status: str) -> None:
    """Record what the endpoint says of a submission."""
    store.execute(
        "UPDATE batches SET batch_id = ?, status = ? WHERE submission_id = ?", [batch_id, status, submission_id]
    )


def close_batch(store: Store, submission_id: str, *, status: str) -> None:
    """Record that nothing more will come of a submission; its pairs without a judgment may be asked about again."""
    store.execute(
        "UPDATE batches SET status = ?, collected_at = ? WHERE submission_id = ?",
        [status, datetime.now(UTC), submission_id],
    )


def submissions(store: Store, *, only_open: bool = True) -> list[Submission]:
    """Return submissions, the oldest first."""
    found = store.rows(
        f"FROM batches {'WHERE collected_at IS NULL' if only_open else ''} ORDER BY submitted_at, submission_id"
    )
    return [Submission(**row) for row in found]  # type: ignore[arg-type]


def find_submission(store: Store, batch_id: str) -> Submission | None:
    """Return what was handed over as this batch of the endpoint's, from this workspace."""
    return next((s for s in submissions(store, only_open=False) if s.batch_id == batch_id), None)


def pairs_in(store: Store, submission_id: str) -> list[str]:
    """Return the ids of the pairs of a submission."""
    found = store.rows("SELECT pair_id FROM batch_pairs WHERE submission_id = ? ORDER BY pair_id", [submission_id])
    return [str(row["pair_id"]) for row in found]


def policy_of_question(store: Store, labelling_fingerprint: str) -> Policy:
    """Return the newest policy that asks this question.

    Raises:
        MissingError: this workspace has none.
    """
    found = store.rows(
        "SELECT policy_id FROM policies WHERE labelling_fingerprint = ? ORDER BY added_at DESC LIMIT 1",
        [labelling_fingerprint],
    )
    if not found:
        raise MissingError(
            "the batch asks a question that no policy of this workspace asks",
            hint="uncited policy add policies/FILE.yaml (the file as it was when the batch was submitted)",
        )
    return get_policy_by_id(store, str(found[0]["policy_id"]))


def judged_pairs(store: Store, asked: Sequence[tuple[str, str | None]]) -> dict[str, PairToJudge]:
    """Return the pairs named, each with the text of the chunk that was shown beside it.

    Args:
        store: holds the texts.
        asked: pair id, and the first `CHUNK_ID_KEPT` characters of the id of the cited chunk that the prompt showed
            (None: it showed none).

    Returns:
        By pair id; what this workspace does not hold is left out.
    """
    names = pa.table(
        {
            "pair_id": pa.array([pair for pair, _ in asked], pa.string()),
            "beginning": pa.array([beginning for _, beginning in asked], pa.string()),
        }
    )
    with store.view_of("asked", names):
        found = store.table(
            f"""
            SELECT pair_id, anchors.text AS anchor, chunks.text AS chunk, chunks.kind,
                   shown.text AS reference, shown.chunk_id AS reference_chunk_id
            FROM asked JOIN pairs USING (pair_id) JOIN anchors USING (anchor_id)
            JOIN chunks ON chunks.chunk_id = pairs.chunk_id
            LEFT JOIN chunks AS shown ON shown.chunk_id[:{CHUNK_ID_KEPT}] = beginning
            WHERE beginning IS NULL OR shown.chunk_id IS NOT NULL
            """
        )
    return {row["pair_id"]: PairToJudge(**row) for row in found.to_pylist()}
