"""Asking a model in plain text, for whoever hands in the work: paced, paid once, within a budget.

The work is handed in as a function that gets an `Ask`; it need not know of endpoints. It shares with the judge the
endpoint, the budget and what becomes of each fault.
"""

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from labeling.answers import cost_usd
from labeling.budget import Budget, most_it_can_cost, no_price
from labeling.chat import ChatModel, Reply, Request, request_body
from labeling.dry_run import CHARACTERS_A_TOKEN
from labeling.endpoint import TRANSIENT, Endpoint, Failure
from labeling.judges import writing_model
from labeling.prompts import Message
from labeling.stopping import ending_on_signals
from store.completions import Ask, Completion, CompletionFile, NoAnswer, Prompt
from store.database import Store
from store.errors import ProviderError, UsageError, UserError
from store.ids import content_id
from store.workspace import JudgeSettings, Price, WriterSettings, secret

INTERRUPTED = "interrupted"
BUDGET_SPENT = "the budget is spent"

_FAILURES_IN_A_ROW = 20
_NO_ANSWER = (*TRANSIENT, "bad_request")
_GRACE_S = 3.0  # for replies under way when the run is stopped
_LONGEST_PAUSE_S = 0.5
_CHECK = "check --base-url and that the server runs; the same command goes on where this one stopped"

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class AskedModel:
    """Who is asked. `price` is None where it is not known."""

    model: str
    base_url: str
    settings: WriterSettings
    price: Price | None

    def request(self, prompt: Prompt) -> Request:
        """Return the request that a prompt becomes."""
        longest, seed = self.settings.max_tokens, 1 + prompt.repeat
        sampling = {"temperature": prompt.temperature, "max_tokens": longest, "seed": seed}
        return Request(self.model, (Message(role="user", content=prompt.text),), {}, {}, sampling)

    def completion_id(self, request: Request) -> str:
        """Hash of a request and of where it goes."""
        return content_id("completion", self.base_url, request.request_id)


@dataclass(slots=True)
class Spent:
    """What a run asked. Dollars are None where it is not known what tokens cost."""

    requests: int = 0  # answered in this run
    reused: int = 0  # replies of earlier runs
    failed: Counter[str] = field(default_factory=Counter)  # requests without a reply, by kind
    prompt_tokens: int = 0  # cached ones included
    completion_tokens: int = 0
    cost_usd: float | None = 0.0  # of this run
    total_cost_usd: float | None = 0.0  # with the replies of earlier runs that it used
    stopped: str | None = None  # why the work is not done

    def count(self, completion: Completion, *, known: bool) -> None:
        """Add a reply; `known` ones are of an earlier run."""
        self.total_cost_usd = _sum(self.total_cost_usd, completion.cost_usd)
        if known:
            self.reused += 1
            return
        self.requests += 1
        self.prompt_tokens += completion.prompt_tokens or 0
        self.completion_tokens += completion.completion_tokens or 0
        self.cost_usd = _sum(self.cost_usd, completion.cost_usd)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would ask besides what is known. Tokens are estimates; `cost_usd` is None where no price is known."""

    model: str
    requests: int
    known: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


def asked_model(
    settings: WriterSettings,
    judge: JudgeSettings,
    prices: Mapping[str, Price],
    *,
    section: str,
    estimate: bool = False,
) -> AskedModel:
    """Return who is asked, with what a section of `uncited.toml` leaves open taken from the judge; nothing is sent.

    An `estimate` takes no key.

    Raises:
        UsageError: no model is named, or the address is none.
        MissingError: neither key nor endpoint.
    """
    found = writing_model(settings, judge, section=section, task="ask", option="--llm", estimate=estimate)
    return AskedModel(*found, prices.get(found[0]))


def work_with_model(
    store: Store,
    asked: AskedModel,
    kept: CompletionFile,
    work: Callable[[Ask], Awaitable[_Result]],
    *,
    budget_usd: float | None = None,
) -> tuple[_Result | None, Spent]:
    """Let `work` ask a model; return what it returned and what was spent.

    What the model says is kept in `kept`, and not asked again. Where the budget is spent, or at Ctrl-C or SIGTERM,
    `work` is cancelled, what it would have returned is None, and `Spent.stopped` says why.

    Raises:
        UsageError: there is a budget and no price.
        ProviderError: the endpoint refuses the key, the model or further credit, or is down; what it said stays.
    """
    if budget_usd is not None and asked.price is None:
        raise no_price(asked.model)
    budget = None if budget_usd is None else Budget(budget_usd)
    return asyncio.run(_work(store, asked, kept, work, budget))


async def _work(
    store: Store,
    asked: AskedModel,
    kept: CompletionFile,
    work: Callable[[Ask], Awaitable[_Result]],
    budget: Budget | None,
) -> tuple[_Result | None, Spent]:
    settings = asked.settings
    async with Endpoint(
        asked.base_url, secret(settings.api_key_env), timeout_s=settings.timeout_s, concurrency=settings.concurrency
    ) as endpoint:
        asker = _Asker(ChatModel(store, endpoint, asked.model), asked, kept, budget)
        working = asyncio.ensure_future(work(asker))
        asker.working = working
        result = None
        with ending_on_signals(asker.interrupt):
            try:
                result = await working
            except asyncio.CancelledError:
                if not asker.stopping:
                    raise
            finally:
                await asker.finish()
        if asker.fatal:
            raise asker.fatal
    return result, asker.spent


def estimate_work(
    asked: AskedModel,
    kept: CompletionFile,
    work: Callable[[Ask], Awaitable[object]],
    *,
    stand_in: Callable[[Prompt], str],
) -> Estimate:
    """Say what `work` would ask and cost, with nothing sent.

    Where no reply is known, work goes on with what `stand_in` returns; tokens are characters by four.
    """
    counter = _Counter(asked, kept, stand_in)
    asyncio.run(_awaited(work(counter)))
    prompt_tokens = round(counter.prompt_characters / CHARACTERS_A_TOKEN)
    completion_tokens = round(counter.reply_characters / CHARACTERS_A_TOKEN)
    cost = cost_usd(asked.price, prompt_tokens, 0, completion_tokens)
    return Estimate(asked.model, len(counter.new), len(counter.known), prompt_tokens, completion_tokens, cost)


async def _awaited(work: Awaitable[object]) -> None:
    await work


class _Counter:
    """An `Ask` that sends nothing."""

    note = ""

    def __init__(self, asked: AskedModel, kept: CompletionFile, stand_in: Callable[[Prompt], str]) -> None:
        self.new: set[str] = set()
        self.known: set[str] = set()
        self.prompt_characters = 0
        self.reply_characters = 0
        self._asked = asked
        self._kept = kept
        self._stand_in = stand_in

    async def __call__(self, prompt: Prompt) -> str:
        request = self._asked.request(prompt)
        name = self._asked.completion_id(request)
        known = self._kept.get(name)
        if known:
            self.known.add(name)
            return _text_of(known)
        said = self._stand_in(prompt)
        if name not in self.new:
            self.new.add(name)
            self.prompt_characters += len(prompt.text)
            self.reply_characters += len(said)
        return said


class _Asker:
    """An `Ask` that sends requests, a few at a time."""

    def __init__(self, chat: ChatModel, asked: AskedModel, kept: CompletionFile, budget: Budget | None) -> None:
        self.spent = Spent()
        self.working: asyncio.Future[Any] | None = None  # the work, which ends where nothing more may be asked
        self.stopping = False
        self.fatal: BaseException | None = None
        self._chat = chat
        self._asked = asked
        self._kept = kept
        self._budget = budget
        self._under_way: dict[str, asyncio.Task[Completion]] = {}
        self._counted: set[str] = set()
        self._sending = 0
        self._turn = asyncio.Condition()
        self._failures_in_a_row = 0

    @property
    def note(self) -> str:
        """Say how many requests were answered, and what they cost."""
        cost = "" if self.spent.cost_usd is None else f", ${self.spent.cost_usd:.4f}"
        return f"{self.spent.requests:,} requests, {self.spent.reused:,} replies known{cost}"

    async def __call__(self, prompt: Prompt) -> str:
        """Return the reply that is known, or under way, or else ask."""
        request = self._asked.request(prompt)
        name = self._asked.completion_id(request)
        known = self._kept.get(name)
        if known is None:
            if name not in self._under_way:
                self._under_way[name] = asyncio.create_task(self._send(request, name))
                self._under_way[name].add_done_callback(lambda task: self._sent(name, task))
            try:  # cancelling whoever waits must not throw away an answer that is paid for
                return _text_of(await asyncio.shield(self._under_way[name]))
            except NoAnswer:
                raise
            except Exception as error:  # `_sent` has ended the work
                raise asyncio.CancelledError from error
        if name not in self._counted:
            self._counted.add(name)
            self.spent.count(_priced(known, self._asked.price), known=True)
        return _text_of(known)

    def interrupt(self) -> None:
        """End the run because somebody wants it to end."""
        self._stop(INTERRUPTED)

    async def finish(self) -> None:
        """Wait a little for what is under way."""
        async with self._turn:
            self._turn.notify_all()
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=_GRACE_S)
        for task in self._under_way.values():
            task.cancel()

    def _stop(self, because: str | BaseException) -> None:
        """Let nothing more be asked, and end the work."""
        if isinstance(because, BaseException):
            self.fatal = self.fatal or because
        else:
            self.spent.stopped = self.spent.stopped or because
        self.stopping = True
        if self.working:
            self.working.cancel()

    async def _send(self, request: Request, name: str) -> Completion:
        most_usd = await self._my_turn(request)
        charge = _Charge(None, None, "timeout")  # what is broken off may be billed
        try:
            outcome = await self._chat.ask(request)
            if isinstance(outcome, Failure):
                charge = _Charge(None, None, outcome.kind)
                self._fail(outcome)
                raise NoAnswer(outcome.kind)
            self._failures_in_a_row = 0
            completion = _completion(outcome, self._asked.price)
            charge = _Charge(completion.cost_usd, outcome.duration_ms, None)
            self._kept.put(name, completion)
            self._counted.add(name)
            self.spent.count(completion, known=False)
            return completion
        except UserError as error:
            self._stop(error)  # before anybody else has a turn
            raise
        finally:
            self._sending -= 1
            if self._budget:
                self._budget.settle(most_usd, [charge])
            async with self._turn:
                self._turn.notify_all()

    async def _my_turn(self, request: Request) -> float:
        """Wait until the request may be sent; return what it can cost at most, which is set aside."""
        endpoint = self._chat.endpoint
        async with self._turn:
            while not self.stopping:
                pause = endpoint.resume_at - time.monotonic()
                # The first request goes alone, until a reply shows which parameters the server takes.
                if pause <= 0 and self._sending < (endpoint.limit if self._chat.proven else 1):
                    most_usd = self._most_usd(request)
                    if self._budget is None or self._budget.fits(most_usd):
                        break
                    if not self._sending:
                        self._stop(BUDGET_SPENT)
                        break
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._turn.wait(), min(pause, _LONGEST_PAUSE_S) if pause > 0 else None)
            if self.stopping:
                raise asyncio.CancelledError
            self._sending += 1
            if self._budget:
                self._budget.reserve(most_usd)
            return most_usd

    def _most_usd(self, request: Request) -> float:
        if self._budget is None or self._asked.price is None:
            return 0.0
        if {"max_tokens", "max_completion_tokens"} <= self._chat.form.dropped:
            raise UsageError(
                f"{self._asked.base_url} takes no limit on the length of an answer, so no budget can be kept",
                hint="leave out --budget, or limit what the account may spend",
            )
        body = request_body(request, self._chat.form)
        return most_it_can_cost(body, self._asked.settings.max_tokens, self._asked.price)

    def _fail(self, failure: Failure) -> None:
        """Count a failure, and give up on an endpoint that only fails."""
        self.spent.failed[failure.kind] += 1
        self._failures_in_a_row = self._failures_in_a_row + 1 if failure.kind in _NO_ANSWER else 0
        dead = not self._chat.proven and failure.kind in ("connection", "bad_response")  # the SDK has tried three times
        if dead or self._failures_in_a_row >= _FAILURES_IN_A_ROW:
            said = f"{failure.kind}: {failure.raw[:200]}"
            self._stop(ProviderError(f"no answer from {self._asked.base_url} ({said})", hint=_CHECK))

    def _sent(self, name: str, task: "asyncio.Task[Completion]") -> None:
        del self._under_way[name]
        error = None if task.cancelled() else task.exception()
        if error and not isinstance(error, NoAnswer):
            self._stop(error)


class _Charge(NamedTuple):
    """What came of a request, as far as it is about money (see `labeling.budget.Charged`)."""

    cost_usd: float | None
    duration_ms: int | None
    error: str | None


def _completion(reply: Reply, price: Price | None) -> Completion:
    text = re.sub(r"^\s*<think>.*?</think>", "", reply.content or "", flags=re.DOTALL).strip()
    error = None
    if reply.refusal:
        text, error = reply.refusal, "refusal"
    elif reply.finish_reason in ("length", "content_filter"):
        error = reply.finish_reason
    elif not text:
        error = "malformed"
    return Completion(
        text=text.encode("utf-8", "replace").decode(),  # half a surrogate pair can be sent on to nobody
        error=error,
        model=reply.model,
        prompt_tokens=reply.prompt_tokens,
        cached_tokens=reply.cached_tokens,
        completion_tokens=reply.completion_tokens,
        cost_usd=cost_usd(price, reply.prompt_tokens, reply.cached_tokens, reply.completion_tokens),
        replied_at=reply.replied_at,
    )


def _priced(completion: Completion, price: Price | None) -> Completion:
    """Price a reply that was kept before its price was known."""
    if completion.cost_usd is not None:
        return completion
    tokens = (completion.prompt_tokens, completion.cached_tokens, completion.completion_tokens)
    return replace(completion, cost_usd=cost_usd(price, *tokens))


def _text_of(completion: Completion) -> str:
    if completion.error:
        raise NoAnswer(completion.error)
    return completion.text


def _sum(dollars: float | None, more: float | None) -> float | None:
    return None if dollars is None or more is None else dollars + more
