"""The tables of a report: the values that files hold, and how the page writes them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from train.answers.ragas_metrics import METRICS
from train.evaluation import Compared, Evaluation, Ranking
from train.experiments import Gain
from train.report.contents import Agreed, Report, base_system
from train.report.html import Column, Html, tag
from train.report.outcome import headline_metric
from train.report.wording import (
    dollars,
    in_bytes,
    in_time,
    in_words,
    interval,
    minutes,
    percent,
    seen,
    short_model,
    signed,
)

_READING = 0.5  # seconds: who answers quicker on average is a program
_LEFT_OUT = ("unreviewed", "kept_from_training", "duplicates", "guarded", "undecided", "excluded", "synthetic_left_out")
_TOLD = ("base_model",)  # settings that the record names otherwise

_Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page. Its rows hold the values of the columns one after the other, as they were measured."""

    name: str
    columns: Sequence[str | Column]
    rows: Sequence[Sequence[object]]


def tables_of(report: Report, agreement: Sequence[Agreed]) -> list[Table]:
    """Return the tables for which the report has rows, in the order of the page.

    "false-negatives" and "worst-queries" stand there as cards.
    """
    found = [
        Table(
            "policy-labels",
            ("label", "meaning", "in training"),
            [(a.name, a.meaning, a.role) for a in report.policy.answers],
        ),
        _companions(report),
        _stations(report),
        _left_out(report),
        _false_negatives(report),
        _certificates(report),
        _agreement(agreement),
        *_evaluated(report),
        *_answers(report),
        *_ablation(report),
        _worst(report),
        _costs(report),
        _record(report),
    ]
    return [table for table in found if table.rows]


def _signed(value: float | None) -> str | None:
    return None if value is None else signed(value)


def _bounds(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{signed(low)} to {signed(high)}"


def _corrected(p: float | None) -> str:
    if p is None:
        return ""
    return f"{p:.3f}" if p >= 0.0005 else "<0.001"


def _verdict(told: str) -> Html | str:
    return tag("span", told, class_=f"verdict-{told.split(' ')[0]}") if told else ""


_INTERVAL = Column("95 % interval", ("low", "high"), _bounds)
_VERDICT = Column("verdict", ("verdict",), _verdict)
_DIFFERENCE = (Column("difference", ("difference",), _signed), _INTERVAL)
_COMPARED = (
    *("base", "tuned", *_DIFFERENCE),
    *(Column("corrected p", ("corrected p",), _corrected), _VERDICT),
)


def _gap(found: Compared | Gain) -> _Row:
    return found.value, found.low, found.high


def _companions(report: Report) -> Table:
    def told(metric: str | None, value: float | None, low: float | None, high: float | None, verdict: str) -> str:
        if value is None:
            return verdict
        return f"{metric} {signed(value)} ({interval(low, high) or 'no interval'}), {verdict}"

    rows: list[_Row] = []
    for other in report.companions:
        base = base_system(other.evaluation, report.base_model)
        if other.evaluation and base:
            metric = headline_metric(other.evaluation)
            found = metric.differences[base]
            rows.append((other.policy, other.question, metric.name, *_gap(found), found.verdict))
        else:
            rows.append((other.policy, other.question, None, None, None, None, "not evaluated"))
    own = Column("on its own test", ("metric", "difference", "low", "high", "verdict"), told)
    return Table("trained-together", ("policy", "question", own), rows)


def _stations(report: Report) -> Table:
    log, counts, progress = report.log, report.counts, report.progress
    others = sum(counts[f"{who}_{role}"] for who in ("judge", "propagated") for role in ("positives", "negatives"))
    rows = [
        ("interactions", log.interactions, f"logged, {log.anchors:,} different queries"),
        ("retrievals", log.retrievals, f"{log.cited:,} cited, {log.uncited:,} not"),
        ("candidates", counts["candidates"], "pairs put forward under this policy"),
        ("judged", progress.judged, "of them have a judge's label"),
        ("reviewed", progress.reviewed, "of them were answered by people"),
        ("labels by people", counts["human_positives"] + counts["human_negatives"], "in this build"),
        ("other labels", others, "in this build: a judge's, or lent by a duplicate"),
        ("promoted", counts["promoted"], "candidate negatives that turned out relevant"),
        ("triplets to train on", counts["triplets_train"], "anchor, positive, negative"),
        ("triplets to test on", counts["triplets_test"], "of queries that were held back"),
    ]
    return Table("stations", ("station", "count", "what it is"), rows)


def _left_out(report: Report) -> Table:
    rows = [(name.replace("_", " "), report.counts[name]) for name in _LEFT_OUT if report.counts.get(name)]
    return Table("left-out", ("reason", "pairs"), rows)


def _false_negatives(report: Report) -> Table:
    rows = [
        (found.anchor, found.chunk, found.rank, found.reviewers, found.label, found.judged) for found in report.hidden
    ]
    return Table("false-negatives", ("query", "chunk", "rank", "people", "their label", "the judge's label"), rows)


def _certificates(report: Report) -> Table:
    columns = (
        "judge's labels",
        Column("wrong", ("wrong at most",), lambda bound: f"at most {percent(bound)}"),
        Column("confidence", ("confidence",), lambda share: f"{100 * share:g} %"),
        *("speaks about pairs", "blind reviews"),
        Column("today", ("void because",), lambda reasons: f"void: {reasons}" if reasons else "holds"),
    )
    rows = []
    for standing in report.certificates:
        found = standing.certificate
        said = (found.bound, found.confidence, found.population, found.reviews)
        rows.append((found.group, *said, "; ".join(standing.void_because)))
    return Table("certificates", columns, rows)


def _agreement(agreement: Sequence[Agreed]) -> Table:
    columns = (
        *("coefficient", "value", Column("95 % interval", ("low", "high"), interval)),
        Column("", ("without an interval because",), lambda reason: reason),
    )
    known = [found for found in agreement if found.value is not None]
    return Table(
        "agreement", columns, [(found.name, found.value, found.low, found.high, found.reason) for found in known]
    )


def _evaluated(report: Report) -> Iterator[Table]:
    """Yield what the tuned model is against its base, and against whatever else was evaluated."""
    evaluation, base = report.evaluation, report.base
    if evaluation is None or base is None:
        return
    yield _compared("labelled", evaluation.labelled, evaluation.subject, base)
    yield from _systems(evaluation)
    yield _compared("collection", evaluation.collection, evaluation.subject, base)
    at_most = [(m.name, m.highest.get(base), m.highest.get(evaluation.subject)) for m in evaluation.collection.metrics]
    yield Table("collection-at-most", ("metric", "base", "tuned"), [row for row in at_most if row[1:] != (None, None)])
    if evaluation.synthetic:
        yield _compared("synthetic", evaluation.synthetic, evaluation.subject, base)
    yield _slices(evaluation, base)
    if evaluation.seeds:
        columns = ("metric", "mean gain", "standard deviation", Column("from to", ("low", "high"), _bounds), "runs")
        spread = evaluation.seeds.metrics.items()
        rows = [(name, found.mean, found.sd, found.low, found.high, len(found.gains)) for name, found in spread]
        yield Table("seeds", columns, rows)
    if evaluation.rank_shift:
        first = ("among the first", "relevant before", "relevant after", "came in", "went out")
        within = [(w.first, w.before, w.after, w.came_in, w.went_out) for w in evaluation.rank_shift.within]
        yield Table("rank-shift-within", first, within)


def _compared(name: str, ranking: Ranking, subject: str, base: str) -> Table:
    rows = []
    for metric in ranking.metrics:
        found, values = metric.differences[base], (metric.values[base], metric.values[subject])
        rows.append((metric.name, *values, *_gap(found), found.corrected_p, found.verdict))
    return Table(name, ("metric", *_COMPARED), rows)


def _systems(evaluation: Evaluation) -> Iterator[Table]:
    """Yield the metrics of every system, and what it costs in use beside the first of them."""
    systems, headline = evaluation.systems, headline_metric(evaluation)
    metrics = [(metric.name, *(metric.values[s.name] for s in systems)) for metric in evaluation.labelled.metrics]
    yield Table("systems", ("metric", *(system.name for system in systems)), metrics)

    columns = (
        *("system", headline.name, Column("a query", ("median ms", "95th percentile ms"), _median)),
        *(Column("index", ("bytes of the index",), _size), "device"),
    )
    rows = []
    for system in systems:
        cost = system.cost
        quality = headline.values[system.name]
        rows.append((system.name, quality, cost.median_ms, cost.p95_ms, cost.index_bytes, cost.device))
    yield Table("systems-in-use", columns, rows)


def _median(median: float | None, _: float | None) -> str | None:
    return None if median is None else in_time(median)


def _size(in_all: int | None) -> str | None:
    return None if in_all is None else in_bytes(in_all)


def _slices(evaluation: Evaluation, base: str) -> Table:
    name = headline_metric(evaluation).name
    rows = []
    for part in evaluation.slices:
        metric = part.ranking.metric(name)
        found, values = metric.differences[base], (metric.values[base], metric.values[evaluation.subject])
        rows.append((part.by, part.name, part.ranking.queries, *values, *_gap(found), found.verdict))
    return Table("slices", ("by", "part", "queries", "base", "tuned", *_DIFFERENCE, _VERDICT), rows)


def _answers(report: Report) -> Iterator[Table]:
    if report.answers is None:
        return
    named = Column("metric", ("metric",), in_words)
    rows: list[_Row] = []
    asks = []
    for metric in report.answers.metrics:
        found = metric.difference
        values = (metric.queries, metric.base, metric.tuned)
        rows.append((metric.name, *values, *_gap(found), found.corrected_p, found.verdict))
        if known := METRICS.get(metric.name):
            asks.append((metric.name, known.asks + (" Less is better." if metric.lower_is_better else "")))
    yield Table("answer-metrics", (named, "queries", *_COMPARED), rows)
    yield Table("answer-questions", (named, "asks"), asks)


def _ablation(report: Report) -> Iterator[Table]:
    if report.ablation is None:
        return
    columns = (
        *("negatives", Column("relevant", ("relevant", "of so many known"), _of)),
        *(report.ablation.metric, Column("against naive", ("against naive",), _signed), _INTERVAL, _VERDICT),
    )
    rows: list[_Row] = []
    for arm in report.ablation.arms:
        gap = arm.against_naive
        told = (*_gap(gap), gap.verdict) if gap else (None, None, None, arm.unavailable)
        rows.append((arm.name, arm.relevant, arm.known, arm.value.value if arm.value else None, *told))
    yield Table("ablation-arms", columns, rows)
    yield Table(
        "ablation-choices", ("negatives", "what they are"), [(arm.name, arm.what) for arm in report.ablation.arms]
    )


def _of(relevant: int, known: int) -> str:
    return f"{relevant:,} of {known:,}" if known else ""


def _worst(report: Report) -> Table:
    rows = [
        (query.query, query.before, query.after, chunk.text, chunk.before, chunk.after)
        for query in report.worst
        for chunk in query.relevant
    ]
    columns = ("query", "nDCG@10 before", "nDCG@10 after", "relevant chunk", "rank before", "rank after")
    return Table("worst-queries", columns, rows)


def _costs(report: Report) -> Table:
    bill, time, run = report.bill, report.time, report.run
    rows: list[tuple[str, float | None, int | None, float | None, str]] = []
    note = f"{bill.calls:,} questions" + (f", {bill.failed:,} without a usable answer" if bill.failed else "")
    rows.append(
        ("the judge", bill.cost_usd, bill.unpriced, None, note if bill.calls else "none was asked under this policy")
    )
    rows.append(("people", None, None, *_people(time.answers, time.untimed, time.seconds)))
    if run.get("seconds") is not None:
        on = f"on {run.get('device', 'a machine of unknown kind')}"
        rows.append(("training", None, None, float(run["seconds"]), on))
    if report.answers:
        paid = report.answers.bill
        replies = paid.requests + paid.reused
        cost = (0.0, replies) if paid.total_cost_usd is None else (paid.total_cost_usd, 0)
        rows.append(("answers", *cost, None, f"{replies:,} replies of {report.answers.llm}"))
    return Table("costs", ("what", Column("cost", ("usd", "without a price", "seconds"), _cost), "for"), rows)


def _people(answers: int, untimed: int, seconds: float) -> tuple[float | None, str]:
    """Return the seconds that people took, None where nobody knows, and for what."""
    if answers and seconds < _READING * answers:
        return None, f"{answers:,} answers came quicker than anybody reads"
    if answers:
        rest = f"; {untimed:,} more answers tell no time" if untimed else ""
        return seconds, f"{answers:,} answers, {seconds / answers:.1f} s an answer{rest}"
    if untimed:
        return None, f"{untimed:,} answers came from a file, which tells no time"
    return 0.0, "nobody has reviewed anything under this policy"


def _cost(usd: float | None, unpriced: int | None, seconds: float | None) -> str:
    if usd is not None:
        return dollars(usd, unpriced or 0)
    if seconds is None:
        return "not known"
    return minutes(seconds) if seconds else "none"


def _record(report: Report) -> Table:
    run = report.run
    rows: list[_Row] = [
        ("build", report.build.build_id),
        ("policy", f"{report.policy.name}, {report.policy.policy_id}"),
        ("base model", short_model(report.base_model)),
        *((name.replace("_", " "), _flat(value)) for name, value in run["settings"].items() if name not in _TOLD),
        *((f"{name} version", str(value)) for name, value in run.get("versions", {}).items()),
    ]

    def written(value: object) -> str:
        return f"{value:g}" if isinstance(value, float) else seen(str(value))

    return Table("record", ("what", Column("value", ("value",), written)), rows)


def _flat(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
