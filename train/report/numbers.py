"""The numbers that stand in sentences of the page, and in no figure or table of it."""

from collections.abc import Iterator
from itertools import chain

from train.evaluation import Compared, Evaluation, Ranking
from train.experiments import Estimate, Gain, MeasuredOn
from train.report.contents import Report
from train.report.look import Look
from train.report.tables import Table
from train.statistics import Share

_Row = tuple[str, str, float | None, float | None, float | None, str]


def numbers(report: Report, look: Look | str) -> Table:
    """Return these numbers as the rows of a table, each with the part of the page, its name, interval and unit."""
    rows = chain(_labels(report), _metrics(report.evaluation), _answers(report), _look(look), _experiments(report))
    columns = ("part", "number", "value", "low", "high", "unit")
    return Table("numbers", columns, [row for row in rows if row[2] is not None])


def _one(part: str, name: str, value: float | None, unit: str) -> _Row:
    return part, name, value, None, None, unit


def _within(part: str, name: str, found: Compared | Estimate | Gain | Share, unit: str) -> _Row:
    return part, name, found.value, found.low, found.high, unit


def _labels(report: Report) -> Iterator[_Row]:
    share, counts = report.uncited, report.counts
    yield _one("labels", "chunks not cited that people reviewed", share.trials, "chunks")
    if share.trials:
        yield _one("labels", "relevant ones of them", share.successes, "chunks")
        yield _within("labels", "relevant ones of them", share, "share")
    judged = counts["judge_positives"] + counts["judge_negatives"]
    yield _one("labels", "labels of this build that are a judge's", judged, "labels")


def _metrics(evaluation: Evaluation | None) -> Iterator[_Row]:
    if evaluation is None:
        return
    part = "metrics"
    yield from _of_ranking("labelled chunks", evaluation.labelled)
    yield _one(part, "chunks that are searched", evaluation.pool, "chunks")
    yield from _of_ranking("searching", evaluation.collection)
    for system, judged in evaluation.collection.judged.items():
        yield _one(part, f"searching: of the first ten of {system}, those with a label", judged, "share")
    if evaluation.synthetic:
        yield from _of_ranking("questions that a model wrote", evaluation.synthetic)
    yield _one(part, "test labels", evaluation.labels, "labels")
    yield _one(part, "test labels that are people's", evaluation.human_share, "share")
    yield _one(part, "test queries without a positive, left out", evaluation.left_out, "queries")
    if shift := evaluation.rank_shift:
        yield _one("ranks", "median rank of a relevant chunk before", shift.median_before, "rank")
        yield _one("ranks", "median rank of a relevant chunk after", shift.median_after, "rank")


def _of_ranking(name: str, ranking: Ranking) -> Iterator[_Row]:
    yield _one("metrics", f"{name}: test queries", ranking.queries, "queries")
    yield _one("metrics", f"{name}: independent groups of them", ranking.groups, "groups")


def _answers(report: Report) -> Iterator[_Row]:
    found = report.answers
    if found is None:
        return
    yield _one("answers", "test queries answered", found.queries, "queries")
    yield _one("answers", "chunks that an answer is written from", found.k, "chunks")
    yield _one("answers", "queries with a logged answer", found.with_reference, "queries")
    yield _one("answers", "queries for which both models retrieve the same", found.same_chunks, "queries")
    for kind, count in sorted(found.failures.items()):
        yield _one("answers", f"values missing: {kind}", count, "values")


def _look(look: Look | str) -> Iterator[_Row]:
    if isinstance(look, str):
        return
    yield _one("similarity", "queries sampled", look.queries, "queries")
    for when, share in zip(("before", "after"), look.ordered, strict=True):
        yield _one("similarity", f"the relevant one of two chunks scores higher, {when}", share, "share")
    yield _one("similarity", "variance that the map holds", look.spread, "share")


def _experiments(report: Report) -> Iterator[_Row]:
    if curve := report.curve:
        yield from _measured("more", curve.test, len(curve.seeds))
        yield _within("more", "before training", curve.base, curve.metric)
        yield _within("more", "all triplets against the fewest", curve.learnt, curve.metric)
        for ahead in curve.forecasts:
            name = f"{ahead.examples} triplets against all there are, as the fit expects"
            yield _within("more", name, ahead.gain, curve.metric)
    if ablation := report.ablation:
        yield from _measured("worth", ablation.test, len(ablation.seeds))
        yield _one("worth", "triplets of each choice", ablation.triplets, "triplets")
    yield _one("training", "steps", report.run.get("steps"), "steps")


def _measured(part: str, test: MeasuredOn, seeds: int) -> Iterator[_Row]:
    yield _one(part, "test queries", test.queries, "queries")
    yield _one(part, "models that differ in their seed", seeds, "models")
