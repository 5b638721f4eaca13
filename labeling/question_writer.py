"""Asking a model for questions about chunks: hands out requests, collects what comes back, writes it down.

It stands beside `labeling.judge_run`, which does the same for pairs, and shares with it the loop, the endpoint, the
budget and what becomes of each fault.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from labeling.answers import cost_usd
from labeling.budget import Budget, most_it_can_cost
from labeling.chat import ChatModel, Reply, Request, request_body
from labeling.endpoint import TRANSIENT, Endpoint, Failure
from labeling.judges import writing_model
from labeling.question_lists import parse_questions
from labeling.question_prompt import PERSONAS, WRITER_PROMPT, writing_request
from labeling.under_way import UnderWay
from store.database import Store
from store.errors import ProviderError, UsageError
from store.generations import Generation, SourceChunk, add_generations
from store.ids import canonical_json, content_id
from store.policies import Policy
from store.progress import Progress
from store.synthetic import Purpose
from store.workspace import JudgeSettings, Price, SynthesisSettings, secret

_FAILURES_IN_A_ROW = 20
_NO_ANSWER = (*TRANSIENT, "bad_request")


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, and how it is asked."""

    model: str
    base_url: str
    settings: SynthesisSettings
    price: Price | None

    @property
    def sampling(self) -> Mapping[str, float | int]:
        """Parameters of every request; some warmth, since one wants questions that differ."""
        return {"temperature": 0.7, "max_tokens": self.settings.max_tokens, "seed": 1}

    @property
    def config(self) -> str:
        """Canonical JSON of all that can change an answer but policy, chunk, persona and difficulty."""
        asked = {"model": self.model, "base_url": self.base_url, "prompt": WRITER_PROMPT, "sampling": self.sampling}
        return canonical_json(asked)


def writer_of(
    settings: SynthesisSettings,
    judge: JudgeSettings,
    prices: Mapping[str, Price],
    policy: Policy,
    purpose: Purpose,
    *,
    estimate: bool = False,
) -> Writer:
    """Return who writes; nothing is sent. What `[synthesis]` leaves open is taken from the judge that chats.

    An `estimate` takes no key.

    Raises:
        UsageError: no model is named, or the address is none.
        MissingError: neither key nor endpoint.
    """
    found = writing_model(
        settings,
        judge,
        section="synthesis",
        task="write questions",
        option="--model",
        hint=f"uncited synthesize --policy {policy.name} --for {purpose} --model NAME",
        estimate=estimate,
    )
    return Writer(*found, prices.get(found[0]))


@dataclass(frozen=True, slots=True)
class Asked:
    """A chunk with the request for questions about it."""

    chunk: SourceChunk
    persona: str
    difficulty: str
    request: Request


def asked_about(writer: Writer, policy: Policy, chunk: SourceChunk) -> Asked:
    """Return the request about a chunk. The chunk decides who asks and how hard, so it is the same every time."""
    personas, difficulties = writer.settings.personas or PERSONAS, tuple(WRITER_PROMPT["difficulties"])
    number = int(content_id("asked", chunk.chunk_id).removeprefix("asked_"), 16)
    persona = personas[number % len(personas)]
    difficulty = difficulties[number // len(personas) % len(difficulties)]
    request = writing_request(
        policy,
        chunk.text,
        chunk.kind,
        model=writer.model,
        persona=persona,
        difficulty=difficulty,
        sampling=writer.sampling,
    )
    return Asked(chunk, persona, difficulty, request)


@dataclass(slots=True)
class Written:
    """What a run brought. `cost_usd` is None where it is not known what tokens cost."""

    requests: int = 0
    failed: dict[str, int] = field(default_factory=dict)  # requests without a usable answer, by kind
    prompt_tokens: int = 0  # cached ones included
    completion_tokens: int = 0
    cost_usd: float | None = 0.0
    interrupted: bool = False
    budget_spent: bool = False

    def count(self, generation: Generation) -> None:
        """Add one request to the counts."""
        self.requests += 1
        if generation.error:
            self.failed[generation.error] = self.failed.get(generation.error, 0) + 1
        self.prompt_tokens += generation.prompt_tokens or 0
        self.completion_tokens += generation.completion_tokens or 0
        if generation.duration_ms is not None and self.cost_usd is not None:  # a failure to answer costs nothing
            self.cost_usd = None if generation.cost_usd is None else self.cost_usd + generation.cost_usd


async def write_questions(
    store: Store,
    policy: Policy,
    purpose: Purpose,
    writer: Writer,
    chunks: Sequence[SourceChunk],
    *,
    budget: Budget | None,
    written: Written,
    progress: Progress,
) -> None:
    """Ask for questions about chunks and store what comes back; `written` is filled in.

    Raises:
        ProviderError: the endpoint will answer nothing more; what it has answered is stored.
    """
    key = secret(writer.settings.api_key_env)
    async with Endpoint(
        writer.base_url, key, timeout_s=writer.settings.timeout_s, concurrency=writer.settings.concurrency
    ) as endpoint:
        chat = ChatModel(store, endpoint, writer.model)
        progress.start(f"{writer.model} writes questions", len(chunks))
        await _Run(store, policy, purpose, writer, chat, deque(chunks), budget, written, progress).go()


@dataclass(slots=True)
class _Run:
    store: Store
    policy: Policy
    purpose: Purpose
    writer: Writer
    chat: ChatModel
    queue: deque[SourceChunk]
    budget: Budget | None
    written: Written
    progress: Progress
    answered: list[Generation] = field(default_factory=list)
    failures_in_a_row: int = 0
    under_way: UnderWay[Generation] = field(init=False)

    def __post_init__(self) -> None:
        self.under_way = UnderWay(answered=self._take, write=self._store)

    async def go(self) -> None:
        await self.under_way.work(
            more=lambda: bool(self.queue), hand_out=self._hand_out, resume_at=lambda: self.chat.endpoint.resume_at
        )
        self.written.interrupted = self.under_way.interrupted
        if self.under_way.fatal:
            raise self.under_way.fatal

    def _hand_out(self) -> None:
        endpoint = self.chat.endpoint
        # The first request goes alone, until a reply shows which form the server takes.
        at_once = min(self.writer.settings.concurrency, endpoint.limit) if self.chat.proven else 1
        while self.queue and len(self.under_way) < at_once and time.monotonic() >= endpoint.resume_at:
            asked = asked_about(self.writer, self.policy, self.queue[0])
            most_usd = self._most_usd(asked.request)
            if self.budget and not self.budget.fits(most_usd):
                if not self.under_way:
                    self.written.budget_spent = True
                    self.under_way.stop()
                return
            if self.budget:
                self.budget.reserve(most_usd)
            self.queue.popleft()
            self.under_way.start(self._ask(asked), reserved_usd=most_usd)

    def _most_usd(self, request: Request) -> float:
        if self.budget is None or self.writer.price is None:
            return 0.0
        if {"max_tokens", "max_completion_tokens"} <= self.chat.form.dropped:
            raise UsageError(
                f"{self.writer.base_url} takes no limit on the length of an answer, so no budget can be kept",
                hint="leave out --budget, or limit what the account may spend",
            )
        body = request_body(request, self.chat.form)
        return most_it_can_cost(body, self.writer.settings.max_tokens, self.writer.price)

    async def _ask(self, asked: Asked) -> Generation:
        outcome = await self.chat.ask(asked.request)
        sent = Generation(
            request_id=asked.request.request_id,
            prompt_id=asked.request.prompt_id,
            writer=self.writer.config,
            policy_name=self.policy.name,
            labelling_fingerprint=self.policy.labelling_fingerprint,
            purpose=self.purpose,
            chunk_id=asked.chunk.chunk_id,
            persona=asked.persona,
            difficulty=asked.difficulty,
            prompt_characters=asked.request.characters,
            generated_at=datetime.now(UTC),
        )
        if isinstance(outcome, Failure):
            return replace(sent, error=outcome.kind, raw_answer=outcome.raw)
        return _answered(sent, outcome, self.writer.price)

    def _take(self, generation: Generation, reserved_usd: float) -> None:
        self.answered.append(generation)
        if self.budget:
            self.budget.settle(reserved_usd, [generation])
        if generation.error not in _NO_ANSWER:
            self.failures_in_a_row = 0
            return
        self.failures_in_a_row += 1
        if self.failures_in_a_row >= (_FAILURES_IN_A_ROW if self.chat.proven else 1):
            said = f"{generation.error}: {(generation.raw_answer or '')[:200]}"
            self.under_way.stop(
                ProviderError(
                    f"no questions from {self.writer.base_url} ({said})",
                    hint="check --base-url and that the server runs; the same command goes on where this one stopped",
                )
            )

    def _store(self) -> None:
        answered, self.answered = self.answered, []
        if not answered:
            return
        add_generations(self.store, answered)
        for generation in answered:
            self.written.count(generation)
        cost = "" if self.written.cost_usd is None else f"${self.written.cost_usd:.4f}"
        self.progress.advance(len(answered), note=cost)


def _answered(sent: Generation, reply: Reply, price: Price | None) -> Generation:
    error = None
    if reply.refusal:
        error = "refusal"
    elif reply.finish_reason in ("length", "content_filter"):
        error = reply.finish_reason
    elif not parse_questions(reply.content or ""):
        error = "malformed"
    return replace(
        sent,
        error=error,
        generated_at=datetime.fromisoformat(reply.replied_at),
        raw_answer=reply.refusal or reply.content,
        answered_model=reply.model,
        prompt_tokens=reply.prompt_tokens,
        cached_tokens=reply.cached_tokens,
        completion_tokens=reply.completion_tokens,
        reasoning_tokens=reply.reasoning_tokens,
        cost_usd=cost_usd(price, reply.prompt_tokens, reply.cached_tokens, reply.completion_tokens),
        duration_ms=reply.duration_ms,
    )
