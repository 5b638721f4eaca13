"""The same question again with its labels in another order: how firm a judge is that gives no probabilities.

A judge that knows gives the same label whatever the order; one that guesses follows the order. The share of all asks
that gave its label stands in for its confidence. Where the orders are used up, it is asked at temperature 1.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

from labeling.answers import cost_usd, parse_answer
from labeling.chat import ChatModel, Reply, Request
from labeling.chat_stage import Questions
from labeling.endpoint import TRANSIENT, Endpoint, Failure
from labeling.few_shot import FrozenExamples
from labeling.prompts import PROMPT
from store.calibrations import (
    PermutedAsk,
    add_permuted_asks,
    judged_and_reviewed,
    judges_that_labelled,
    permuted_asks_done,
)
from store.database import Store
from store.errors import ProviderError
from store.judge_queue import PairToJudge, queue_pairs, queued_pairs, set_scope
from store.policies import Label, Policy
from store.progress import Progress, silent
from store.workspace import JudgeSettings, Price, secret

_FAILURES_IN_A_ROW = 10


@dataclass(frozen=True, slots=True)
class _Ask:
    pair: PairToJudge
    number: int
    request: Request


def ask_again(
    store: Store,
    policy: Policy,
    settings: JudgeSettings,
    prices: Mapping[str, Price],
    *,
    asks: int,
    progress: Progress = silent,
) -> int:
    """Ask every judge that gives no probabilities `asks` times more about each pair that people have labelled.

    What was asked already is not asked again. Judges that are no chat models are passed over.

    Returns:
        How many questions were asked.

    Raises:
        ProviderError: the endpoint refuses the key, the model or further credit, or is down; what it answered stays.
    """
    asked = 0
    for judge_id, config in judges_that_labelled(store, policy).items():
        if config.get("prompt") != PROMPT or "sampling" not in config:
            continue
        unsure = [row.pair_id for row in judged_and_reviewed(store, policy, judge_id) if row.confidence is None]
        todo = _todo(store, policy, judge_id, config, unsure, asks)
        if todo:
            progress.start(f"asking {config['model']} again", len(todo))
            asked += asyncio.run(_ask_all(store, policy, judge_id, config, settings, prices, todo, progress))
    return asked


def _todo(
    store: Store,
    policy: Policy,
    judge_id: str,
    config: Mapping[str, object],
    pair_ids: Sequence[str],
    asks: int,
) -> list[_Ask]:
    set_scope(store, policy, pair_ids)
    lined_up = queue_pairs(store, policy, "", retry=())  # no judge: all of the scope
    pairs = queued_pairs(store, after=0, limit=lined_up)
    done = permuted_asks_done(store, policy, judge_id)
    frozen = cast("Mapping[str, str]", config.get("examples", {}))
    examples = FrozenExamples(store, frozen["set"], [pair.anchor for pair in pairs]) if frozen and pairs else None
    sampling = cast("Mapping[str, float | int]", config["sampling"])
    found = []
    for number in range(1, asks + 1):
        labels, repeated = _order(policy.labels, number)
        again = {**sampling, "temperature": 1, "seed": number} if repeated else sampling
        questions = Questions(replace(policy, labels=labels), str(config["model"]), again, examples)
        found += [_Ask(p, number, questions.about(p)) for p in pairs if (p.pair_id, number) not in done]
    return found


def _order(labels: tuple[Label, ...], number: int) -> tuple[tuple[Label, ...], bool]:
    """Return the labels in the order of an ask (1-based), never their own order first; and whether orders ran out."""
    turned = [(*labels[start:], *labels[:start]) for start in range(len(labels))]
    orders = list(dict.fromkeys([order[::-1] for order in turned] + turned[1:]))
    return orders[(number - 1) % len(orders)], number > len(orders)


async def _ask_all(
    store: Store,
    policy: Policy,
    judge_id: str,
    config: Mapping[str, object],
    settings: JudgeSettings,
    prices: Mapping[str, Price],
    todo: Sequence[_Ask],
    progress: Progress,
) -> int:
    model, base_url = str(config["model"]), str(config["base_url"])
    stage = next((stage for stage in settings.cascade if stage.model == model), settings)
    failures, asked, at_once = 0, 0, 1  # the first goes alone: it finds the form that the server takes
    async with Endpoint(
        base_url, secret(stage.api_key_env), timeout_s=stage.timeout_s, concurrency=stage.concurrency
    ) as endpoint:
        chat = ChatModel(store, endpoint, model)
        while todo:
            batch, todo = todo[:at_once], todo[at_once:]
            outcomes = await asyncio.gather(*(chat.ask(ask.request) for ask in batch))
            answered = []
            for ask, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Reply):
                    answered.append(_answered(ask, outcome, policy, judge_id, prices.get(model)))
                    failures = 0
                elif outcome.kind in TRANSIENT:
                    failures += 1
                    if failures >= _FAILURES_IN_A_ROW or not asked:
                        raise ProviderError(f"{base_url} does not answer: {outcome.kind}: {outcome.raw[:200]}")
            add_permuted_asks(store, answered)
            asked += len(answered)
            progress.advance(len(batch))
            at_once = min(stage.concurrency, endpoint.limit)
    return asked


def _answered(ask: _Ask, reply: Reply, policy: Policy, judge_id: str, price: Price | None) -> PermutedAsk:
    answer = parse_answer(reply, policy)
    return PermutedAsk(
        pair_id=ask.pair.pair_id,
        labelling_fingerprint=policy.labelling_fingerprint,
        judge_id=judge_id,
        ask=ask.number,
        prompt_id=ask.request.prompt_id,
        label=None if isinstance(answer, Failure) else answer.label,
        raw_answer=reply.refusal or reply.content,
        answered_model=reply.model,
        prompt_tokens=reply.prompt_tokens,
        cached_tokens=reply.cached_tokens,
        completion_tokens=reply.completion_tokens,
        reasoning_tokens=reply.reasoning_tokens,
        cost_usd=cost_usd(price, reply.prompt_tokens, reply.cached_tokens, reply.completion_tokens),
        duration_ms=reply.duration_ms,
        asked_at=datetime.fromisoformat(reply.replied_at),
    )
