"""A server that speaks the OpenAI protocol. Whatever goes wrong with a request to it comes back as a value.

One `Endpoint` serves all stages that ask the same server with the same key, so that they share its rate limit.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from store.errors import ProviderError

if TYPE_CHECKING:
    import httpx2
    from openai import APIStatusError, AsyncOpenAI

# Asked again by the next run: nothing was answered, so nothing was paid for.
TRANSIENT = ("timeout", "connection", "server_error", "rate_limit", "bad_response")
# Asked again only on request: the server answered, and would most likely answer the same.
ANSWERED = ("malformed", "refusal", "length", "content_filter", "bad_request")

_RETRIES = 2  # by the SDK, which honours Retry-After
TRIES = 1 + _RETRIES  # so often is a request sent at most
_LONGEST_WAIT_S = 120  # for which the SDK obeys a Retry-After
_SHORTEST_KEY = 16  # characters; shorter ones ("ollama") are placeholders, and would be found in any text
_RAW_LIMIT = 4000  # characters kept of what a failing server said


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer, and what the server said instead."""

    kind: str  # one of TRANSIENT or ANSWERED
    raw: str
    param: str | None = None  # of a bad request: the part that the server names


class Body(NamedTuple):
    """What a server answered with status 200, and how long it took."""

    text: str
    duration_ms: int


class Endpoint:
    """A server, with what was learned about its pace. An async context manager.

    `limit` is how many requests may be in flight: halved when the server says that it is too much, it rises again one
    by one. `resume_at` is the time (of `time.monotonic`) before which no new request should be sent.
    """

    def __init__(self, base_url: str, api_key: str | None, *, timeout_s: float, concurrency: int) -> None:
        """Prepare a client; nothing is sent yet."""
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        self.base_url = base_url
        self.limit = concurrency
        self.resume_at = 0.0
        self._most = concurrency
        self._successes = 0
        self._secret = api_key if api_key and len(api_key) >= _SHORTEST_KEY else None
        self._patience_s = TRIES * timeout_s + _RETRIES * _LONGEST_WAIT_S
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

    async def call(self, send: Callable[["AsyncOpenAI"], Awaitable[Any]]) -> Body | Failure:
        """Send one request; `send` makes it and returns the response as it came.

        Raises:
            ProviderError: the server will answer no request at all: wrong key, no money left, no such model.
        """
        import openai

        started = time.monotonic()
        try:
            async with asyncio.timeout(self._patience_s):
                text: str = (await send(self._client)).text
        except (openai.APITimeoutError, TimeoutError):
            return Failure("timeout", f"no answer from {self.base_url}")
        except openai.APIConnectionError as error:
            return Failure("connection", self._scrub(f"{self.base_url}: {error.__cause__ or error.message}"))
        except openai.APIStatusError as error:
            return self._failure(error)
        self._succeeded()
        return Body(self._scrub(text), round((time.monotonic() - started) * 1000))

    def _failure(self, error: "APIStatusError") -> Failure:
        status, raw = error.status_code, self._scrub(error.message)[:_RAW_LIMIT]
        if status == 403 and "logprobs" in raw:  # OpenAI's way to say that a model gives none
            return Failure("bad_request", raw, "logprobs")
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
        return Failure("content_filter" if error.code == "content_filter" else "bad_request", raw, error.param)

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
            self.limit = max(1, self.limit // 2)
        self.resume_at = max(self.resume_at, now + wait_s(response.headers.get("retry-after")))
        self._successes = 0

    def _succeeded(self) -> None:
        self._successes += 1
        if self._successes >= 4 * self.limit and self.limit < self._most:
            self.limit += 1
            self._successes = 0

    def _scrub(self, text: str) -> str:
        """Servers and proxies repeat what they were sent; the key must not end up in a database or on a screen."""
        return text.replace(self._secret, "[key]") if self._secret else text


def wait_s(retry_after: str | None) -> float:
    """Read Retry-After, which is a number of seconds or a date; one second where it is missing or neither."""
    try:
        asked = float(retry_after or "1")
    except ValueError:
        try:
            asked = (parsedate_to_datetime(str(retry_after)) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            asked = 1.0
    return min(max(asked, 0.0), _LONGEST_WAIT_S) if not math.isnan(asked) else 1.0


def token_count(usage: object, *path: str) -> int | None:
    """Find a number of tokens in what a server says of its usage; None where it is silent or talks nonsense."""
    for name in path:
        usage = usage.get(name) if isinstance(usage, dict) else None
    return usage if isinstance(usage, int) and not isinstance(usage, bool) and 0 <= usage < 2**31 else None
