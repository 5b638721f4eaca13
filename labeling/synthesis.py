"""Questions that a model writes about chunks, for evaluation, for a judge's examples or for training.

Writing needs the judge's endpoint, budget and judgments, so it stands here; retrieval, which is mining's, is handed
in. All is decided by what the store holds, round by round: ask for as many questions as are likely to be needed, take
out what is no good, look for each one's chunk, let the judge say whether it answers. So a run that is stopped or killed
goes on where it was, and nothing that was answered is asked again.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from labeling.budget import Budget, no_price
from labeling.endpoint import TRANSIENT
from labeling.judge import check_prices, judge_candidates
from labeling.judges import judges_of
from labeling.question_faults import KnownTexts, fault_of
from labeling.question_lists import parse_questions
from labeling.question_writer import Writer, Written, write_questions, writer_of
from store.candidates import Candidate, put_candidates
from store.database import Store
from store.errors import MissingError
from store.generations import (
    SourceChunk,
    asked_before,
    chunks_asked_about,
    chunks_to_ask_about,
    unread_answers,
    writing_habits,
)
from store.ids import anchor_id, pair_id
from store.judgments import Said, what_judges_said
from store.policies import Policy
from store.progress import Progress, silent
from store.synthetic import (
    SYNTHETIC,
    Purpose,
    Question,
    Retrieval,
    RoundTrip,
    Waiting,
    add_questions,
    count_accepted,
    known_questions,
    put_round_trips,
    removals,
    waiting_questions,
)
from store.text import NEAR_DUPLICATE, NEAR_QUERY, query_trigrams, shingles
from store.workspace import JudgeSettings, Price, SynthesisSettings

SCALES: Mapping[Purpose, int] = {"evaluation": 20, "few-shot": 200, "training": 2000}

_A_CHUNK: Mapping[Purpose, int] = {"evaluation": 1, "few-shot": 1, "training": 3}  # questions that are kept
_SHORTEST, _LONGEST = 40, 8000  # characters of a chunk that is asked about
_LARGEST_ROUND = 400  # requests
_LEAST_USABLE = 0.1  # questions a request: a model that writes fewer good ones is not worth its money
_PATIENCE = 50  # requests, before that is said of it

INTERRUPTED = "interrupted; the same command goes on from here"
BUDGET_SPENT = "the budget is spent; the same command goes on from here"

Retrieve = Callable[[Sequence[Waiting]], Sequence[Retrieval]]


@dataclass(slots=True)
class SynthesisResult:
    """What a run brought, and what stands now.

    `not_accepted` counts the questions that fell out, by reason, over all runs. `cost_usd` is None where it is not
    known what tokens cost.
    """

    purpose: Purpose
    wanted: int
    accepted: int = 0
    new: int = 0  # accepted by this run
    written: Written = field(default_factory=Written)
    judged: int = 0
    judge_errors: Counter[str] = field(default_factory=Counter)  # answers of the judge that could not be used, by kind
    judge_cost_usd: float | None = 0.0
    not_accepted: Mapping[str, int] = field(default_factory=dict)
    stopped: str | None = None  # why there are fewer than wanted

    @property
    def cost_usd(self) -> float | None:
        """Dollars of this run."""
        if self.written.cost_usd is None or self.judge_cost_usd is None:
            return None
        return self.written.cost_usd + self.judge_cost_usd


def synthesize(
    store: Store,
    policy: Policy,
    purpose: Purpose,
    settings: SynthesisSettings,
    judge: JudgeSettings,
    prices: Mapping[str, Price],
    *,
    retrieve: Retrieve,
    count: int | None = None,
    budget_usd: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> SynthesisResult:
    """Have questions written until `count` of them are accepted for a purpose; those of earlier runs count.

    A chunk is asked about once under a policy, and not at all if it nearly repeats one that was asked about, so no two
    purposes share a chunk. A question that equals or nearly repeats a logged query or another written question,
    whatever it is for, is removed; so is one that copies its chunk. An accepted question is an anchor, with its chunk
    as a candidate positive of the source `synthetic`: no label, but judged and reviewed as all are.

    Args:
        store: holds the chunks, and takes all that comes of them.
        policy: what makes a question fit a chunk.
        purpose: what for; see `SCALES`.
        settings: who writes.
        judge: who judges; where it names no model, the one that writes.
        prices: dollars by model name.
        retrieve: looks for the chunks of questions.
        count: how many questions are wanted; default: the scale of the purpose.
        budget_usd: stop before the run costs more.
        seed: asks about other chunks first.
        progress: told of requests, questions and pairs.

    Raises:
        UsageError: no model, or no price for a budget.
        MissingError: no chunks, or neither key nor endpoint.
        ProviderError: the endpoint refuses the key, the model or further credit, or is down; what it answered stays.
    """
    writer = writer_of(settings, judge, prices, policy, purpose)
    judge = judge_of(judge, writer)
    judges = judges_of(judge, policy)  # complains before anything is paid for
    if budget_usd is not None:
        if writer.price is None:
            raise no_price(writer.model)
        check_prices(judges, prices)
    wanted = SCALES[purpose] if count is None else count
    result = SynthesisResult(purpose, wanted)
    work = _Work(store, policy, purpose, writer, judge, prices, retrieve, seed, progress, result, budget_usd)
    before = count_accepted(store, policy.name, purpose)
    while result.stopped is None and (shortage := wanted - count_accepted(store, policy.name, purpose)) > 0:
        waiting = waiting_questions(store, policy.name, purpose, shortage)
        if waiting:
            work.check(waiting)
        else:
            work.write(shortage)
    result.accepted = count_accepted(store, policy.name, purpose)
    result.new = result.accepted - before
    result.not_accepted = removals(store, policy.name, purpose)
    return result


def judge_of(judge: JudgeSettings, writer: Writer) -> JudgeSettings:
    """Return the judge that is configured, else the model that writes."""
    if judge.stages or judge.model:
        return judge
    asked = {"model": writer.model, "base_url": writer.base_url, "api_key_env": writer.settings.api_key_env}
    return judge.model_copy(update=asked)


def requests_needed(store: Store, policy: Policy, purpose: Purpose, model: str, shortage: int) -> int:
    """Estimate how many chunks have to be asked about for so many more questions."""
    usable = writing_habits(store, policy.name, purpose, model).usable
    each = 0.8 * _A_CHUNK[purpose] if usable is None else max(usable, _LEAST_USABLE)
    return math.ceil(shortage / each)


def next_chunks(store: Store, policy: Policy, count: int, *, seed: int) -> list[SourceChunk]:
    """Return the next chunks to ask about, none of which nearly repeats another or one that was asked about."""
    known = KnownTexts(shingles, NEAR_DUPLICATE)
    for text in chunks_asked_about(store, policy.name):
        known.add(text, text)
    chosen: list[SourceChunk] = []
    looked_at, page = 0, 2 * count + 100
    while len(chosen) < count:
        found = chunks_to_ask_about(
            store, policy, seed=seed, shortest=_SHORTEST, longest=_LONGEST, retry=TRANSIENT, limit=page
        )
        for chunk in found[looked_at:]:
            if len(chosen) < count and known.repeated_by(chunk.text) is None:
                chosen.append(chunk)
                known.add(chunk.text, chunk.text)
        if len(found) < page:
            break
        looked_at, page = len(found), 2 * page
    return chosen


@dataclass(slots=True)
class _Work:
    """One run: its two steps, taken in turn as the store asks for them."""

    store: Store
    policy: Policy
    purpose: Purpose
    writer: Writer
    judge: JudgeSettings
    prices: Mapping[str, Price]
    retrieve: Retrieve
    seed: int
    progress: Progress
    result: SynthesisResult
    left_usd: float | None  # of the budget; None: there is none
    known: KnownTexts | None = None  # all questions, logged and written

    def write(self, shortage: int) -> None:
        """Have questions written, and take out those that are no good."""
        if self.result.written.requests >= max(_PATIENCE, self.result.wanted / _LEAST_USABLE):
            self.result.stopped = f"{self.result.written.requests} requests brought too few good questions"
            return
        unread = unread_answers(self.store, self.policy.name, self.purpose)
        needed = requests_needed(self.store, self.policy, self.purpose, self.writer.model, shortage)
        more = min(needed, _LARGEST_ROUND) - len(unread)
        chunks = next_chunks(self.store, self.policy, more, seed=self.seed) if more > 0 else []
        if chunks:
            self._ask_about(chunks)
            if self.result.stopped:
                return
            unread = unread_answers(self.store, self.policy.name, self.purpose)
        elif not unread:
            self._say_why_there_is_nothing_to_ask()
            return
        if not unread:
            self.result.stopped = "none of the answers could be used"
        add_questions(self.store, [question for answer in unread for question in self._read(answer)])

    def _ask_about(self, chunks: Sequence[SourceChunk]) -> None:
        written = self.result.written
        budget = None if self.left_usd is None else Budget(self.left_usd)
        asyncio.run(
            write_questions(
                self.store,
                self.policy,
                self.purpose,
                self.writer,
                chunks,
                budget=budget,
                written=written,
                progress=self.progress,
            )
        )
        if budget and self.left_usd is not None:
            self.left_usd = max(0.0, self.left_usd - budget.spent_usd)
        if written.interrupted:
            self.result.stopped = INTERRUPTED
        elif written.budget_spent:
            self.result.stopped = BUDGET_SPENT

    def _say_why_there_is_nothing_to_ask(self) -> None:
        if not asked_before(self.store, self.policy.name):
            kinds = f" of the kinds {', '.join(self.policy.kinds)}" if self.policy.kinds else ""
            raise MissingError(
                f"no chunk{kinds} of {_SHORTEST} to {_LONGEST:,} characters to write questions about",
                hint="uncited import FILE",
            )
        self.result.stopped = "all chunks have been asked about"

    def _read(self, answer: Mapping[str, object]) -> list[Question]:
        """Take the questions out of an answer, each with what is wrong with it."""
        generation_id, chunk = str(answer["generation_id"]), str(answer["chunk"])
        if self.known is None:
            self.known = KnownTexts(query_trigrams, NEAR_QUERY)
            for name, text in known_questions(self.store).items():
                self.known.add(name, text)
        questions: list[Question] = []
        kept = 0
        for number, text in enumerate(parse_questions(str(answer["raw_answer"])), start=1):
            name = anchor_id(text)
            removed, repeats = fault_of(text, chunk), None
            if removed is None and (found := self.known.repeated_by(text)):
                removed, repeats = "repeats another question", found[0]
            if removed is None and kept == _A_CHUNK[self.purpose]:
                removed = "one question a chunk is enough" if kept == 1 else f"{kept} questions a chunk are enough"
            if removed is None:
                kept += 1
                self.known.add(name, text)
            questions.append(Question(generation_id, number, None if removed else name, text, removed, repeats))
        return questions

    def check(self, waiting: Sequence[Waiting]) -> None:
        """Look for the chunks of questions, ask the judge about those that were found, and decide."""
        found = dict(zip(waiting, self.retrieve(waiting), strict=True))
        lost = [RoundTrip(q.anchor_id, r, None, "not found by retrieval") for q, r in found.items() if not _found(r)]
        asked = {pair_id(q.anchor_id, q.chunk_id): q for q, r in found.items() if _found(r)}
        with self.store.transaction():
            put_round_trips(self.store, self.policy.name, lost)
            put_candidates(
                self.store,
                self.policy.name,
                [Candidate(q.anchor_id, q.chunk_id, SYNTHETIC, "positive") for q in asked.values()],
            )
        if not asked:
            return
        self._ask_judge(asked)
        outcomes = what_judges_said(self.store, self.policy, asked)
        decided = []
        for pair, question in asked.items():
            label, error, _ = outcomes.get(pair, Said(None, None, None))
            if label or (error and error not in TRANSIENT):
                decided.append(RoundTrip(question.anchor_id, found[question], label, self._objection(label, error)))
        with self.store.transaction():
            put_round_trips(self.store, self.policy.name, decided)
        if len(decided) < len(asked) and self.result.stopped is None:
            self.result.stopped = f"the judge did not answer about {len(asked) - len(decided)} questions"

    def _objection(self, label: str | None, error: str | None) -> str | None:
        """Say why a question is not accepted. An answer that cannot be used is no verdict: the question falls out."""
        if label is None:
            return f"no usable answer of the judge: {error}"
        return None if self.policy.role(label) == "positive" else f"the judge says {label}"

    def _ask_judge(self, asked: Mapping[str, Waiting]) -> None:
        result = self.result
        judged = judge_candidates(
            self.store,
            self.policy,
            self.judge,
            self.prices,
            pairs=list(asked),
            budget_usd=self.left_usd,
            progress=self.progress,
        )
        result.judged += judged.judged
        result.judge_errors += judged.errors
        if result.judge_cost_usd is not None:
            result.judge_cost_usd = None if judged.cost_usd is None else result.judge_cost_usd + judged.cost_usd
        if self.left_usd is not None:  # where it is not known what the judge cost, nothing more is risked
            self.left_usd = 0.0 if judged.cost_usd is None else max(0.0, self.left_usd - judged.cost_usd)
        if judged.interrupted:
            result.stopped = INTERRUPTED
        elif judged.budget_spent:
            result.stopped = BUDGET_SPENT


def _found(retrieval: Retrieval) -> bool:
    return retrieval.bm25_rank is not None or retrieval.dense_rank is not None
