"""The judge by Batch API: half the price, within a day.

What is handed over is written down before it is: pairs that wait in a batch are asked about by nobody else. Each
request is named by its pair and by the cited chunk that its prompt shows, so that any workspace with the same log and
policy can collect a batch by its id.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from labeling.batch_api import Batch, BatchApi, NotTaken
from labeling.chat import request_body
from labeling.chat_stage import Questions
from labeling.endpoint import TRANSIENT
from labeling.judges import judges_of
from labeling.prompts import ExamplePool
from store.batches import (
    CHUNK_ID_KEPT,
    Submission,
    add_submission,
    close_batch,
    policy_of_question,
    set_batch,
    submissions,
)
from store.database import Store
from store.endpoint_forms import Form, known_form
from store.errors import UsageError
from store.ids import content_id
from store.judge_queue import PairToJudge, queue_pairs, queued_pairs, set_scope
from store.judgments import add_judge, set_judge_stages
from store.policies import Policy
from store.progress import Progress, silent
from store.workspace import JudgeSettings

MOST_REQUESTS = 50_000  # of a batch, by OpenAI's rules
MOST_BYTES = 200_000_000

_PAIRS_AT_A_TIME = 2000
_KEY = "uncited_submission"


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch as its endpoint describes it now; `done` and `failed` count requests."""

    batch_id: str | None
    policy: str
    status: str
    requests: int
    done: int
    failed: int
    submitted_at: datetime


@dataclass(frozen=True, slots=True)
class BatchJudge:
    """Who is asked, and where: the same judge as one that is asked at once, so that neither repeats the other."""

    questions: Questions
    judge_id: str
    base_url: str


def batch_judge(
    store: Store, policy: Policy, settings: JudgeSettings, examples: ExamplePool | None = None
) -> BatchJudge:
    """Return the judge of the first stage, whom the Batch API can ask about all candidates.

    Raises:
        UsageError: the first stage is no chat model.
        MissingError: neither key nor endpoint.
    """
    judges = judges_of(settings, policy, examples)
    first = judges[0]
    if first.sampling is None or first.config is None:
        raise UsageError(
            f"the Batch API asks chat models, and the first stage of the judge is of kind {first.stage.kind}",
            hint=f"uncited judge --policy {policy.name}",
        )
    ids = [add_judge(store, judge.config) for judge in judges if judge.config]
    set_judge_stages(store, policy, ids)
    return BatchJudge(Questions(policy, first.model, first.sampling, examples), ids[0], first.base_url)


def submit(
    store: Store,
    judge: BatchJudge,
    api: BatchApi,
    *,
    limit: int | None = None,
    progress: Progress = silent,
) -> list[BatchState]:
    """Hand over every candidate pair that the judge has not settled and that waits in no other batch.

    The server's form must be known (see `labeling.chat`): one request that is answered at once shows it, while in a
    batch all would be refused.

    Args:
        store: holds the candidates.
        judge: who is asked.
        api: its endpoint's Batch API.
        limit: hand over so many pairs at most.
        progress: told of pairs.

    Returns:
        The batches made: a new one after 50,000 requests or 200 MB. None where no pair is left.

    Raises:
        UsageError: the endpoint has no Batch API, or refuses a batch.
        ProviderError: it does not answer. Whether it took the last batch is found out by the next call.
    """
    settle_unknown(store, api)
    policy = judge.questions.policy
    form = known_form(store, judge.base_url, judge.questions.model) or Form("json_schema")
    set_scope(store, policy)
    waiting = queue_pairs(store, policy, judge.judge_id, retry=TRANSIENT)
    total = waiting if limit is None else min(waiting, limit)
    progress.start(f"submitting to {judge.base_url}", total)
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for file, pair_ids in _files(_requests(store, judge, form, total), Path(folder) / "requests.jsonl"):
            made.append(_submit_file(store, judge, api, file, pair_ids))
            progress.advance(len(pair_ids))
    return made


def _requests(store: Store, judge: BatchJudge, form: Form, total: int) -> Iterator[tuple[str, bytes]]:
    """Yield pair id and line of each request."""
    done = 0
    while done < total:
        pairs = queued_pairs(store, after=done, limit=min(_PAIRS_AT_A_TIME, total - done))
        done += len(pairs)
        for pair in pairs:
            line = {
                "custom_id": _custom_id(pair),
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": request_body(judge.questions.about(pair), form),
            }
            yield pair.pair_id, json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _files(requests: Iterator[tuple[str, bytes]], file: Path) -> Iterator[tuple[Path, list[str]]]:
    """Write requests to a file, and yield it with their pairs whenever it is full, and at the end."""
    pair_ids: list[str] = []
    size = 0
    out = file.open("wb")
    try:
        for pair_id, line in requests:
            if pair_ids and (len(pair_ids) >= MOST_REQUESTS or size + len(line) > MOST_BYTES):
                out.close()
                yield file, pair_ids
                pair_ids, size, out = [], 0, file.open("wb")
            out.write(line)
            pair_ids.append(pair_id)
            size += len(line)
        out.close()
        if pair_ids:
            yield file, pair_ids
    finally:
        out.close()


def _submit_file(store: Store, judge: BatchJudge, api: BatchApi, file: Path, pair_ids: Sequence[str]) -> BatchState:
    now = datetime.now(UTC)
    policy = judge.questions.policy
    uploaded = api.upload(file)
    submission = Submission(
        submission_id=content_id("submission", judge.judge_id, sorted(pair_ids), now.isoformat()),
        batch_id=None,
        base_url=judge.base_url,
        judge_id=judge.judge_id,
        labelling_fingerprint=policy.labelling_fingerprint,
        requests=len(pair_ids),
        status="submitting",
        submitted_at=now,
        collected_at=None,
    )
    add_submission(store, submission, pair_ids)
    metadata = {
        _KEY: submission.submission_id,
        "uncited_question": policy.labelling_fingerprint,
        "uncited_judge": judge.judge_id,
        "uncited_policy": policy.name,
    }
    try:
        batch = api.create(uploaded, metadata)
    except NotTaken:
        close_batch(store, submission.submission_id, status="refused")
        raise
    set_batch(store, submission.submission_id, batch_id=batch.batch_id, status=batch.status)
    return _state(replace(submission, batch_id=batch.batch_id), batch, policy.name)


def settle_unknown(store: Store, api: BatchApi) -> None:
    """Find out what became of submissions whose answer was lost; those that never arrived give their pairs back."""
    for submission in submissions(store):
        if submission.batch_id is None and submission.base_url == api.base_url:
            found = api.find(_KEY, submission.submission_id)
            if found is None:
                close_batch(store, submission.submission_id, status="never arrived")
            else:
                set_batch(store, submission.submission_id, batch_id=found.batch_id, status=found.status)


def batch_states(store: Store, open_api: Callable[[str], BatchApi]) -> list[BatchState]:
    """Look at every batch of this workspace that was not collected yet; `open_api` connects to a base URL."""
    for base_url in {submission.base_url for submission in submissions(store)}:
        with open_api(base_url) as api:
            settle_unknown(store, api)
    found = []
    for submission in submissions(store):
        with open_api(submission.base_url) as api:
            batch = api.get(str(submission.batch_id))
        set_batch(store, submission.submission_id, batch_id=batch.batch_id, status=batch.status)
        found.append(_state(submission, batch, policy_of_question(store, submission.labelling_fingerprint).name))
    return found


def _state(submission: Submission, batch: Batch, policy: str) -> BatchState:
    return BatchState(
        batch.batch_id, policy, batch.status, submission.requests, batch.done, batch.failed, submission.submitted_at
    )


def _custom_id(pair: PairToJudge) -> str:
    """Name a request; 62 characters at most."""
    shown = pair.reference_chunk_id
    return f"{pair.pair_id.removeprefix('pair_')}-{shown[:CHUNK_ID_KEPT].removeprefix('chunk_') if shown else ''}"
