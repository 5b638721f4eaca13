"""A stage that asks OpenAI's Decisions API: many questions about one input, each answered with probabilities.

All candidates of an anchor go into one request: the policy, the anchor and its cited chunk are the input that they
share, and each candidate is a question of its own, so that what is said of one does not hang on the others.
"""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from labeling.answers import cost_usd
from labeling.budget import most_it_can_cost
from labeling.endpoint import Body, Endpoint, Failure, token_count
from labeling.prompts import PROMPT, ExamplePool, decision_input, decision_question
from labeling.stages import Answered
from store.ids import content_id
from store.judge_queue import PairToJudge
from store.judgments import Judgment
from store.policies import Example, Policy
from store.text import storable
from store.workspace import Price

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from openai import AsyncOpenAI

MOST_QUESTIONS = 400  # that a request may hold
ANSWER_TOKENS = 64  # taken to be the most that the answer to a question is billed as; nothing says how many it is
_RAW_LIMIT = 4000


def decision_body(
    policy: Policy, model: str, batch: Sequence[PairToJudge], examples: tuple[Example, ...] | None
) -> dict[str, Any]:
    """Return a request about pairs of one anchor as it goes over the wire."""
    anchor, reference = batch[0].anchor, batch[0].reference
    developer, user = decision_input(PROMPT, policy, anchor=anchor, reference=reference, examples=examples)
    choices = [{"value": answer.name, "description": answer.meaning} for answer in policy.answers]
    return {
        "model": model,
        "input": [
            {"type": "message", "role": "developer", "content": developer},
            {"type": "message", "role": "user", "content": user},
        ],
        "questions": [
            {"type": "choice", "instructions": decision_question(PROMPT, pair.chunk), "choices": choices}
            for pair in batch
        ],
    }


def decision_prompt_id(body: Mapping[str, Any], question: object) -> str:
    """Hash of all that was sent about one pair."""
    return content_id("prompt", body["input"], question)


@dataclass(slots=True)
class DecisionStage:
    """See `labeling.stages.Stage`."""

    policy: Policy
    model: str
    judge_id: str
    price: Price | None
    concurrency: int
    endpoint: Endpoint
    examples: ExamplePool | None = None
    proven: bool = False  # the server has shown that it knows this API

    @property
    def at_once(self) -> int:
        """The first request goes alone."""
        return min(self.concurrency, self.endpoint.limit) if self.proven else 1

    @property
    def resume_at(self) -> float:
        """What the server asked for."""
        return self.endpoint.resume_at

    def next_batch(self, queue: deque[PairToJudge]) -> list[PairToJudge]:
        """Take the candidates of one anchor that are compared with the same cited chunk."""
        return next_decisions(queue)

    def most_usd(self, batch: Sequence[PairToJudge]) -> float:
        """Price the request as it would be sent, and an answer to each question."""
        return (
            0.0 if self.price is None else most_it_can_cost(self._body(batch), len(batch) * ANSWER_TOKENS, self.price)
        )

    async def answer(self, batch: Sequence[PairToJudge]) -> list[Answered]:
        """Ask about all pairs at once; where the server refuses that, about each half, until the culprit is alone."""
        body = self._body(batch)

        def create(client: "AsyncOpenAI") -> "Awaitable[Any]":
            return client.decisions.with_raw_response.create(**body)

        replied = await self.endpoint.call(create)
        if isinstance(replied, Failure) and replied.kind in ("bad_request", "content_filter") and len(batch) > 1:
            half = len(batch) // 2
            return await self.answer(batch[:half]) + await self.answer(batch[half:])
        outcome = replied if isinstance(replied, Failure) else _read(replied, questions=len(batch))
        asked = self._asked(batch, body)
        if isinstance(outcome, Failure):
            return [Answered(replace(a, error=outcome.kind, raw_answer=outcome.raw)) for a in asked]
        self.proven = True
        return [Answered(self._judgment(*each)) for each in zip(asked, outcome, strict=True)]

    def _body(self, batch: Sequence[PairToJudge]) -> dict[str, Any]:
        shown = self.examples.nearest(batch[0].anchor) if self.examples else None
        return decision_body(self.policy, self.model, batch, shown)

    def _asked(self, batch: Sequence[PairToJudge], body: Mapping[str, Any]) -> list[Judgment]:
        """Begin the rows of a request. Each pair has its own part of the input's characters, as of its tokens."""
        shared = _shares(sum(len(message["content"]) for message in body["input"]), len(batch))
        return [
            Judgment(
                pair_id=pair.pair_id,
                labelling_fingerprint=self.policy.labelling_fingerprint,
                judge_id=self.judge_id,
                prompt_id=decision_prompt_id(body, question),
                reference_chunk_id=pair.reference_chunk_id,
                prompt_characters=characters + len(question["instructions"]),
                judged_at=datetime.now(UTC),
            )
            for pair, question, characters in zip(batch, body["questions"], shared, strict=True)
        ]

    def _judgment(self, asked: Judgment, said: "_Said") -> Judgment:
        answered = replace(
            asked,
            raw_answer=storable(json.dumps(said.answer, ensure_ascii=False)),
            answered_model=said.model,
            prompt_tokens=said.prompt_tokens,
            cached_tokens=said.cached_tokens,
            completion_tokens=said.completion_tokens,
            reasoning_tokens=said.reasoning_tokens,
            cost_usd=cost_usd(self.price, said.prompt_tokens, said.cached_tokens, said.completion_tokens),
            duration_ms=said.duration_ms,
        )
        if said.answer.get("type") == "refusal":
            return replace(answered, error="refusal")
        label = said.answer.get("choice")
        if label not in [answer.name for answer in self.policy.answers]:
            return replace(answered, error="malformed")
        return replace(answered, label=label, confidence=_probability(said.answer, label))


def next_decisions(queue: deque[PairToJudge]) -> list[PairToJudge]:
    """Take from the left of a queue the pairs that go into one request: those that share all but the candidate."""
    batch = [queue.popleft()]
    shared = (batch[0].anchor, batch[0].reference)
    while queue and (queue[0].anchor, queue[0].reference) == shared and len(batch) < MOST_QUESTIONS:
        batch.append(queue.popleft())
    return batch


@dataclass(frozen=True, slots=True)
class _Said:
    """What a reply says about one question, and its part of what the reply cost."""

    answer: Mapping[str, Any]
    model: str | None
    duration_ms: int
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None


def _read(body: Body, *, questions: int) -> list[_Said] | Failure:
    """Take a decision apart; nothing about it is believed."""
    try:
        decision = json.loads(body.text)
        answers, model, usage = decision["answers"], decision.get("model"), decision.get("usage")
        if len(answers) != questions or not all(isinstance(answer, dict) for answer in answers):
            raise ValueError
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Failure("bad_response", body.text[:_RAW_LIMIT])
    counts = (
        token_count(usage, "input_tokens"),
        token_count(usage, "input_tokens_details", "cached_tokens"),
        token_count(usage, "output_tokens"),
        token_count(usage, "output_tokens_details", "reasoning_tokens"),
    )
    shares = zip(*([None] * questions if count is None else _shares(count, questions) for count in counts), strict=True)
    name = storable(model) if isinstance(model, str) else None
    return [_Said(answer, name, body.duration_ms, *each) for answer, each in zip(answers, shares, strict=True)]


def _probability(answer: Mapping[str, Any], label: str) -> float | None:
    """Return P(label), as a share of what all choices got together."""
    found: dict[str, float] = {}
    for entry in answer.get("probabilities") or ():
        chance = entry.get("probability") if isinstance(entry, dict) else None
        if isinstance(chance, int | float) and not isinstance(chance, bool) and 0 <= chance <= 1:
            found[str(entry.get("value"))] = chance
    return found[label] / sum(found.values()) if found.get(label) else None


def _shares(total: int, parts: int) -> list[int]:
    """Divide a whole number as evenly as can be."""
    each, more = divmod(total, parts)
    return [each + (part < more) for part in range(parts)]
