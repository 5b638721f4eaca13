"""What the answers are worth that two retrievers lead to: the metrics of each, and how sure one can be of the gap."""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from store.completions import Ask, NoAnswer
from store.errors import InvalidDataError
from store.progress import Progress, silent
from train.answers.chain import BASE, TUNED, Question
from train.answers.ragas_metrics import AnswerMetric, Embed, keeping_to_itself, measure_answer
from train.evaluation import Compared
from train.experiments import read_result, write_result
from train.runs import read_run
from train.statistics import CONFIDENCE, Difference, holm, paired_bootstrap, sign_flip_p

ANSWERS_FILE = "answers.json"  # beside the run.json of a model

_AT_ONCE = 4  # questions in work; all requests of one may be in flight


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one question: values by retriever and metric, None where there is none.

    `failures` counts, by kind, the answers and values that a request without a usable reply has cost.
    """

    anchor_id: str
    group: str
    values: Mapping[str, Mapping[str, float | None]]
    failures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ComparedMetric:
    """A metric over the questions for which both retrievers have a value.

    `difference` is that of the means, tuned minus base. Its verdict says "gain" where the tuned model is better, which
    for a metric with `lower_is_better` is below.
    """

    name: str
    needs_reference: bool
    lower_is_better: bool
    queries: int
    base: float | None
    tuned: float | None
    difference: Compared


@dataclass(frozen=True, slots=True)
class Bill:
    """What was asked. Dollars are None where it is not known what tokens cost; the total is that of all runs."""

    requests: int
    reused: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    total_cost_usd: float | None


@dataclass(frozen=True, slots=True)
class AnswerComparison:
    """The answers from what a base and a tuned model retrieve, as `answers.json` keeps them. It holds no texts.

    Of the `queries`, `with_reference` have a logged answer; for `same_chunks` of them both models found the same chunks
    in the same order, so that nothing can differ. `failures` counts what is missing, by kind.
    """

    build_id: str
    models: Mapping[str, str]
    llm: str
    base_url: str
    ragas_version: str
    k: int
    queries: int
    with_reference: int
    same_chunks: int
    metrics: tuple[ComparedMetric, ...]
    failures: Mapping[str, int]
    bill: Bill
    measured: tuple[Measured, ...]


async def measure_questions(
    questions: Sequence[Question],
    metrics: Sequence[AnswerMetric],
    ask: Ask,
    *,
    embed: Embed | None = None,
    progress: Progress = silent,
) -> list[Measured]:
    """Have each question answered from what each retriever found, and measure the answers.

    Metrics that need a reference are left out where there is none. Questions are taken in their order, so that what is
    cut short has finished the first ones.

    Args:
        questions: see `train.answers.chain`.
        metrics: what to measure.
        ask: the model that answers, and that Ragas asks.
        embed: what embeds questions, for metrics that compare them.
        progress: told of questions.
    """
    waiting = list(enumerate(questions))[::-1]
    done: dict[int, Measured] = {}

    async def work() -> None:
        while waiting:
            place, question = waiting.pop()
            done[place] = await _measure(question, metrics, ask, embed)
            progress.advance(note=ask.note)

    progress.start("Answering and measuring", len(questions))
    with keeping_to_itself():
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())
    return [done[place] for place in sorted(done)]


async def _measure(question: Question, metrics: Sequence[AnswerMetric], ask: Ask, embed: Embed | None) -> Measured:
    failures: Counter[str] = Counter()
    base, tuned = await asyncio.gather(
        *(_measure_one(question, retriever, metrics, ask, embed, failures) for retriever in (BASE, TUNED))
    )
    return Measured(question.anchor_id, question.group, {BASE: base, TUNED: tuned}, dict(failures))


async def _measure_one(
    question: Question,
    retriever: str,
    metrics: Sequence[AnswerMetric],
    ask: Ask,
    embed: Embed | None,
    failures: Counter[str],
) -> dict[str, float | None]:
    """Answer a question from what one retriever found, and measure that. No answer is paid for that nothing needs."""
    answer = None
    possible = [metric for metric in metrics if question.reference is not None or not metric.needs_reference]
    if any(metric.needs_answer for metric in possible):
        try:
            answer = await ask(question.prompt(retriever))
        except NoAnswer as error:
            failures[error.kind] += 1

    async def value(metric: AnswerMetric) -> float | None:
        if metric not in possible or (metric.needs_answer and answer is None):
            return None
        try:
            return await measure_answer(
                metric,
                ask,
                question=question.text,
                chunks=question.chunks[retriever],
                answer=answer,
                reference=question.reference,
                embed=embed,
            )
        except NoAnswer as error:
            failures[error.kind] += 1
            return None

    values = await asyncio.gather(*(value(metric) for metric in metrics))
    return dict(zip((metric.name for metric in metrics), values, strict=True))


def compare_measured(
    measured: Sequence[Measured], metrics: Sequence[AnswerMetric], *, seed: int = 0
) -> tuple[ComparedMetric, ...]:
    """Compare the retrievers metric by metric, over the questions for which both have a value.

    A difference is claimed only where the bootstrap interval over groups of queries leaves out zero and the sign-flip
    test agrees at 5 %, corrected for the number of `metrics` (Holm).
    """
    found = [_paired(measured, metric, seed) for metric in metrics]
    corrected = holm([p for *_, p in found])
    return tuple(
        ComparedMetric(
            metric.name,
            metric.needs_reference,
            metric.lower_is_better,
            len(base),
            sum(base) / len(base) if base else None,
            sum(tuned) / len(tuned) if tuned else None,
            _compared(difference, p, corrected_p, metric, len(metrics)),
        )
        for metric, (base, tuned, difference, p), corrected_p in zip(metrics, found, corrected, strict=True)
    )


def _paired(
    measured: Sequence[Measured], metric: AnswerMetric, seed: int
) -> tuple[list[float], list[float], Difference, float]:
    """Return the values of both retrievers, their difference and its p-value."""
    import numpy as np

    base: list[float] = []
    tuned: list[float] = []
    groups: list[str] = []
    for one in measured:
        before, after = (one.values[retriever][metric.name] for retriever in (BASE, TUNED))
        if before is not None and after is not None:
            base.append(before)
            tuned.append(after)
            groups.append(one.group)
    column = (np.asarray(tuned, dtype=np.float64) - np.asarray(base, dtype=np.float64)).reshape(-1, 1)
    (difference,) = paired_bootstrap(column, groups, rng=np.random.default_rng(seed))
    (p,) = sign_flip_p(column, groups, rng=np.random.default_rng(seed))
    return base, tuned, difference, p


def _compared(found: Difference, p: float, corrected_p: float, metric: AnswerMetric, asked: int) -> Compared:
    better = found._replace(value=-found.value, low=-found.high, high=-found.low) if metric.lower_is_better else found
    verdict = better.verdict
    if verdict in ("gain", "loss") and corrected_p > 1 - CONFIDENCE + 1e-9:
        verdict = f"no claim (p = {corrected_p:.2f} after correction for {asked} metrics)"
    value, low, high = (None if math.isnan(number) else number for number in (found.value, found.low, found.high))
    return Compared(value, low, high, p, corrected_p, found.groups, found.changed, verdict)


def answers_file(run: Path, build_id: str) -> Path:
    """Return where a comparison on a build is kept: `answers.json` in the folder of a run that was trained on it.

    For another build it carries the build's id.
    """
    record = read_run(run)
    own = record is not None and record.get("build_id") == build_id
    return run / (ANSWERS_FILE if own else f"answers-{build_id.removeprefix('build_')[:8]}.json")


def keep_answers(run: Path, comparison: AnswerComparison) -> Path | None:
    """Keep a comparison in the folder of a run; return the file, None where the folder is that of a mere model.

    Raises:
        UsageError: the file cannot be written.
    """
    if read_run(run) is None:
        return None
    file = answers_file(run, comparison.build_id)
    write_result(file, comparison)
    return file


def read_answers(file: Path) -> AnswerComparison | None:
    """Read a comparison that `keep_answers` wrote; None where there is no such file.

    Raises:
        InvalidDataError: the file holds something else.
    """
    try:
        return read_result(file, AnswerComparison)
    except InvalidDataError as error:
        hint = "uncited answers --policy NAME   # asks nothing again, and writes the file anew"
        raise InvalidDataError(f"{file} is no comparison of answers of this version", hint=hint) from error
