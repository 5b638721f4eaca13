"""One stage of the judge at work: hands out pairs, collects what comes back, writes it down.

It may be stopped, killed and started again (see `labeling.under_way`): a pair that one judge has settled under one
labelling fingerprint is not asked about again.
"""

import time
from collections import Counter, deque
from dataclasses import dataclass, field

from labeling.budget import Budget
from labeling.endpoint import TRANSIENT
from labeling.recording import Recorder
from labeling.stages import Answered, Stage
from labeling.under_way import UnderWay
from store.database import Store
from store.errors import ProviderError
from store.judge_queue import PairToJudge, count_unsettled, queue_pairs, queued_pairs
from store.judgments import Judgment, add_judgments
from store.policies import Policy
from store.progress import Progress

_FETCH = 2000  # pairs read from the database at a time
_FAILURES_IN_A_ROW = 20  # after which the endpoint is taken to be down
_NO_ANSWER = (*TRANSIENT, "bad_request")
_CHECK = "check --base-url and that the server runs; the same command goes on where this one stopped"


@dataclass(slots=True)
class StageResult:
    """What a stage brought. Counts are of this run; `cost_usd` is None where it is not known what tokens cost."""

    kind: str
    model: str
    judge_id: str | None  # None: it gives scores, no labels
    cost_usd: float | None
    labels: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    scored: int = 0
    quotes_missing: int = 0  # answers whose quote is not in the chunk
    prompt_tokens: int = 0  # cached ones included
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    not_recorded: int = 0  # pairs that the recording does not answer
    remaining: int = 0  # pairs that the same command would still ask about
    passed_on: int | None = None  # pairs, of this and earlier runs; None: it is the last stage
    interrupted: bool = False
    budget_spent: bool = False

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
    """What a stage is to do. `retry`: kinds of error that are asked again; `limit`: of pairs."""

    policy: Policy
    judge_id: str
    retry: tuple[str, ...]
    limit: int | None
    budget: Budget | None
    recorder: Recorder | None


class Run:
    """The state of one stage's run over the pairs of the scope (see `store.judge_queue`)."""

    def __init__(self, store: Store, work: Work, stage: Stage, result: StageResult, progress: Progress) -> None:
        """Ask nothing yet; `result` is filled in."""
        self.result = result
        self._store = store
        self._work = work
        self._stage = stage
        self._progress = progress
        self._total = 0
        self._fetched = 0
        self._queue: deque[PairToJudge] = deque()
        self._held: list[PairToJudge] = []  # a batch for which the budget has no room yet
        self._under_way: UnderWay[list[Answered]] = UnderWay(answered=self._take, write=self._write)
        self._answered: list[Answered] = []
        self._replies = 0
        self._failures_in_a_row = 0
        self._started = 0.0

    async def go(self) -> None:
        """Work until nothing is left, a signal arrives, or the endpoint will answer nothing more.

        Raises:
            ProviderError: it will not; what it has answered is written.
        """
        self._started = time.monotonic()
        work = self._work
        unsettled = queue_pairs(self._store, work.policy, work.judge_id, retry=work.retry)
        self._total = unsettled if work.limit is None else min(unsettled, work.limit)
        self._progress.start(f"judging with {self.result.model}", self._total)
        await self._under_way.work(more=self._more, hand_out=self._hand_out, resume_at=lambda: self._stage.resume_at)
        unsettled = count_unsettled(self._store, work.policy, work.judge_id, retry=work.retry)
        self.result.remaining = unsettled - self.result.not_recorded
        self.result.seconds = time.monotonic() - self._started
        self.result.interrupted = self._under_way.interrupted
        if self._under_way.fatal:
            raise self._under_way.fatal

    def _more(self) -> bool:
        """Tell whether there is a pair to hand out; reads the next ones from the database when the queue is empty."""
        if not self._queue and not self._held and self._fetched < self._total:
            found = queued_pairs(self._store, after=self._fetched, limit=min(_FETCH, self._total - self._fetched))
            self._fetched += len(found)
            self._queue.extend(found)
        return bool(self._queue or self._held)

    def _hand_out(self) -> None:
        if time.monotonic() < self._stage.resume_at:
            return
        while len(self._under_way) < self._stage.at_once and self._more():
            batch, self._held = self._held or self._stage.next_batch(self._queue), []
            budget = self._work.budget
            most_usd = self._stage.most_usd(batch) if budget else 0.0
            if budget and not budget.fits(most_usd):
                self._held = batch
                if not self._under_way:
                    self.result.budget_spent = True
                    self._under_way.stop()
                return
            if budget:
                budget.reserve(most_usd)
            self._under_way.start(self._stage.answer(batch), reserved_usd=most_usd)

    def _take(self, answered: list[Answered], reserved_usd: float) -> None:
        self._answered += answered
        judgments = [a.judgment for a in answered if a.judgment]
        if self._work.budget:
            self._work.budget.settle(reserved_usd, judgments)
        failed = next((judgment for judgment in judgments if judgment.error in _NO_ANSWER), None)
        if failed:
            self._count_failure(failed)
        else:
            self._replies += 1
            self._failures_in_a_row = 0

    def _count_failure(self, failed: Judgment) -> None:
        """Give up on an endpoint that only fails: going on would turn all pairs into errors."""
        self._failures_in_a_row += 1
        last = f"{failed.error}: {(failed.raw_answer or '')[:200]}"
        if not self._replies and failed.error in ("connection", "bad_response"):  # the SDK has tried three times
            self._under_way.stop(ProviderError(f"no answer from the judge's endpoint ({last})", hint=_CHECK))
        elif self._failures_in_a_row >= _FAILURES_IN_A_ROW:
            said = f"the judge's endpoint failed {self._failures_in_a_row} times in a row (at last {last})"
            self._under_way.stop(ProviderError(said, hint=_CHECK))

    def _write(self) -> None:
        """Write down what has been answered. The recording goes first: it too saves a second bill."""
        answered, self._answered = self._answered, []
        if not answered:
            return
        if self._work.recorder:
            self._work.recorder.append([a.recorded for a in answered if a.recorded])
        judgments = [a.judgment for a in answered if a.judgment]
        add_judgments(self._store, judgments)
        for judgment in judgments:
            self.result.count(judgment)
        self.result.not_recorded += len(answered) - len(judgments)
        self._progress.advance(len(answered), note=self._note())

    def _note(self) -> str:
        errors = self.result.errors.total()
        rate = (self.result.judged + errors) / max(time.monotonic() - self._started, 1e-9)
        cost = "" if self.result.cost_usd is None else f", ${self.result.cost_usd:.4f}"
        pace = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1g}"
        return f"{pace}/s{cost}" + (f", errors: {errors}" if errors else "")
