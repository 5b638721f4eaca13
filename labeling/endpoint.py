"""One question to an OpenAI-compatible server. Whatever goes wrong with it comes back as a value.

Servers differ in which structured output and which sampling parameters they take. What one refuses is dropped, step
by step, once for each run; what it then answers is checked here every time, since servers also accept schemas that
they do not enforce.
"""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from labeling.prompts import Message
from store.errors import ProviderError
from store.ids import content_id

if TYPE_CHECKING:
    import httpx2
    from openai import APIStatusError

# Asked again by the next run: nothing was answered, so nothing was paid for.
TRANSIENT = ("timeout", "connection", "server_error", "rate_limit", "bad_response")
# Asked again only on request: the server answered, and would most likely answer the same.
ANSWERED = ("malformed", "refusal", "length", "content_filter", "bad_request")

_RETRIES = 2  # by the SDK, which honours Retry-After
_LONGEST_WAIT_S = 120  # for which the SDK obeys a Retry-After
_SHORTEST_KEY = 16  # characters; shorter ones ("ollama") are placeholders, and would be found in any text
_RAW_LIMIT = 4000  # characters kept of what a failing server said


@dataclass(frozen=True)
class Request:
    """All that can change an answer. `loose_schema` is `schema` without limits of length."""

    model: str
    messages: tuple[Message, ...]
    schema: Mapping[str, object]
    loose_schema: Mapping[str, object]
    sampling: Mapping[str, float | int]

    @cached_property
    def request_id(self) -> str:
        """Hash of the request; the order of the schema's keys is part of it, since answers follow it."""
        return content_id("request", self.model, list(self.messages), json.dumps(self.schema), dict(self.sampling))

    @cached_property
    def prompt_id(self) -> str:
        """Hash of the messages alone."""
        return content_id("prompt", list(self.messages))


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered, as it came. `prompt_tokens` includes the cached ones; None where the server is silent."""

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


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer, and what the server said instead."""

    kind: str  # one of TRANSIENT or ANSWERED
    raw: str


# How an answer's form is asked for, best first.
_LADDER = ("json_schema", "json_schema without limits", "json_object", "text")


class Endpoint:
    """A server and a model, with what was learned about them during this run. An async context manager.

    `limit` is halved when the server says that it is too much, and rises again one by one. `resume_at` is the time
    (of `time.monotonic`) before which no new request should be sent.
    """

    def __init__(self, base_url: str, api_key: str | None, *, timeout_s: float, concurrency: int) -> None:
        """Prepare a client; nothing is sent yet."""
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        self.base_url = base_url
        self._limit = concurrency
        self.resume_at = 0.0
        self._most = concurrency
        self._successes = 0
        self._secret = api_key if api_key and len(api_key) >= _SHORTEST_KEY else None
        self._patience_s = (_RETRIES + 1) * timeout_s + _RETRIES * _LONGEST_WAIT_S
        self._rung = 0
        self._dropped: set[str] = set()
        self._settled = False
        self._client = AsyncOpenAI(
            api_key=api_key or "no-key",  # the SDK insists on one; local servers do not look
            base_url=base_url,
            timeout=timeout_s,
            max_retries=_RETRIES,
            http_client=DefaultAsyncHttpxClient(event_hooks={"response": [self._watch]}),
        )

    async def __aenter__(self) -> Self:
        """Return the endpoint itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self._client.close()

    @property
    def limit(self) -> int:
        """How many requests may be in flight. The first go alone, until a reply shows which form the server takes."""
        return self._limit if self._settled else 1

    async def ask(self, request: Request) -> Reply | Failure:
        """Send one request.

        Raises:
            ProviderError: the server will answer no request at all: wrong key, no money left, no such model.
        """
        return _known(await self._send(request)) if self._settled else await self._probe(request)

    async def _probe(self, request: Request) -> Reply | Failure:
        """Simplify a request until the server takes it. A form that never led to a reply is not remembered."""
        while isinstance(outcome := await self._send(request), _Unsupported):
            if outcome.part != "response_format":
                self._dropped.add(outcome.part)
            elif self._rung + 1 < len(_LADDER):
                self._rung += 1
            else:
                break
        self._settled = isinstance(outcome, Reply)
        if not self._settled:
            self._rung, self._dropped = 0, set()
        return _known(outcome)

    async def _send(self, request: Request) -> "Reply | Failure | _Unsupported":
        import openai

        started = time.monotonic()
        try:
            async with asyncio.timeout(self._patience_s):
                response = await self._client.chat.completions.with_raw_response.create(**self._body(request))
                text = response.text
        except (openai.APITimeoutError, TimeoutError):
            return Failure("timeout", f"no answer from {self.base_url}")
        except openai.APIConnectionError as error:
            return Failure("connection", self._scrub(f"{self.base_url}: {error.__cause__ or error.message}"))
        except openai.APIStatusError as error:
            return self._status(error)
        self._succeeded()
        return _read(self._scrub(text), duration_ms=round((time.monotonic() - started) * 1000))

    def _body(self, request: Request) -> dict[str, Any]:
        rung = _LADDER[self._rung]
        sampling = dict(request.sampling)
        if "max_tokens" in self._dropped:  # its newer name, which some servers know only, and others do not know
            sampling["max_completion_tokens"] = sampling.pop("max_tokens")
        body: dict[str, Any] = {name: value for name, value in sampling.items() if name not in self._dropped}
        body |= {"model": request.model, "messages": list(request.messages)}
        if rung.startswith("json_schema"):
            schema = request.schema if rung == "json_schema" else request.loose_schema
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "judgment", "strict": True, "schema": schema},
            }
            return body
        if rung == "json_object":
            body["response_format"] = {"type": "json_object"}
        system, *others = request.messages
        shape = f"{system['content']}\nJSON schema of the answer: {json.dumps(request.schema)}\n"
        body["messages"] = [Message(role="system", content=shape), *others]
        return body

    def _status(self, error: "APIStatusError") -> "Failure | _Unsupported":
        status, raw = error.status_code, self._scrub(error.message)[:_RAW_LIMIT]
        if status in (401, 403):
            raise ProviderError(f"{self.base_url} refused the key: {raw}", hint="set a valid key, then run it again")
        if status == 402 or error.code == "insufficient_quota":
            raise ProviderError(
                f"{self.base_url}: the account has no money left: {raw}",
                hint="add credit and run the same command again: nothing is asked twice",
            )
        if status == 404:
            raise ProviderError(
                f"{self.base_url} has no such model, or is no OpenAI-compatible endpoint: {raw}",
                hint="check --model and --base-url (most servers want a base URL that ends in /v1)",
            )
        if status == 429:
            return Failure("rate_limit", raw)
        if status in (408, 409) or status >= 500:
            return Failure("server_error", raw)
        if error.code == "content_filter":
            return Failure("content_filter", raw)
        part = _refused_part(error, raw)
        return _Unsupported(part, raw) if part and part not in self._dropped else Failure("bad_request", raw)

    async def _watch(self, response: "httpx2.Response") -> None:
        """See every response, also those after which the SDK retries by itself."""
        if response.status_code != 429:
            return
        from openai import RateLimitError

        await response.aread()
        if "insufficient_quota" in response.text:  # waiting will not help; an OpenAIError stops the SDK's retries
            body = {"code": "insufficient_quota"}
            raise RateLimitError(self._scrub(response.text)[:_RAW_LIMIT], response=response, body=body)
        now = time.monotonic()
        if now >= self.resume_at:  # one burst of refusals counts once
            self._limit = max(1, self._limit // 2)
        self.resume_at = max(self.resume_at, now + _wait_s(response))
        self._successes = 0

    def _succeeded(self) -> None:
        self._successes += 1
        if self._successes >= 4 * self._limit and self._limit < self._most:
            self._limit += 1
            self._successes = 0

    def _scrub(self, text: str) -> str:
        """Servers and proxies repeat what they were sent; the key must not end up in a database or on a screen."""
        return text.replace(self._secret, "[key]") if self._secret else text


@dataclass(frozen=True, slots=True)
class _Unsupported:
    """The server takes no request with this part."""

    part: str
    raw: str


def _known(outcome: "Reply | Failure | _Unsupported") -> Reply | Failure:
    return Failure("bad_request", outcome.raw) if isinstance(outcome, _Unsupported) else outcome


def _refused_part(error: "APIStatusError", raw: str) -> str | None:
    """Tell which dispensable part of a request a server complains about, or None where it is something else."""
    said = raw.lower()
    if re.search(r"context.(length|window|size)|too long|exceed", said):  # the prompt; may well name max_tokens
        return None
    parts = ("max_completion_tokens", "max_tokens", "temperature", "seed", "response_format")
    named = str(error.param or "").split(".")[0]
    if named in parts:
        return named
    for part in parts:
        if re.search(rf"\b{part}\b", said):
            # "max_tokens is not supported, use max_completion_tokens" names both
            return "max_tokens" if part == "max_completion_tokens" and re.search(r"\bmax_tokens\b", said) else part
    return "response_format" if re.search(r"schema|grammar|json|structured|guided", said) else None


def _wait_s(response: "httpx2.Response") -> float:
    """Read Retry-After in seconds; one second where it is missing or a date."""
    try:
        asked = float(response.headers.get("retry-after", "1"))
    except ValueError:
        asked = 1.0
    return min(max(asked, 0.0), _LONGEST_WAIT_S)


def _read(text: str, *, duration_ms: int) -> Reply | Failure:
    """Take a chat completion apart. Nothing about it is believed: proxies answer 200 with a page of HTML."""
    try:
        body = json.loads(text)
        choice = body["choices"][0]
        message = choice["message"]
        content, refusal, finish = message.get("content"), message.get("refusal"), choice.get("finish_reason")
        model, usage = body.get("model"), body.get("usage")
    except (ValueError, LookupError, TypeError, AttributeError):
        return Failure("bad_response", text[:_RAW_LIMIT])
    return Reply(
        content=content if isinstance(content, str) else None,
        refusal=refusal if isinstance(refusal, str) else None,
        finish_reason=finish if isinstance(finish, str) else None,
        model=model if isinstance(model, str) else None,
        prompt_tokens=_count(usage, "prompt_tokens"),
        cached_tokens=_count(usage, "prompt_tokens_details", "cached_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        reasoning_tokens=_count(usage, "completion_tokens_details", "reasoning_tokens"),
        duration_ms=duration_ms,
        replied_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )


def _count(usage: object, *path: str) -> int | None:
    for name in path:
        usage = usage.get(name) if isinstance(usage, dict) else None
    return usage if isinstance(usage, int) and not isinstance(usage, bool) and usage >= 0 else None
