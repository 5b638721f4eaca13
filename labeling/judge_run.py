"""One run of the judge: hands out pairs, collects what comes back, writes it down at least once a second.

It may be stopped, killed and started again: a pair that one judge has settled under one labelling fingerprint is not
asked about again, and what has been answered is lost only if the machine dies within that second.
"""

import asyncio
import contextlib
import signal
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from labeling.answers import judgment_of
from labeling.endpoint import TRANSIENT, Endpoint, Failure, Reply, Request
from labeling.prompts import PROMPT, ExamplePool, answer_schema, messages
from labeling.recording import Recorder
from store.database import Store
from store.errors import ProviderError
from store.judge_queue import PairToJudge, count_unsettled, queue_pairs, queued_pairs, set_scope
from store.judgments import Judgment, add_judgments
from store.policies import Policy
from store.progress import Progress
from store.workspace import Price

_WRITE_EVERY_S = 0.8
_FETCH = 2000  # pairs read from the database at a time
_AT_ONCE_FROM_RECORDING = 256
_GRACE_S = 3.0  # for answers under way when the run is stopped
_FAILURES_IN_A_ROW = 20  # after which the endpoint is taken to be down
_CHECK = "check --base-url and that the server runs; the same command goes on where this one stopped"


@dataclass(slots=True)
class JudgeResult:
    """What a run brought. Counts are of this run; `cost_usd` is None where it is not known what tokens cost."""

    model: str
    judge_id: str
    cost_usd: float | None
    labels: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    quotes_missing: int = 0  # answers whose quote is not in the chunk
    prompt_tokens: int = 0  # cached ones included
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    not_recorded: int = 0  # pairs that the recording does not answer
    remaining: int = 0  # pairs that the same command would still ask about
    interrupted: bool = False

    @property
    def judged(self) -> int:
        """Pairs that got a label, `unsure` included."""
        return self.labels.total()

    def count(self, judgment: Judgment) -> None:
        """Add one judgment to the counts."""
        if judgment.label is not None:
            self.labels[judgment.label] += 1
        else:
            self.errors[str(judgment.error)] += 1
        self.quotes_missing += judgment.quote_found is False
        self.prompt_tokens += judgment.prompt_tokens or 0
        self.cached_tokens += judgment.cached_tokens or 0
        self.completion_tokens += judgment.completion_tokens or 0
        if judgment.duration_ms is not None and self.cost_usd is not None:  # a failure to answer costs nothing
            self.cost_usd = None if judgment.cost_usd is None else self.cost_usd + judgment.cost_usd


@dataclass(frozen=True, slots=True)
class Work:
    """What a run is to do. `retry`: kinds of error that are asked again; `limit`: of pairs; `pairs`: the only ones."""

    policy: Policy
    model: str
    judge_id: str
    sampling: Mapping[str, float | int]
    price: Price | None
    retry: tuple[str, ...]
    limit: int | None
    pairs: Collection[str] | None
    examples: ExamplePool | None


class _Asked(NamedTuple):
    pair: PairToJudge
    request: Request
    outcome: Reply | Failure | None  # None: not in the recording


Ask = Callable[[Request], Awaitable[Reply | Failure | None]]


class Run:
    """The state of one run."""

    def __init__(self, store: Store, work: Work, recorder: Recorder | None, progress: Progress) -> None:
        """Ask nothing yet."""
        self.result = JudgeResult(work.model, work.judge_id, cost_usd=0.0 if work.price else None)
        self._store = store
        self._work = work
        self._recorder = recorder
        self._progress = progress
        self._schema = answer_schema(PROMPT, work.policy)
        self._loose_schema = answer_schema(PROMPT, work.policy, bounded=False)
        self._queue: deque[PairToJudge] = deque()
        self._fetched = 0
        self._handed_out = 0
        self._tasks: set[asyncio.Task[_Asked]] = set()
        self._answered: list[_Asked] = []
        self._wake = asyncio.Event()
        self._stopping = False
        self._fatal: BaseException | None = None
        self._replies = 0
        self._failures_in_a_row = 0
        self._started = 0.0

    async def go(self, ask: Ask, endpoint: Endpoint | None = None) -> None:
        """Work until nothing is left, a signal arrives, or the endpoint will answer nothing more.

        Raises:
            ProviderError: it will not; what it has answered is written.
        """
        self._started = written = time.monotonic()
        set_scope(self._store, self._work.policy, self._work.pairs)
        unsettled = queue_pairs(self._store, self._work.policy, self._work.judge_id, retry=self._work.retry)
        total = unsettled if self._work.limit is None else min(unsettled, self._work.limit)
        self._progress.start(f"judging with {self._work.model}", total)
        with self._ending_on_signals():
            try:
                while not self._stopping and (self._tasks or self._more()):
                    self._hand_out(ask, endpoint)
                    await self._until_something_happens(endpoint)
                    if time.monotonic() - written >= _WRITE_EVERY_S:
                        self._write()
                        written = time.monotonic()
                if self._tasks:
                    await asyncio.wait(self._tasks, timeout=_GRACE_S)
                    await asyncio.sleep(0)  # lets the callbacks of finished tasks run
            finally:
                for task in self._tasks:
                    task.cancel()
                self._write()
        unsettled = count_unsettled(self._store, self._work.policy, self._work.judge_id, retry=self._work.retry)
        self.result.remaining = unsettled - self.result.not_recorded
        self.result.seconds = time.monotonic() - self._started
        if self._fatal:
            raise self._fatal

    @contextlib.contextmanager
    def _ending_on_signals(self) -> Iterator[None]:
        """Let the first Ctrl-C or SIGTERM end the run in good order; a second one ends it as usual."""
        loop = asyncio.get_running_loop()
        handled: list[int] = []

        def stop() -> None:
            self.result.interrupted = True
            self._stop()
            release()

        def release() -> None:
            while handled:
                loop.remove_signal_handler(handled.pop())

        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop)
                handled.append(number)
        try:
            yield
        finally:
            release()

    def _stop(self, because: BaseException | None = None) -> None:
        self._fatal = self._fatal or because
        self._stopping = True
        self._wake.set()

    def _more(self) -> bool:
        """Tell whether there is a pair to hand out; reads the next ones from the database when the queue is empty."""
        if self._work.limit is not None and self._handed_out >= self._work.limit:
            return False
        if not self._queue:
            found = queued_pairs(self._store, after=self._fetched, limit=_FETCH)
            self._fetched += len(found)
            self._queue.extend(found)
        return bool(self._queue)

    def _hand_out(self, ask: Ask, endpoint: Endpoint | None) -> None:
        if endpoint and time.monotonic() < endpoint.resume_at:
            return
        at_once = endpoint.limit if endpoint else _AT_ONCE_FROM_RECORDING
        while len(self._tasks) < at_once and self._more():
            pair = self._queue.popleft()
            self._handed_out += 1
            task = asyncio.create_task(self._about(pair, ask))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    async def _about(self, pair: PairToJudge, ask: Ask) -> _Asked:
        request = Request(
            model=self._work.model,
            messages=messages(
                PROMPT,
                self._work.policy,
                anchor=pair.anchor,
                chunk=pair.chunk,
                reference=pair.reference,
                examples=self._work.examples.nearest(pair.anchor) if self._work.examples else None,
            ),
            schema=self._schema,
            loose_schema=self._loose_schema,
            sampling=self._work.sampling,
        )
        return _Asked(pair, request, await ask(request))

    def _done(self, task: asyncio.Task[_Asked]) -> None:
        self._tasks.discard(task)
        self._wake.set()
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._stop(error)
            return
        asked = task.result()
        self._answered.append(asked)
        if isinstance(asked.outcome, Failure) and asked.outcome.kind in TRANSIENT:
            self._count_failure(asked.outcome)
        else:
            self._replies += 1
            self._failures_in_a_row = 0

    def _count_failure(self, failure: Failure) -> None:
        """Give up on an endpoint that only fails: going on would turn all pairs into errors."""
        self._failures_in_a_row += 1
        last = f"{failure.kind}: {failure.raw[:200]}"
        if not self._replies and failure.kind in ("connection", "bad_response"):  # the SDK has tried three times
            self._stop(ProviderError(f"no answer from the judge's endpoint ({last})", hint=_CHECK))
        elif self._failures_in_a_row >= _FAILURES_IN_A_ROW:
            said = f"the judge's endpoint failed {self._failures_in_a_row} times in a row (at last {last})"
            self._stop(ProviderError(said, hint=_CHECK))

    async def _until_something_happens(self, endpoint: Endpoint | None) -> None:
        pause = endpoint.resume_at - time.monotonic() if endpoint else 0.0
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), min(pause, _WRITE_EVERY_S) if pause > 0 else _WRITE_EVERY_S)
        self._wake.clear()

    def _write(self) -> None:
        """Write down what has been answered. The recording goes first: it too saves a second bill."""
        answered, self._answered = self._answered, []
        if not answered:
            return
        if self._recorder:
            self._recorder.append([(a.request.request_id, a.outcome) for a in answered if isinstance(a.outcome, Reply)])
        judgments = [
            judgment_of(
                asked.pair,
                asked.request,
                asked.outcome,
                policy=self._work.policy,
                judge_id=self._work.judge_id,
                price=self._work.price,
            )
            for asked in answered
            if asked.outcome is not None
        ]
        add_judgments(self._store, judgments)
        for judgment in judgments:
            self.result.count(judgment)
        self.result.not_recorded += len(answered) - len(judgments)
        self._progress.advance(len(answered), note=self._note())

    def _note(self) -> str:
        errors = self.result.errors.total()
        rate = (self.result.judged + errors) / max(time.monotonic() - self._started, 1e-9)
        cost = "" if self.result.cost_usd is None else f", ${self.result.cost_usd:.4f}"
        return f"{rate:.2g}/s{cost}" + (f", {errors} errors" if errors else "")
