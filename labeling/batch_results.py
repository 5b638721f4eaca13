"""What a batch brought, made into judgments. Nothing that comes back is believed: it is checked as live answers are."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from labeling.answers import judgment_of
from labeling.batch import BatchJudge
from labeling.batch_api import Batch, BatchApi
from labeling.chat import Reply, read_completion
from labeling.chat_stage import Questions
from labeling.endpoint import ANSWERED, Failure
from labeling.few_shot import FrozenExamples
from labeling.prompts import FEW_SHOT, PROMPT
from store.batches import (
    close_batch,
    find_submission,
    judged_pairs,
    pairs_in,
    policy_of_question,
)
from store.database import Store
from store.errors import InvalidDataError, UsageError
from store.judge_queue import PairToJudge
from store.judgments import Judgment, add_judgments, judge_configs
from store.text import storable
from store.workspace import Price

DISCOUNT = 0.5  # of the price of requests that are answered at once

_END_OF_TIME = 2**32  # seconds, in 2106


@dataclass(slots=True)
class Collected:
    """What came of a batch. `released` pairs got no answer and may be asked about again; cost at half price."""

    batch_id: str
    status: str
    running: bool
    labels: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    unknown: int = 0  # answers about pairs that this workspace does not hold, or to a prompt that it cannot repeat
    released: int = 0
    cost_usd: float | None = 0.0
    problem: str | None = None


def collect(
    store: Store, api: BatchApi, batch_id: str, prices: Mapping[str, Price], *, judge: BatchJudge | None = None
) -> Collected:
    """Turn what a batch brought into judgments; one that still runs is left alone.

    Args:
        store: takes the judgments.
        api: the Batch API that has the batch.
        batch_id: the endpoint's id of it; it may have been submitted from elsewhere.
        prices: dollars by model name, of requests that are answered at once.
        judge: who would be asked now, for a batch of a judge that this workspace has not used yet.

    Raises:
        MissingError: no such batch, or this workspace has no policy with its question.
        UsageError: it was not submitted by uncited, or by another judge than this workspace knows.
        InvalidDataError: it was submitted with another version of the prompt.
        ProviderError: the endpoint does not answer.
    """
    batch = api.get(batch_id)
    known = find_submission(store, batch_id)
    collected = Collected(batch_id, batch.status, batch.running, problem=batch.problem)
    if batch.running or (known and known.collected_at):
        return collected
    asked = _asked(store, batch, judge)
    lines = [line for name in (batch.output_file, batch.error_file) if name for line in api.lines(name)]
    judgments = _judgments(store, asked, lines, prices.get(asked.questions.model), collected)
    add_judgments(store, judgments)
    if known:
        answered = {j.pair_id for j in judgments if j.label is not None or j.error in ANSWERED}
        collected.released = len(set(pairs_in(store, known.submission_id)) - answered)
        close_batch(store, known.submission_id, status=batch.status)
    return collected


class _Line(NamedTuple):
    pair_id: str
    reference: str | None  # the beginning of a chunk's id
    outcome: Mapping[str, Any] | Failure  # the body of a completion


def _judgments(
    store: Store, judge: BatchJudge, lines: Sequence[object], price: Price | None, collected: Collected
) -> list[Judgment]:
    read = [line for line in map(_read, lines) if line is not None]
    collected.unknown = len(lines) - len(read)
    pairs = judged_pairs(store, [(line.pair_id, line.reference) for line in read])
    half = price and Price(
        input=price.input * DISCOUNT,
        output=price.output * DISCOUNT,
        cached=None if price.cached is None else price.cached * DISCOUNT,
    )
    found: dict[str, Judgment] = {}
    for line in read:
        pair = pairs.get(line.pair_id)
        if pair is None or line.pair_id in found:
            collected.unknown += pair is None
            continue
        judgment = _judgment(judge, pair, line.outcome, half)
        found[line.pair_id] = judgment
        if judgment.label is not None:
            collected.labels[judgment.label] += 1
        else:
            collected.errors[str(judgment.error)] += 1
        if judgment.duration_ms is not None and collected.cost_usd is not None:
            collected.cost_usd = None if judgment.cost_usd is None else collected.cost_usd + judgment.cost_usd
    return list(found.values())


def _judgment(
    judge: BatchJudge, pair: PairToJudge, outcome: Mapping[str, Any] | Failure, price: Price | None
) -> Judgment:
    request = judge.questions.about(pair)
    if not isinstance(outcome, Failure):
        reply = read_completion(json.dumps(outcome), request, duration_ms=0)
        created = outcome.get("created")
        # So that collecting twice adds nothing.
        if isinstance(reply, Reply) and isinstance(created, int) and 0 <= created < _END_OF_TIME:
            reply = replace(reply, replied_at=datetime.fromtimestamp(created, UTC).isoformat())
        return judgment_of(pair, request, reply, policy=judge.questions.policy, judge_id=judge.judge_id, price=price)
    return judgment_of(pair, request, outcome, policy=judge.questions.policy, judge_id=judge.judge_id, price=price)


def _read(line: object) -> _Line | None:
    """Take a line of a result file apart; None where it is none of ours. Nothing about it is believed."""
    named = line.get("custom_id") if isinstance(line, dict) else None
    if not isinstance(line, dict) or not isinstance(named, str) or "-" not in named:
        return None
    pair, _, shown = named.partition("-")
    return _Line(f"pair_{pair}", f"chunk_{shown}" if shown else None, _outcome(line))


def _outcome(line: Mapping[str, Any]) -> Mapping[str, Any] | Failure:
    response, error = line.get("response"), line.get("error")
    status = response.get("status_code") if isinstance(response, dict) else None
    body = response.get("body") if isinstance(response, dict) else None
    if status == 200 and isinstance(body, dict):
        return body
    raw = storable(json.dumps(body or error or line, ensure_ascii=False)[:1000])
    if not isinstance(status, int):  # never sent: the batch expired, or was cancelled
        return Failure("timeout", raw)
    if status == 429:
        return Failure("rate_limit", raw)
    if status >= 500 or status in (200, 408, 409):
        return Failure("server_error" if status != 200 else "bad_response", raw)
    return Failure("content_filter" if "content_filter" in raw else "bad_request", raw)


def _asked(store: Store, batch: Batch, judge: BatchJudge | None) -> BatchJudge:
    """Find out who was asked what, from the batch's metadata and this workspace.

    Raises:
        MissingError, UsageError, InvalidDataError: see `collect`.
    """
    question, judge_id = batch.metadata.get("uncited_question"), batch.metadata.get("uncited_judge")
    if not question or not judge_id:
        raise UsageError(f"batch {batch.batch_id} was not submitted by uncited")
    policy = policy_of_question(store, question)
    configs = judge_configs(store)
    if judge_id not in configs:
        if judge and judge.judge_id == judge_id and judge.questions.policy.labelling_fingerprint == question:
            return judge
        raise UsageError(
            f"batch {batch.batch_id} was submitted by a judge that this workspace has not used ({judge_id}): collect it"
            " where it was submitted, or with the same [judge] settings",
            hint=f"uncited judge batch collect {batch.batch_id} --policy {policy.name} --model MODEL",
        )
    config: dict[str, Any] = json.loads(configs[judge_id])
    if config.get("prompt") != PROMPT or config.get("examples", {}).get("prompt", FEW_SHOT) != FEW_SHOT:
        raise InvalidDataError(
            f"batch {batch.batch_id} was submitted with another version of the prompt: collect it with that version"
        )
    examples = FrozenExamples(store, config["examples"]["set"]) if "examples" in config else None
    questions = Questions(policy, config["model"], config["sampling"], examples)
    return BatchJudge(questions, judge_id, config["base_url"])
