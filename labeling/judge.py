"""The judge: one stage or several, each asked about what the one before it passes on.

A model's answer becomes a judgment or an error, never a guess. The judgments of all stages are kept; where they
differ, that of the last stage that answered counts.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from labeling.budget import Budget, no_price
from labeling.chat import ChatModel, Reply
from labeling.chat_stage import ChatStage, Questions
from labeling.cross_encoder import CrossEncoderStage
from labeling.decision_stage import DecisionStage
from labeling.endpoint import ANSWERED, TRANSIENT, Endpoint
from labeling.judge_calibration import said_unsurely
from labeling.judge_run import Run, StageResult, Work
from labeling.judges import Judge, chat_judge, judges_of
from labeling.prompts import PROMPT, ExamplePool, prompt_fingerprint
from labeling.recording import Header, Recorder, check_prompt, load_recording
from labeling.scoring import score_batches
from labeling.stages import Stage
from store.database import Store
from store.errors import UsageError
from store.judge_queue import pass_on_judged, pass_on_scored, set_scope
from store.judgments import add_judge, set_judge_stages
from store.policies import Policy
from store.progress import Progress, silent
from store.workspace import JudgeSettings, JudgeStage, PassOn, Price, secret


@dataclass(slots=True)
class JudgeResult:
    """What a run brought, stage by stage; the properties are sums over the stages."""

    stages: list[StageResult] = field(default_factory=list)

    @property
    def labels(self) -> Counter[str]:
        """How often each label was given."""
        return sum((stage.labels for stage in self.stages), Counter())

    @property
    def judged(self) -> int:
        """How many labels were given, `unsure` included."""
        return self.labels.total()

    @property
    def errors(self) -> Counter[str]:
        """How often there was no usable answer, by kind."""
        return sum((stage.errors for stage in self.stages), Counter())

    @property
    def remaining(self) -> int:
        """Pairs that the same command would still ask about."""
        return sum(stage.remaining for stage in self.stages)

    @property
    def cost_usd(self) -> float | None:
        """Dollars; None where it is not known what tokens cost."""
        costs = [stage.cost_usd for stage in self.stages]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    @property
    def interrupted(self) -> bool:
        """Stopped by Ctrl-C or SIGTERM."""
        return any(stage.interrupted for stage in self.stages)

    @property
    def budget_spent(self) -> bool:
        """Stopped because the next request might have crossed the budget."""
        return any(stage.budget_spent for stage in self.stages)


def judge_candidates(
    store: Store,
    policy: Policy,
    settings: JudgeSettings,
    prices: Mapping[str, Price],
    *,
    recording: Path | None = None,
    record_to: Path | None = None,
    limit: int | None = None,
    retry_errors: bool = False,
    pairs: Collection[str] | None = None,
    examples: ExamplePool | None = None,
    budget_usd: float | None = None,
    progress: Progress = silent,
) -> JudgeResult:
    """Ask about every candidate pair that this judge has not settled under this policy.

    Errors that no answer stands behind (timeouts, rate limits ...) are asked again by the next run; answers that
    could not be used only with `retry_errors`. Ctrl-C and SIGTERM end the run with what has been answered.

    Args:
        store: holds the candidates and takes the judgments.
        policy: what to ask.
        settings: the stages: which model, where, how many at a time, and what goes on to the next.
        prices: dollars by model name.
        recording: answer from this file, whatever the settings name; pairs that it lacks stay unjudged.
        record_to: write the replies to this file too, and ask for none that it holds.
        limit: stop each stage after so many pairs.
        retry_errors: ask again also where an earlier answer was malformed, refused or cut off.
        pairs: ids of the only pairs to ask about; None for all candidates.
        examples: what people said about other anchors, shown with each pair; makes it another judge.
        budget_usd: stop before the run costs more.
        progress: told of pairs.

    Raises:
        UsageError: no model, no price for a budget, or a file to record to that was made with other settings.
        MissingError: neither key nor endpoint, or no such recording.
        InvalidDataError: the recording is damaged, or was made with another prompt.
        ProviderError: the endpoint refuses the key, the model or further credit, or is down; judgments so far stay.
    """
    replies: Mapping[str, Reply] = {}
    recorder = None
    if recording is not None:
        if record_to is not None:
            raise UsageError("either answer from a recording or make one: give one of --recording and --record")
        judge, replies = _recorded(recording, policy, examples)
        judges: tuple[Judge, ...] = (judge,)
        prices = {}  # nothing is paid for
    else:
        judges = judges_of(settings, policy, examples)
        if record_to is not None:
            recorder = Recorder(record_to, _header(judges, policy))
            replies = recorder.recording.replies
        if budget_usd is not None:
            check_prices(judges, prices)
    budget = None if budget_usd is None or recording else Budget(budget_usd)
    run = _Run(store, policy, prices, replies, recorder, examples, budget, live=recording is None, progress=progress)
    retry = (*TRANSIENT, *ANSWERED) if retry_errors else TRANSIENT
    set_scope(store, policy, pairs)
    asyncio.run(run.go(judges, retry=retry, limit=limit))
    return run.result


def check_prices(judges: Collection[Judge], prices: Mapping[str, Price]) -> None:
    """Make sure that what a run costs can be known before it is spent.

    Raises:
        UsageError: a model has no price; the table to put it in is named.
    """
    for judge in judges:
        if judge.base_url and judge.model not in prices:
            raise no_price(judge.model)


@dataclass(slots=True)
class _Run:
    """The stages of one run, at work one after the other."""

    store: Store
    policy: Policy
    prices: Mapping[str, Price]
    replies: Mapping[str, Reply]
    recorder: Recorder | None
    examples: ExamplePool | None
    budget: Budget | None
    live: bool
    progress: Progress
    result: JudgeResult = field(default_factory=JudgeResult)

    async def go(self, judges: tuple[Judge, ...], *, retry: tuple[str, ...], limit: int | None) -> None:
        """Let each stage work on what the one before it passed on."""
        ids = [add_judge(self.store, judge.config) if judge.config else None for judge in judges]
        set_judge_stages(self.store, self.policy, [judge_id for judge_id in ids if judge_id])
        async with AsyncExitStack() as opened:
            endpoints = {
                address: await opened.enter_async_context(_endpoint(address, judges))
                for address in dict.fromkeys(_address(judge) for judge in judges if judge.base_url and self.live)
            }
            for judge, judge_id in zip(judges, ids, strict=True):
                free = not judge.base_url
                done = StageResult(
                    judge.stage.kind,
                    judge.model,
                    judge_id,
                    cost_usd=0.0 if free or judge.model in self.prices else None,
                )
                self.result.stages.append(done)
                if judge_id is None:
                    assert judge.scorer
                    for scored in score_batches(self.store, judge.scorer, self.progress, limit=limit):
                        done.scored += scored
                        await asyncio.sleep(0)  # lets Ctrl-C through
                else:
                    stage = self._stage(judge, judge_id, endpoints.get(_address(judge)))
                    work = Work(self.policy, judge_id, retry, limit, self.budget, self.recorder)
                    await Run(self.store, work, stage, done, self.progress).go()
                if done.interrupted or done.budget_spent:
                    return
                if judge.stage.pass_on:
                    done.passed_on = self._pass_on(judge, judge_id, judge.stage.pass_on, retry)

    def _stage(self, judge: Judge, judge_id: str, endpoint: Endpoint | None) -> Stage:
        price, concurrency = self.prices.get(judge.model), judge.stage.concurrency
        if judge.scorer:
            return CrossEncoderStage(self.policy, judge_id, judge.scorer, judge.stage.thresholds)
        if judge.sampling is None:
            assert endpoint
            return DecisionStage(self.policy, judge.model, judge_id, price, concurrency, endpoint, self.examples)
        questions = Questions(self.policy, judge.model, judge.sampling, self.examples)
        chat = ChatModel(self.store, endpoint, judge.model) if endpoint else None
        return ChatStage(questions, judge_id, price, concurrency, chat, self.replies)

    def _pass_on(self, judge: Judge, judge_id: str | None, pass_on: PassOn, retry: tuple[str, ...]) -> int:
        if judge_id is None:
            assert judge.scorer
            return pass_on_scored(self.store, judge.scorer.name, pass_on)
        unsure = said_unsurely(self.store, self.policy, judge, judge_id)
        return pass_on_judged(self.store, self.policy, judge_id, pass_on, unsure=unsure, retry=retry)


def _address(judge: Judge) -> tuple[str, str]:
    """What stages share that ask the same server for the same account."""
    return judge.base_url, judge.stage.api_key_env


def _endpoint(address: tuple[str, str], judges: Collection[Judge]) -> Endpoint:
    base_url, key_name = address
    stages = [judge.stage for judge in judges if _address(judge) == address]
    return Endpoint(
        base_url,
        secret(key_name),
        timeout_s=max(stage.timeout_s for stage in stages),
        concurrency=max(stage.concurrency for stage in stages),
    )


def _recorded(file: Path, policy: Policy, examples: ExamplePool | None) -> tuple[Judge, Mapping[str, Reply]]:
    """Return the judge that was recorded, and what it said."""
    known = load_recording(file)
    fingerprint = prompt_fingerprint(PROMPT, policy)
    check_prompt(known, file, fingerprint)
    header = known.header
    stage = JudgeStage(model=header.model, base_url=header.base_url)
    return chat_judge(stage, header.model, header.base_url, header.sampling, examples), known.replies


def _header(judges: tuple[Judge, ...], policy: Policy) -> Header:
    """Say what a recording of these judges is one of."""
    (judge, *others) = judges
    if others or judge.sampling is None:
        raise UsageError("only a judge of one stage that asks a chat model can be recorded: leave out --record")
    return Header(
        model=judge.model,
        base_url=judge.base_url,
        sampling=dict(judge.sampling),
        policy=policy.name,
        prompt_fingerprint=prompt_fingerprint(PROMPT, policy),
        recorded_on=datetime.now(UTC).date().isoformat(),
        how=f"{judge.model} at {judge.base_url}",
    )
