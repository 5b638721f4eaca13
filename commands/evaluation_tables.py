"""An evaluation as tables for people."""

from typing import TYPE_CHECKING

from labeling.untrusted_text import one_line
from printing import percent, three_digits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from printing import Output
    from train.evaluation import Compared, Evaluation, Ranking, RankShift, SeedSpread, ShownMove
    from train.gate import FallenPart


def show(out: "Output", found: "Evaluation") -> None:
    """Print an evaluation, the headline first."""
    title = "Ranking the labelled chunks of each query"
    _print_ranking(out, title, found.labelled, found.subject)
    title = f"Searching {found.pool:,} chunks; those without a label count as wrong"
    _print_ranking(out, title, found.collection, found.subject)
    if found.synthetic:
        title = "The same for questions that a model wrote, which flatter retrieval"
        _print_ranking(out, title, found.synthetic, found.subject)
    _print_sizes(out, found)
    _print_slices(out, found)
    if found.rank_shift and found.rank_shift.moves:
        _print_shift(out, found.rank_shift)
    if found.seeds:
        _print_seeds(out, found.seeds, [metric.name for metric in found.labelled.metrics if metric.named_beforehand])
    _print_systems(out, found)
    out.line(
        f"{percent(found.human_share)} of the {found.labels} test labels are people's, the rest a judge's or propagated"
    )
    if found.left_out:
        out.line(f"{found.left_out} test queries without a positive are left out")
    for warning in found.warnings:
        out.line(f"Warning: {warning}")


def show_fallen(out: "Output", parts: "Sequence[FallenPart]") -> None:
    """Print the parts of the test in which the mean fell, those that close the gate and the others."""
    rows = []
    for part in parts:
        change = (_signed(part.difference.value), _interval(part.difference))
        rows.append((part.by, one_line(part.name, 40), part.queries, *change, "yes" if part.certain else "no"))
    if rows:
        columns = ("by", "part", "queries", "difference", "95 % interval", "certain")
        out.table("Warning: parts in which the mean fell", columns, rows)


def _print_ranking(out: "Output", title: str, ranking: "Ranking", subject: str) -> None:
    names = list(ranking.judged)
    rows: list[tuple[object, ...]] = [
        (metric.name, *(metric.values[name] for name in names)) for metric in ranking.metrics
    ]
    rows += [
        (f"{metric.name}, at most", *(metric.highest[name] for name in names))
        for metric in ranking.metrics
        if metric.named_beforehand and metric.highest and metric.highest != metric.values
    ]
    out.table(title, ("metric", *names), rows)
    differences = [
        (name, metric.name, *_difference(metric.differences[name]))
        for name in names
        if name != subject
        for metric in ranking.metrics
        if metric.named_beforehand
    ]
    if differences:
        columns = ("against", "metric", "difference", "95 % interval", "p", "verdict")
        out.table(f"How {subject} differs", columns, differences)
    told = {name: percent(share) for name, share in ranking.judged.items() if share is not None and share < 1}
    shares = ", ".join(f"{name} {share}" for name, share in told.items())
    judged = f"; share of the first ten with a label, where it is not all: {shares}" if shares else ""
    out.line(f"{ranking.queries} queries in {ranking.groups} groups{judged}")


def _difference(found: "Compared") -> tuple[str, str, str, str]:
    """Return a difference with its sign, its interval, its corrected p-value and the verdict."""
    p = "" if found.corrected_p is None else "<0.001" if found.corrected_p < 0.001 else f"{found.corrected_p:.3f}"
    return _signed(found.value), _interval(found), p, found.verdict


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"


def _interval(found: "Compared") -> str:
    return "" if found.low is None or found.high is None else f"{found.low:+.3f} to {found.high:+.3f}"


def _print_sizes(out: "Output", found: "Evaluation") -> None:
    if not found.sizes:
        return
    rows = []
    for size in found.sizes:
        metric = size.labelled.metric("nDCG@10")
        base = next(iter(metric.differences), found.subject)
        against = metric.differences.get(base)
        change = (_signed(against.value), _interval(against)) if against else ("", "")
        values = (metric.values[base], metric.values[found.subject])
        time = "" if size.search_ms is None else three_digits(size.search_ms)
        rows.append((size.dimensions, *values, *change, _bytes(size.index_bytes), time))
    columns = ("dimensions", "before", found.subject, "difference", "95 % interval", "index", "search ms")
    out.table("nDCG@10 with shorter embeddings, ranking the labelled chunks", columns, rows)


def _print_slices(out: "Output", found: "Evaluation") -> None:
    rows = []
    for part in found.slices:
        metric = part.ranking.metric("nDCG@10")
        base = next(iter(metric.differences), None)
        if base is None:
            continue
        change = metric.differences[base]
        values = (metric.values[base], metric.values[found.subject], _signed(change.value), _interval(change))
        rows.append((part.by, one_line(part.name, 40), part.ranking.queries, *values))
    if rows:
        columns = ("by", "part", "queries", "before", found.subject, "difference", "95 % interval")
        out.table("nDCG@10 in parts, ranking the labelled chunks", columns, rows)


def _print_shift(out: "Output", found: "RankShift") -> None:
    before, after = (_place(median) for median in (found.median_before, found.median_after))
    out.line(f"Half of the {len(found.moves)} relevant chunks stood at place {before} or better before, at {after} now")
    for within in found.within:
        out.line(
            f"  among the first {within.first}: {within.before} before, {within.after} now"
            f" ({within.came_in} came in, {within.went_out} went out)"
        )
    _print_moves(out, "Relevant chunks that rose most", found.gains)
    _print_moves(out, "Relevant chunks that fell most", found.losses)


def _print_moves(out: "Output", title: str, moves: "Sequence[ShownMove]") -> None:
    rows = [
        (_place(move.before), _place(move.after), one_line(move.query, 50), one_line(move.chunk, 60)) for move in moves
    ]
    if rows:
        out.table(title, ("before", "now", "query", "chunk"), rows)


def _place(place: float | None) -> str:
    return "not found" if place is None else f"{place:,g}"


def _print_seeds(out: "Output", found: "SeedSpread", metrics: "Sequence[str]") -> None:
    rows = [
        (name, f"{spread.mean:+.3f}", f"{spread.sd:.3f}", f"{spread.low:+.3f} to {spread.high:+.3f}")
        for name, spread in found.metrics.items()
        if name in metrics
    ]
    title = f"Gain over {found.against} with {len(found.runs)} seeds, ranking the labelled chunks"
    out.table(title, ("metric", "mean", "standard deviation", "from and to"), rows)


def _print_systems(out: "Output", found: "Evaluation") -> None:
    rows = []
    for system in found.systems:
        cost = system.cost
        times = [("" if ms is None else three_digits(ms)) for ms in (cost.median_ms, cost.p95_ms)]
        size = "" if cost.index_bytes is None else _bytes(cost.index_bytes)
        rows.append((system.name, one_line(system.model, 60), *times, size, cost.device))
    out.table("One query at a time", ("system", "model", "median ms", "95th percentile ms", "index", "device"), rows)


def _bytes(size: int) -> str:
    """Write a number of bytes as `1.5 MB`."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = min(len(units) - 1, (len(str(size)) - 1) // 3)
    return f"{three_digits(size / 1000**power)} {units[power]}"
