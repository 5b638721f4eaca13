"""What a run of the judge would ask and cost, with nothing sent.

Tokens are estimated: the characters of the prompts as they would be sent, by the characters that a token of this model
held in past judgments, else by 4. The length of the answers and the cached share of the prompts are those of past
judgments too; without any, an answer is taken to be as long as it may be and nothing to be cached.
"""

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from labeling.answers import cost_usd
from labeling.chat_stage import Questions
from labeling.decision_stage import ANSWER_TOKENS, next_decisions
from labeling.endpoint import ANSWERED, TRANSIENT
from labeling.judge_calibration import said_unsurely
from labeling.judges import Judge, judges_of
from labeling.prompts import PROMPT, ExamplePool, decision_input, decision_question
from store.database import Store
from store.judge_queue import (
    PairToJudge,
    pass_on_judged,
    pass_on_scored,
    queue_pairs,
    queue_unscored,
    queued_pairs,
    set_scope,
)
from store.judgments import TokenHabits, judge_id_of, token_habits
from store.policies import Policy
from store.workspace import JudgeSettings, Price

CHARACTERS_A_TOKEN = 4.0  # of English prose; code and other languages take more tokens
_FETCH = 2000


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """What a stage would ask. Counts after the first stage are upper bounds: who knows what will be passed on."""

    kind: str
    model: str
    pairs: int
    requests: int
    prompt_tokens: int  # cached ones included
    cached_tokens: int
    completion_tokens: int
    cost_usd: float | None  # None: no price is known
    learned: bool  # tokens are estimated from past judgments of this model


def estimate_run(
    store: Store,
    policy: Policy,
    settings: JudgeSettings,
    prices: Mapping[str, Price],
    *,
    limit: int | None = None,
    retry_errors: bool = False,
    pairs: Collection[str] | None = None,
    examples: ExamplePool | None = None,
) -> list[StageEstimate]:
    """Say what `labeling.judge.judge_candidates` would ask and cost; arguments and errors are as there."""
    retry = (*TRANSIENT, *ANSWERED) if retry_errors else TRANSIENT
    set_scope(store, policy, pairs)
    estimates = []
    for judge in judges_of(settings, policy, examples, estimate=True):
        judge_id = judge_id_of(judge.config) if judge.config else None
        if judge_id:
            waiting = queue_pairs(store, policy, judge_id, retry=retry)
        else:
            assert judge.scorer
            waiting = queue_unscored(store, judge.scorer.name)
        asked = waiting if limit is None else min(waiting, limit)
        estimates.append(_estimate(store, policy, judge, asked, prices.get(judge.model), examples))
        if judge.stage.pass_on and judge_id:
            unsure = said_unsurely(store, policy, judge, judge_id)
            pass_on_judged(store, policy, judge_id, judge.stage.pass_on, unsure=unsure, retry=retry, queued_too=True)
        elif judge.stage.pass_on and judge.scorer:
            pass_on_scored(store, judge.scorer.name, judge.stage.pass_on, queued_too=True)
    return estimates


def _estimate(
    store: Store, policy: Policy, judge: Judge, pairs: int, price: Price | None, examples: ExamplePool | None
) -> StageEstimate:
    if not judge.base_url or judge.config is None:
        return StageEstimate(judge.stage.kind, judge.model, pairs, 0, 0, 0, 0, 0.0, learned=False)
    requests = characters = 0
    for after in range(0, pairs, _FETCH):
        found = queued_pairs(store, after=after, limit=min(_FETCH, pairs - after))
        sent, length = _measure(found, policy, judge, examples)
        requests, characters = requests + sent, characters + length
    habits: TokenHabits = token_habits(store, judge.config)
    longest = judge.stage.max_tokens if judge.sampling else ANSWER_TOKENS
    prompt_tokens = characters / (habits.characters_a_token or CHARACTERS_A_TOKEN)
    cached_tokens = prompt_tokens * (habits.cached_share or 0.0)
    completion_tokens = pairs * (longest if habits.completion_tokens is None else habits.completion_tokens)
    return StageEstimate(
        judge.stage.kind,
        judge.model,
        pairs,
        requests,
        round(prompt_tokens),
        round(cached_tokens),
        round(completion_tokens),
        cost_usd(price, prompt_tokens, cached_tokens, completion_tokens),
        learned=habits.characters_a_token is not None,
    )


def _measure(pairs: list[PairToJudge], policy: Policy, judge: Judge, examples: ExamplePool | None) -> tuple[int, int]:
    """Return the number of requests about some pairs, and the characters in them."""
    if judge.sampling is not None:
        questions = Questions(policy, judge.model, judge.sampling, examples)
        return len(pairs), sum(questions.about(pair).characters for pair in pairs)
    queue, requests, characters = deque(pairs), 0, 0
    while queue:
        batch = next_decisions(queue)
        anchor, reference = batch[0].anchor, batch[0].reference
        shown = examples.nearest(anchor) if examples else None
        shared = decision_input(PROMPT, policy, anchor=anchor, reference=reference, examples=shown)
        requests += 1
        characters += sum(map(len, shared)) + sum(len(decision_question(PROMPT, pair.chunk)) for pair in batch)
    return requests, characters
