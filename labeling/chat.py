"""One question to a model by chat completion, in the form that its server takes.

Servers differ in which structured output and which parameters they know. What one refuses is dropped, step by step;
what it then takes is remembered in the store. What it answers is checked every time, since servers also accept
schemas that they do not enforce.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from labeling.confidence import label_confidences
from labeling.endpoint import Endpoint, Failure, token_count
from labeling.prompts import Message
from store.database import Store
from store.endpoint_forms import Form, forget_form, known_form, remember_form
from store.ids import content_id
from store.text import storable

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from openai import AsyncOpenAI

# How an answer's form is asked for, best first.
LADDER = ("json_schema", "json_schema without limits", "json_object", "text")
_ALTERNATIVES = 5  # whose log-probabilities are asked for at each token; all servers that give any give as many
_RAW_LIMIT = 4000


@dataclass(frozen=True)
class Request:
    """All that can change an answer. `loose_schema` is `schema` without limits of length; empty, any text will do.

    `asks_for` names the answer to the server. Log-probabilities are asked for where the schema allows a set of labels.
    """

    model: str
    messages: tuple[Message, ...]
    schema: Mapping[str, object]
    loose_schema: Mapping[str, object]
    sampling: Mapping[str, float | int]
    asks_for: str = "judgment"

    @cached_property
    def request_id(self) -> str:
        """Hash of the request; the order of the schema's keys is part of it, since answers follow it."""
        return content_id("request", self.model, list(self.messages), json.dumps(self.schema), dict(self.sampling))

    @cached_property
    def prompt_id(self) -> str:
        """Hash of the messages alone."""
        return content_id("prompt", list(self.messages))

    @property
    def characters(self) -> int:
        """Length of the messages."""
        return sum(len(message["content"]) for message in self.messages)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered, as it came. `prompt_tokens` includes the cached ones; None where the server is silent.

    `confidences`: P(label) of the labels that stand in the answer, where the server gives log-probabilities.
    """

    content: str | None
    refusal: str | None
    finish_reason: str | None
    model: str | None
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    duration_ms: int
    replied_at: str  # ISO 8601, UTC
    confidences: Mapping[str, float] | None = None


class ChatModel:
    """A model at a server, asked in the form that the server is known to take."""

    def __init__(self, store: Store, endpoint: Endpoint, model: str) -> None:
        """Recall what is known of the server."""
        self._store = store
        self.endpoint = endpoint
        self._model = model
        known = known_form(store, endpoint.base_url, model)
        self._remembered = known if known and known.answer_form in LADDER else None
        self.form = self._remembered or Form(LADDER[0])
        self.proven = False  # by a reply of this run

    async def ask(self, request: Request) -> Reply | Failure:
        """Send one request. The first should go alone: it finds the form for all others.

        Raises:
            ProviderError: the server will answer no request at all: wrong key, no money left, no such model.
        """
        outcome = await self._send(request)
        if self.proven or not (isinstance(outcome, Failure) and _refused_part(outcome)):
            if isinstance(outcome, Reply):
                self._prove()
            return outcome
        if self._remembered:  # which works no more
            forget_form(self._store, self.endpoint.base_url, self._model)
            self._remembered, self.form = None, Form(LADDER[0])
            outcome = await self._send(request)
        return await self._simplify(request, outcome)

    async def _simplify(self, request: Request, outcome: Reply | Failure) -> Reply | Failure:
        """Drop what the server refuses until it takes the request; keep the form only if that led to a reply."""
        while isinstance(outcome, Failure) and (part := _refused_part(outcome)):
            rung = LADDER.index(self.form.answer_form)
            if part != "response_format" and part not in self.form.dropped:
                self.form = Form(self.form.answer_form, self.form.dropped | {part})
            elif part == "response_format" and rung + 1 < len(LADDER):
                self.form = Form(LADDER[rung + 1], self.form.dropped)
            else:
                break
            outcome = await self._send(request)
        if isinstance(outcome, Reply):
            self._prove()
        else:
            self.form = Form(LADDER[0])
        return outcome

    def _prove(self) -> None:
        if not self.proven and self.form != self._remembered:
            remember_form(self._store, self.endpoint.base_url, self._model, self.form)
        self.proven = True

    async def _send(self, request: Request) -> Reply | Failure:
        import httpx2

        body = request_body(request, self.form)

        def create(client: "AsyncOpenAI") -> "Awaitable[Any]":
            # What chat.completions.create ends in. Walking the body and building objects of the reply, as that one
            # does before and after, takes a fifth of the time of a request.
            return client.post("/chat/completions", body=body, cast_to=httpx2.Response)

        answered = await self.endpoint.call(create)
        if isinstance(answered, Failure):
            return answered
        return read_completion(answered.text, request, duration_ms=answered.duration_ms)


def request_body(request: Request, form: Form) -> dict[str, Any]:
    """Return a request as it goes over the wire."""
    sampling = dict(request.sampling)
    if "max_tokens" in form.dropped:  # its newer name, which some servers know only, and others do not know
        sampling["max_completion_tokens"] = sampling.pop("max_tokens")
    body: dict[str, Any] = {name: value for name, value in sampling.items() if name not in form.dropped}
    body |= {"model": request.model, "messages": list(request.messages)}
    if "logprobs" not in form.dropped and allowed_labels(request.schema):
        body |= {"logprobs": True, "top_logprobs": _ALTERNATIVES}
    if not request.schema:
        return body
    if form.answer_form.startswith("json_schema"):
        schema = request.schema if form.answer_form == LADDER[0] else request.loose_schema
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": request.asks_for, "strict": True, "schema": schema},
        }
        return body
    if form.answer_form == "json_object":
        body["response_format"] = {"type": "json_object"}
    system, *others = request.messages
    shape = f"{system['content']}\nJSON schema of the answer: {json.dumps(request.schema)}\n"
    body["messages"] = [Message(role="system", content=shape), *others]
    return body


def read_completion(text: str, request: Request, *, duration_ms: int) -> Reply | Failure:
    """Take a chat completion apart. Nothing about it is believed: proxies answer 200 with a page of HTML."""
    try:
        body = json.loads(text)
        choice = body["choices"][0]
        message = choice["message"]
        content, refusal, finish = message.get("content"), message.get("refusal"), choice.get("finish_reason")
        model, usage, logprobs = body.get("model"), body.get("usage"), choice.get("logprobs")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Failure("bad_response", text[:_RAW_LIMIT])
    return Reply(
        content=_text(content),
        refusal=_text(refusal),
        finish_reason=_text(finish),
        model=_text(model),
        prompt_tokens=token_count(usage, "prompt_tokens"),
        cached_tokens=token_count(usage, "prompt_tokens_details", "cached_tokens"),
        completion_tokens=token_count(usage, "completion_tokens"),
        reasoning_tokens=token_count(usage, "completion_tokens_details", "reasoning_tokens"),
        duration_ms=duration_ms,
        replied_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        confidences=label_confidences(logprobs, allowed_labels(request.schema)) if logprobs else None,
    )


def _text(value: object) -> str | None:
    return storable(value) if isinstance(value, str) else None


def allowed_labels(schema: Mapping[str, Any]) -> list[str]:
    """Return the labels that a schema of answers allows; none where the answer holds no label."""
    labels: list[str] = schema.get("properties", {}).get("label", {}).get("enum", [])
    return labels


def _refused_part(failure: Failure) -> str | None:
    """Tell which dispensable part of a request a server complains about, or None where it is something else."""
    if failure.kind != "bad_request":
        return None
    said = failure.raw.lower()
    if re.search(r"context.(length|window|size)|too long|exceed", said):  # the prompt; may well name max_tokens
        return None
    parts = ("max_completion_tokens", "max_tokens", "temperature", "seed", "logprobs", "response_format")
    named = str(failure.param or "").split(".")[0].removeprefix("top_")
    if named in parts:
        return named
    for part in parts:
        if re.search(rf"\b(top_)?{part}\b", said):
            # "max_tokens is not supported, use max_completion_tokens" names both
            return "max_tokens" if part == "max_completion_tokens" and re.search(r"\bmax_tokens\b", said) else part
    return "response_format" if re.search(r"schema|grammar|json|structured|guided", said) else None
