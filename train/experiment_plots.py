"""Results of experiments, drawn; the ending of the file says how."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import UsageError
from train.ablation import Ablation
from train.experiments import Estimate, write_whole
from train.learning_curve import LearningCurve
from train.sweep import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _GREY = "#1f77b4", "#7f7f7f"
_ENDINGS = (".png", ".svg")
_MOST_ROWS = 30  # of a sweep; what is further down is not worth a look


def check_picture(file: Path | None) -> None:
    """See that a file can be drawn, before hours go into what it is to show.

    Raises:
        UsageError: its ending names no picture, or its folder is not there.
    """
    if file and (file.suffix not in _ENDINGS or not file.absolute().parent.is_dir()):
        raise UsageError(f"cannot draw {file}", hint="give a name that ends in .png or .svg, in a folder that exists")


def draw_learning_curve(curve: LearningCurve, file: Path) -> None:
    """Draw the metric against the number of triplets: mean, interval, each seed, and the law with its forecasts.

    Raises:
        UsageError: the file cannot be written.
    """
    import numpy as np

    figure, axes = _figure(4.5)
    sizes = [point.examples for point in curve.points]
    axes.plot(sizes, [point.value.value for point in curve.points], color=_BLUE, marker="o", label="mean of all seeds")
    bounds = [_bounds(point.value) for point in curve.points]
    axes.fill_between(
        sizes, [low for low, _ in bounds], [high for _, high in bounds], color=_BLUE, alpha=0.2, label="95 % interval"
    )
    for i in range(len(curve.seeds)):
        axes.plot(sizes, [point.by_seed[i] for point in curve.points], ".", color=_GREY, markersize=4)
    axes.axhline(curve.base.value, color=_GREY, linestyle=":", label="before training")
    if curve.law:
        ahead = np.geomspace(sizes[0], curve.forecasts[-1].examples, 100)
        axes.plot(ahead, [curve.law.metric(n) for n in ahead], color="black", linestyle="--", label="power law")
        for forecast in curve.forecasts:
            axes.plot([forecast.examples] * 2, _bounds(forecast.value), color="black", linewidth=1)
        told = {forecast.examples: forecast.value.value for forecast in curve.forecasts}
        axes.plot(list(told), list(told.values()), "o", color="white", markeredgecolor="black", label="forecast")
    axes.set(xscale="log", xlabel="triplets trained on", ylabel=curve.metric, title="Learning curve")
    shown = [*sizes, *(forecast.examples for forecast in curve.forecasts)]
    axes.set_xticks(shown, [f"{size:,}" for size in shown])
    axes.set_xticks([], minor=True)
    axes.legend(loc="best", frameon=False)
    _save(figure, file)


def draw_ablation(ablation: Ablation, file: Path) -> None:
    """Draw what each arm has over the arm `naive`, with its interval.

    Raises:
        UsageError: the file cannot be written.
    """
    gains = [(arm.name, arm.against_naive) for arm in ablation.arms if arm.against_naive]
    figure, axes = _figure(1.5 + 0.5 * len(gains))
    for row, (_, gain) in enumerate(gains):
        _whisker(axes, row, Estimate(gain.value, gain.low, gain.high))
    axes.axvline(0, color=_GREY, linewidth=1)
    axes.set_yticks(range(len(gains)), [name for name, _ in gains])
    axes.invert_yaxis()
    axes.set(xlabel=f"{ablation.metric}, difference from naive", title=f"{ablation.triplets:,} triplets an arm")
    _save(figure, file)


def draw_sweep(sweep: Sweep, file: Path) -> None:
    """Draw what each combination reached on the validation queries, best first.

    Raises:
        UsageError: the file cannot be written.
    """
    shown = sweep.tried[:_MOST_ROWS]
    figure, axes = _figure(1.5 + 0.3 * len(shown))
    for row, tried in enumerate(shown):
        _whisker(axes, row, tried.value)
        axes.plot(tried.base, row, "|", color=_GREY, markersize=12)
    axes.set_yticks(range(len(shown)), [tried.name.replace("$", r"\$") for tried in shown])
    axes.invert_yaxis()
    axes.set(xlabel=f"{sweep.metric} on validation (|: before training)", title=f"{len(sweep.tried)} combinations")
    _save(figure, file)


def _figure(height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, height), layout="constrained")
    return figure, figure.subplots()


def _whisker(axes: "Axes", row: int, estimate: Estimate) -> None:
    axes.plot(_bounds(estimate), [row, row], color=_BLUE)
    axes.plot(estimate.value, row, "o", color=_BLUE)


def _bounds(estimate: Estimate) -> tuple[float, float]:
    """Return the interval, or the value alone where there is none."""
    low = estimate.value if estimate.low is None else estimate.low
    return low, estimate.value if estimate.high is None else estimate.high


def _save(figure: "Figure", file: Path) -> None:
    drawn = io.BytesIO()
    is_svg = file.suffix == ".svg"
    figure.savefig(drawn, format=file.suffix[1:], dpi=150, metadata={"Date": None} if is_svg else None)
    write_whole(file, drawn.getvalue())
