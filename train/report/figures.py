"""The figures of a report: each made of numbers, with a sentence that says what it shows."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from train.answers.comparison import AnswerComparison, ComparedMetric
from train.evaluation import Compared, Evaluation
from train.report.axes import Row, differences, fixed, key, named
from train.report.contents import Report
from train.report.curves import ablation, learning_curve, matryoshka, training
from train.report.drawing import BAD, BASE, GOOD, INK, MUTED, PAPER, Figure, Width, word
from train.report.flow import flow
from train.report.html import Column, Html, tag
from train.report.look import Look
from train.report.wording import in_words, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_DIFFERENCE = ("difference", "low", "high", "verdict")
_ID, _TEXT = 14, 120  # characters of an id and of a query that tables of moves show


def gains(evaluation: Evaluation, base: str) -> Figure:
    """Draw the difference of each metric from the base model, with its interval."""
    rows = []
    for metric in evaluation.labelled.metrics:
        found = metric.differences[base]
        rows.append((metric.name, metric.values[base], metric.values[evaluation.subject], found))
    known = [
        Row(word(name), found.value, found.low, found.high, found.verdict)
        for name, _, _, found in rows
        if found.value is not None
    ]

    def draw(canvas: "Canvas", width: Width) -> None:
        differences(canvas.subplots(), known, "the base model", width)
        key(canvas)

    table = [(name, before, after, *_told(found)) for name, before, after, found in rows]
    clear = [name for name, _, _, found in rows if found.verdict in ("gain", "loss")]
    named_beforehand = [metric.name for metric in evaluation.labelled.metrics if metric.named_beforehand]
    says = (
        "Difference of each metric from the base model with its 95 % interval. Named beforehand, and open to a claim:"
        f" {', '.join(named_beforehand)}. "
    ) + (f"A claim is made of {', '.join(clear)}." if clear else "No claim is made of any.")
    height = 96 + 36 * len(known)
    return Figure(
        "metrics",
        "Gain over the base model",
        says,
        draw,
        {"wide": height, "narrow": height},
        ("metric", "base", "tuned", *_DIFFERENCE),
        table,
    )


def answers(comparison: AnswerComparison) -> Figure | None:
    """Draw the difference of each metric of the answers, to the right where they are better."""
    known = [row for metric in comparison.metrics if (row := _towards_better(metric))]
    if not known:
        return None

    def draw(canvas: "Canvas", width: Width) -> None:
        differences(canvas.subplots(), known, "the base model", width)
        key(canvas)

    rows = [(m.name, m.queries, m.base, m.tuned, *_told(m.difference)) for m in comparison.metrics]
    clear = [in_words(m.name) for m in comparison.metrics if m.difference.verdict in ("gain", "loss")]
    turned = [in_words(m.name) for m in comparison.metrics if m.lower_is_better and m.difference.value is not None]
    says = "Difference of each metric of the answers from the base model with its 95 % interval. " + (
        f"A claim is made of {', '.join(clear)}." if clear else "No claim is made of any."
    )
    says += "".join(f" Of {name} less is better: its sign is turned here." for name in turned)
    height = 96 + 36 * len(known)
    columns = ("metric", "queries", "base", "tuned", *_DIFFERENCE)
    return Figure("answers", "Better answers, or worse", says, draw, {"wide": height, "narrow": height}, columns, rows)


def _told(found: Compared) -> tuple[float | None, float | None, float | None, str]:
    return found.value, found.low, found.high, found.verdict


def _towards_better(metric: ComparedMetric) -> Row | None:
    found, name = metric.difference, in_words(metric.name)
    if found.value is None:
        return None
    if not metric.lower_is_better:
        return Row(name, found.value, found.low, found.high, found.verdict)
    low, high = (None if end is None else -end for end in (found.high, found.low))
    return Row(f"{name} (turned)", -found.value, low, high, found.verdict)


def rank_shift(evaluation: Evaluation) -> Figure | None:
    """Draw the rank of each relevant chunk before and after."""
    shift = evaluation.rank_shift
    if shift is None or not shift.moves:
        return None
    moves = [(m.before, m.after) for m in shift.moves]
    last = max([rank for move in moves for rank in move if rank is not None], default=1)
    beyond = last * 1.6 + 1  # where what was not retrieved is drawn
    end = (beyond if any(None in move for move in moves) else last) * 1.3
    places = Counter((before or beyond, after or beyond) for before, after in moves)
    better = sum(n for (before, after), n in places.items() if after < before)
    worse = sum(n for (before, after), n in places.items() if after > before)

    def draw(canvas: "Canvas", width: Width) -> None:
        axes = canvas.subplots()
        for colour, name, kept in (
            (GOOD, f"{better} moved up", {p: n for p, n in places.items() if p[1] < p[0]}),
            (BAD, f"{worse} moved down", {p: n for p, n in places.items() if p[1] > p[0]}),
            (BASE, f"{len(moves) - better - worse} stayed", {p: n for p, n in places.items() if p[1] == p[0]}),
        ):
            across, down = [b for b, _ in kept], [a for _, a in kept]
            sizes = [40 * n for n in kept.values()]  # of the area: several chunks may have moved alike
            axes.scatter(across, down, sizes, colour, label=name, alpha=0.75, linewidths=0)
        axes.plot([0.8, end], [0.8, end], color=MUTED, linewidth=1, linestyle="--", zorder=0)
        ticks: list[float] = [n for n in (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40) if n <= last]
        names = [str(n) for n in ticks]
        if any(None in move for move in moves):
            ticks, names = [*ticks, beyond], [*names, "none"]
        for axis in (axes.xaxis, axes.yaxis):
            axis.set(major_locator=fixed(ticks), major_formatter=named(names))
        axes.set(xscale="log", yscale="log", xlim=(0.8, end), ylim=(end, 0.8))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set(major_locator=fixed(ticks), major_formatter=named(names), minor_locator=fixed([]))
        axes.set(xlabel=f"rank with {word(shift.before)}", ylabel=f"rank with {word(shift.after)}")
        legend = canvas.legend(loc="outside lower center", ncols=3, handletextpad=0.2, columnspacing=1.2)
        for handle in legend.legend_handles:
            handle.set_sizes([40])  # type: ignore[union-attr]  # of scatter plots all

    says = (
        f"Rank of {len(moves)} relevant chunks with {shift.before} (across) and {shift.after} (down):"
        f" {better} moved up, {worse} moved down."
    )
    queries = {result.anchor_id: result.query for result in evaluation.per_query}
    rows = [(m.anchor_id, queries.get(m.anchor_id), m.chunk_id, m.before, m.after) for m in shift.moves]
    columns = (
        Column("query", ("query id", "query"), _query),
        *(Column("chunk", ("chunk id",), lambda chunk_id: chunk_id[:_ID]), "rank before", "rank after"),
    )
    return Figure(
        "rank-shift",
        "Where the relevant chunks stand",
        says,
        draw,
        {"wide": 420, "narrow": 400},
        columns,
        rows,
    )


def _query(query_id: str, text: str | None) -> Html:
    return tag("span", word(query_id[:_ID] if text is None else text, _TEXT), dir="auto", class_="words")


def embedding_map(look: Look) -> Figure | None:
    """Draw anchors, positives and negatives as both models place them."""
    if not look.points:
        return None
    queries = len({point.query for point in look.points})

    def draw(canvas: "Canvas", width: Width) -> None:
        both = canvas.subplots(*((1, 2) if width == "wide" else (2, 1)), sharex=True, sharey=True)
        for axes, name in zip(both, ("before", "after"), strict=True):
            places = [(point, point.before if name == "before" else point.after) for point in look.points]
            anchors = {point.query: place for point, place in places if point.role == "anchor"}
            for point, (at, up) in places:
                if point.role == "positive":
                    x, y = anchors[point.query]
                    axes.plot([x, at], [y, up], color=GOOD, linewidth=1, alpha=0.5, zorder=1)
            for role, colour, marker, size in (
                ("negative", BAD, "x", 6), ("positive", GOOD, "o", 7), ("anchor", INK, "D", 7),
            ):  # fmt: skip
                kept = [place for point, place in places if point.role == role]
                axes.plot(
                    [x for x, _ in kept], [y for _, y in kept], marker, color=colour, markersize=size,
                    markeredgecolor=BAD if marker == "x" else PAPER, markeredgewidth=1.6 if marker == "x" else 1,
                    label={"anchor": "query", "positive": "relevant", "negative": "not relevant"}[role],
                )  # fmt: skip
            axes.set_title(f"{name} training")
            axes.tick_params(labelbottom=False, labelleft=False, length=0)
        canvas.legend(*both[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)

    spread = f" They hold {percent(look.spread)} of the variance." if look.spread is not None else ""
    says = (
        f"The texts of {queries} test queries, projected onto the two directions of most variance, the same for both"
        f" models.{spread} Lines join a query with its relevant chunks."
    )
    rows = [(p.query, p.role, *p.before, *p.after) for p in look.points]
    columns = ("query", "role", "x before", "y before", "x after", "y after")
    return Figure("map", "Map of the embeddings", says, draw, {"wide": 400, "narrow": 660}, columns, rows)


def similarity(look: Look) -> Figure:
    """Draw how similar relevant and other chunks are to their queries, before and after."""

    def draw(canvas: "Canvas", width: Width) -> None:
        import numpy as np

        both = canvas.subplots(*((1, 2) if width == "wide" else (2, 1)), sharex=True, sharey=True)
        edges = np.histogram_bin_edges([score for pair in look.negative + look.positive for score in pair], bins=20)
        for i, (axes, name) in enumerate(zip(both, ("before", "after"), strict=True)):
            for colour, label, pairs in ((BAD, "not relevant", look.negative), (GOOD, "relevant", look.positive)):
                shares = np.histogram([pair[i] for pair in pairs], edges)[0] / len(pairs)
                axes.stairs(shares, edges, fill=True, color=colour, alpha=0.3)
                axes.stairs(shares, edges, color=colour, linewidth=2, label=label)
            axes.set(title=f"{name}: {percent(look.ordered[i])} in the right order", xlabel="similarity to the query")
            axes.tick_params(labelbottom=True)
            axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
        both[0].set_ylabel("share of the chunks")
        canvas.legend(*both[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)

    says = (
        f"Similarity of {len(look.positive)} relevant and {len(look.negative)} other chunks to their"
        f" {look.queries} queries. The relevant one of two scores higher in {percent(look.ordered[0])} of the cases"
        f" before training and in {percent(look.ordered[1])} after it."
    )
    rows: list[tuple[object, ...]] = [("relevant", *pair) for pair in look.positive]
    rows += [("not relevant", *pair) for pair in look.negative]
    columns = ("chunk", "before", "after")
    return Figure("similarity", "Similarity before and after", says, draw, {"wide": 330, "narrow": 560}, columns, rows)


def figures_of(report: Report, look: Look | str) -> list[Figure]:
    """Return the figures for which the report has numbers, in the order of the page."""
    evaluation, base = report.evaluation, report.base
    drawn = [
        flow(report.origins, report.counts),
        gains(evaluation, base) if evaluation and base else None,
        answers(report.answers) if report.answers else None,
        rank_shift(evaluation) if evaluation else None,
        similarity(look) if isinstance(look, Look) else None,
        embedding_map(look) if isinstance(look, Look) else None,
        matryoshka(evaluation, base) if evaluation and base else None,
        learning_curve(report.curve) if report.curve else None,
        ablation(report.ablation) if report.ablation else None,
        _training(report.run),
    ]
    return [figure for figure in drawn if figure is not None]


def _training(run: Mapping[str, Any]) -> Figure | None:
    if not run.get("losses"):
        return None
    validated = run.get("validation") or {}
    return training(run["losses"], validated.get("curve") or (), validated.get("metric") or "")
