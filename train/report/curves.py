"""Figures of how a metric depends on something: length of the embeddings, labels, the choice of negatives, steps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from train.ablation import Ablation, Arm
from train.evaluation import AtSize, Evaluation
from train.experiments import MeasuredOn
from train.learning_curve import Forecast, LearningCurve, PowerLaw
from train.report.axes import Row, categories, differences, key, log_axis
from train.report.drawing import BASE, GOOD, INK, MUTED, PAPER, Figure, Width, word
from train.report.wording import in_bytes, in_time, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


def matryoshka(evaluation: Evaluation, base: str) -> Figure | None:
    """Draw nDCG@10 against the length of the embeddings, with what an index of that length and its search take."""
    if not evaluation.sizes:
        return None
    sizes = sorted(_lengths(evaluation), key=lambda size: size.dimensions)
    name = "nDCG@10"
    found = {size.dimensions: size.labelled.metric(name) for size in sizes}

    def draw(canvas: "Canvas", width: Width) -> None:
        axes = canvas.subplots()
        for system, colour, mark in ((base, BASE, "s-"), (evaluation.subject, GOOD, "o-")):
            known = {n: value for n, metric in found.items() if (value := metric.values.get(system)) is not None}
            axes.plot(list(known), list(known.values()), mark, color=colour, label=word(system), markersize=7)
        log_axis(axes, {size.dimensions: "\n".join(_takes(size)) for size in sizes}, width)
        lines = max(len(_takes(size)) for size in sizes)
        axes.set(xlabel=", ".join(_TAKES[width][:lines]), ylabel=name)
        key(canvas)

    rows: list[tuple[object, ...]] = []
    claimed = []
    for size in sizes:
        metric = found[size.dimensions]
        gap = metric.differences.get(base)
        told = (gap.value, gap.low, gap.high, gap.verdict) if gap else (None, None, None, "")
        values = (metric.values.get(base), metric.values.get(evaluation.subject))
        rows.append((size.dimensions, *values, *told, size.index_bytes, size.search_ms))
        if gap and gap.verdict in ("gain", "loss"):
            claimed.append(f"a {gap.verdict} at {size.dimensions:,}")
    says = f"{name} with the first {', '.join(f'{n:,}' for n in found)} numbers of each embedding. " + (
        f"Against {base} there is {', '.join(claimed)}." if claimed else f"No claim against {base} at any length."
    )
    columns = (
        *("numbers", base, evaluation.subject, "difference", "low", "high", "verdict"),
        *("bytes of the index", "ms of a search"),
    )
    return Figure("matryoshka", "Shorter embeddings", says, draw, {"wide": 360, "narrow": 340}, columns, rows)


_TAKES: dict[Width, tuple[str, str, str]] = {
    "wide": ("numbers in an embedding", "size of the index", "time of a search"),
    "narrow": ("length", "index", "search"),
}


def _takes(size: AtSize) -> list[str]:
    """Write a length, the size of its index, and where it was measured the time of a search."""
    told = [f"{size.dimensions:,}", in_bytes(size.index_bytes)]
    return told if size.search_ms is None else [*told, in_time(size.search_ms)]


def _lengths(evaluation: Evaluation) -> Sequence[AtSize]:
    """Return the lengths that embeddings were cut to, and the whole one."""
    tuned = next(system for system in evaluation.systems if system.name == evaluation.subject)
    if tuned.dimensions is None or tuned.dimensions in {size.dimensions for size in evaluation.sizes}:
        return evaluation.sizes
    cost = tuned.cost
    rankings = (evaluation.labelled, evaluation.collection)
    whole = AtSize(tuned.dimensions, cost.index_bytes or 0, *rankings, cost.search_ms)
    return (*evaluation.sizes, whole)


def learning_curve(curve: LearningCurve) -> Figure:
    """Draw the metric against the number of training examples, with the law as far as it was asked."""

    def draw(canvas: "Canvas", width: Width) -> None:
        axes = canvas.subplots()
        at = [point.examples for point in curve.points]
        low = [point.value.value if point.value.low is None else point.value.low for point in curve.points]
        high = [point.value.value if point.value.high is None else point.value.high for point in curve.points]
        axes.fill_between(at, low, high, color=GOOD, alpha=0.15, linewidth=0)
        axes.plot(
            at, [p.value.value for p in curve.points], "o-", color=GOOD, label="mean and 95 % interval", markersize=7
        )
        for i in range(len(curve.seeds)):
            axes.plot(at, [p.by_seed[i] for p in curve.points], "_", color=INK, markersize=9, label="one seed")
        axes.axhline(curve.base.value, color=INK, linestyle=":", linewidth=1.5, label="before training")
        if curve.law and curve.forecasts:
            _draw_forecasts(axes, curve.law, at[0], curve.forecasts)
        ticks = [*at, *(f.examples for f in curve.forecasts)]
        log_axis(axes, {n: f"{n:,}" for n in ticks}, width)
        axes.set(xlabel="triplets trained on (log scale)", ylabel=curve.metric)
        key(canvas, 5 if width == "wide" else 2)

    rows: list[tuple[object, ...]] = [
        (p.examples, p.queries, p.value.value, p.value.low, p.value.high, "measured") for p in curve.points
    ]
    rows += [(f.examples, None, f.value.value, f.value.low, f.value.high, "fit") for f in curve.forecasts]
    first, last = curve.points[0], curve.points[-1]
    says = (
        f"{curve.metric} from {number(first.value.value)} with {first.examples:,} triplets to"
        f" {number(last.value.value)} with {last.examples:,}; {number(curve.base.value)} before training."
        f" {_measured_with(len(curve.seeds), curve.test)}"
    )
    columns = ("triplets", "their queries", curve.metric, "low", "high", "how")
    return Figure("learning-curve", "Learning curve", says, draw, {"wide": 380, "narrow": 400}, columns, rows)


def _draw_forecasts(axes: "Axes", law: PowerLaw, fewest: int, forecasts: Sequence[Forecast]) -> None:
    """Draw the law as far as it was asked, and what it says there with its intervals."""
    import numpy as np

    ahead = np.geomspace(fewest, forecasts[-1].examples, 60)
    axes.plot(ahead, [law.metric(n) for n in ahead], color=MUTED, linestyle="--", linewidth=1.5, label="fit")
    for at, value in ((forecast.examples, forecast.value) for forecast in forecasts):
        if value.low is not None and value.high is not None:
            axes.plot([at, at], [value.low, value.high], color=MUTED, linewidth=1.5)
        axes.plot(at, value.value, "o", color=PAPER, markeredgecolor=MUTED, markersize=7, label="forecast")


def _measured_with(seeds: int, test: MeasuredOn) -> str:
    each = "One model each" if seeds == 1 else f"{seeds} models each, that differ in their seed"
    return f"{each}, measured on {test.queries:,} test queries."


def ablation(found: Ablation) -> Figure:
    """Draw what each choice of negatives is worth, and how it differs from naive ones, with intervals."""
    arms = [(arm, arm.value) for arm in found.arms if arm.value is not None]
    against = [
        Row(arm.name, gap.value, gap.low, gap.high, gap.verdict) if (gap := arm.against_naive) else None
        for arm, _ in arms
    ]

    def draw(canvas: "Canvas", width: Width) -> None:
        beside = width == "wide"
        values, gaps = canvas.subplots(*((1, 2) if beside else (2, 1)), sharey=beside)
        differences(gaps, against, "naive", "narrow")
        for y, (arm, value) in enumerate(arms):
            if value.low is not None and value.high is not None:
                values.plot([value.low, value.high], [y, y], color=BASE, linewidth=3, solid_capstyle="round")
            values.plot(arm.by_seed, [y] * len(arm.by_seed), "|", color=INK, markersize=9, label="one seed")
            values.plot(value.value, y, "D", color=INK, markersize=7, label="mean")
        values.axvline(found.base.value, color=MUTED, linestyle=":", linewidth=1.5, label="before training")
        for axes in (values, gaps):
            categories(axes, [word(arm.name) for arm, _ in arms])
            axes.locator_params(axis="x", nbins=5)
        gaps.tick_params(labelleft=not beside)
        values.set(title=found.metric, xlabel="with 95 % interval")
        gaps.set(title="difference from naive")
        for y, row in enumerate(against):
            if row is None:
                there = gaps.get_yaxis_transform()  # in the middle, wherever zero is
                gaps.text(0.5, y, "compared with", va="center", ha="center", color=MUTED, transform=there)
        key(canvas, 6 if beside else 3)

    clear = [arm.name for arm in found.arms if arm.against_naive and arm.against_naive.verdict in ("gain", "loss")]
    says = (
        f"{found.metric} after training on {found.triplets:,} triplets chosen in each way."
        f" {_measured_with(len(found.seeds), found.test)} "
    ) + (f"Certainly different from naive: {', '.join(clear)}." if clear else "None is certainly different from naive.")
    columns = (
        *("negatives", "what they are", "train queries", "of their labels relevant", "of so many known"),
        *(found.metric, "low", "high", "against naive", "its low", "its high", "verdict"),
    )
    height = 38 * len(arms)
    return Figure(
        "ablation",
        "The same number of triplets, chosen differently",
        says,
        draw,
        {"wide": 120 + height, "narrow": 200 + 2 * height},
        columns,
        [_numbers(arm) for arm in found.arms],
    )


def _numbers(arm: Arm) -> tuple[object, ...]:
    value, gap = arm.value, arm.against_naive
    return (
        *(arm.name, arm.what, arm.queries, arm.relevant, arm.known),
        *((value.value, value.low, value.high) if value else (None, None, None)),
        *((gap.value, gap.low, gap.high, gap.verdict) if gap else (None, None, None, arm.unavailable)),
    )


def training(
    losses: Sequence[tuple[float, float]], validation: Sequence[tuple[float, float]] = (), metric: str = ""
) -> Figure:
    """Draw the loss over the steps, and the validation metric where there is one."""

    def draw(canvas: "Canvas", width: Width) -> None:
        panels = canvas.subplots(2 if validation else 1, 1, sharex=True, squeeze=False)[:, 0]
        for axes, points, name, colour in zip(
            panels, (losses, validation), ("training loss", metric), (MUTED, GOOD), strict=False
        ):
            axes.plot(
                [x for x, _ in points],
                [y for _, y in points],
                "o-" if len(points) < 40 else "-",
                color=colour,
                markersize=5,
            )
            axes.set_ylabel(name)
        panels[-1].set_xlabel("step")

    says = f"Training loss from {number(losses[0][1])} to {number(losses[-1][1])} in {losses[-1][0]:,.0f} steps." + (
        f" {metric} on the validation queries from {number(validation[0][1])} to {number(validation[-1][1])}."
        if validation
        else ""
    )
    by_step: dict[float, tuple[float | None, float | None]] = {step: (loss, None) for step, loss in losses}
    by_step |= {step: (by_step.get(step, (None, None))[0], value) for step, value in validation}
    rows = [(f"{step:g}", *by_step[step]) for step in sorted(by_step)]
    heights: dict[Width, int] = {"wide": 420, "narrow": 400} if validation else {"wide": 280, "narrow": 260}
    return Figure(
        "training",
        "Training",
        says,
        draw,
        heights,
        ("step", "training loss", metric),
        rows,
    )
