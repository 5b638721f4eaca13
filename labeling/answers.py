"""From a reply to a judgment: what was said, checked and priced."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from labeling.chat import Reply, Request
from labeling.endpoint import Failure
from store.judge_queue import PairToJudge
from store.judgments import Judgment
from store.policies import Policy
from store.text import storable
from store.workspace import Price

_LONGEST_ANSWER = 20_000  # characters; a server that raves must not stall the run


_Said = Annotated[str, AfterValidator(storable)]


class Answer(BaseModel):
    """What a judge says about a pair."""

    model_config = ConfigDict(strict=True, frozen=True)

    quote: _Said
    label: str
    reason: _Said


def judgment_of(
    pair: PairToJudge,
    request: Request,
    outcome: Reply | Failure,
    *,
    policy: Policy,
    judge_id: str,
    price: Price | None,
) -> Judgment:
    """Make the row of what came of a request: a label, or an error with the raw text."""
    asked = Judgment(
        pair_id=pair.pair_id,
        labelling_fingerprint=policy.labelling_fingerprint,
        judge_id=judge_id,
        prompt_id=request.prompt_id,
        reference_chunk_id=pair.reference_chunk_id,
        prompt_characters=request.characters,
        judged_at=datetime.now(UTC),
    )
    if isinstance(outcome, Failure):
        return replace(asked, error=outcome.kind, raw_answer=outcome.raw)
    replied = replace(
        asked,
        judged_at=datetime.fromisoformat(outcome.replied_at),
        raw_answer=outcome.refusal or outcome.content,
        answered_model=outcome.model,
        prompt_tokens=outcome.prompt_tokens,
        cached_tokens=outcome.cached_tokens,
        completion_tokens=outcome.completion_tokens,
        reasoning_tokens=outcome.reasoning_tokens,
        cost_usd=cost_usd(price, outcome.prompt_tokens, outcome.cached_tokens, outcome.completion_tokens),
        duration_ms=outcome.duration_ms,
    )
    answer = parse_answer(outcome, policy)
    if isinstance(answer, Failure):
        return replace(replied, error=answer.kind)
    return replace(
        replied,
        label=answer.label,
        quote=answer.quote,
        quote_found=quote_in(answer.quote, pair.chunk),
        reason=answer.reason,
        confidence=(outcome.confidences or {}).get(answer.label),
    )


def parse_answer(reply: Reply, policy: Policy) -> Answer | Failure:
    """Make an answer of a reply, or say why it is none: refusal, length, content_filter or malformed."""
    said = reply.content or ""
    if reply.refusal:
        return Failure("refusal", reply.refusal)
    if reply.finish_reason in ("length", "content_filter"):
        return Failure(reply.finish_reason, said)
    if len(said) > _LONGEST_ANSWER:
        return Failure("malformed", said[:_LONGEST_ANSWER])
    allowed = {answer.name for answer in policy.answers}
    found = {answer for answer in map(_as_answer, _json_objects(said)) if answer and answer.label in allowed}
    # A model that repeats a chunk which imitates an answer gives two: nobody can tell which one it means.
    return found.pop() if len(found) == 1 else Failure("malformed", said)


def quote_in(quote: str, chunk: str) -> bool | None:
    """Tell whether the chunk holds the quote, white space and case aside; None for an empty quote."""
    wanted = " ".join(quote.split()).casefold()
    return wanted in " ".join(chunk.split()).casefold() if wanted else None


def cost_usd(
    price: Price | None, prompt_tokens: float | None, cached_tokens: float | None, completion_tokens: float | None
) -> float | None:
    """Price an answer, cached tokens at their own price; None where the price or a count of tokens is not known."""
    if price is None or prompt_tokens is None or completion_tokens is None:
        return None
    cached = min(cached_tokens or 0, prompt_tokens)
    cached_price = price.input if price.cached is None else price.cached
    return ((prompt_tokens - cached) * price.input + cached * cached_price + completion_tokens * price.output) / 1e6


def _json_objects(text: str) -> Iterator[object]:
    """Yield the outermost JSON objects in a text; servers without structured output wrap them in prose or fences."""
    text = re.sub(r"^\s*<think>.*?</think>", "", text, flags=re.DOTALL)
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
            yield value
        except (ValueError, RecursionError):
            end = at + 1
        at = text.find("{", end)


def _as_answer(value: object) -> Answer | None:
    try:
        return Answer.model_validate(value)
    except ValidationError:
        return None
