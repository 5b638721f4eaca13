"""Precision over time, drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labeling.monitor import MonitorReport, Precision
from store.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes

_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22", "#7f7f7f")


def draw(report: MonitorReport, file: Path) -> None:
    """Draw the precision of each period with its interval, and that of each segment; the file's ending says how.

    Raises:
        UsageError: the file cannot be written, or its ending names no picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    if len(report.segments) > 1:
        for colour, (name, periods) in zip(_COLOURS, report.by_segment.items(), strict=False):
            _line(axes, periods, name, colour=colour, width=1.0)
    _line(axes, report.periods, "all", colour="black", width=2.0)
    known = [period for period in report.periods if period.precision.low is not None]
    axes.errorbar(
        _days(known),
        [_value(period) for period in known],
        yerr=[
            [_value(period) - (period.precision.low or 0.0) for period in known],
            [(period.precision.high or 0.0) - _value(period) for period in known],
        ],
        fmt="none",
        ecolor="black",
        capsize=3,
        linewidth=1,
    )
    axes.set(
        ylim=(-0.02, 1.02),
        ylabel=f"precision@{report.depth}, by the judge",
        title=f"{report.policy}: {report.overall.measured} interactions, 95 % intervals by query",
    )
    axes.legend(loc="best", frameon=False)
    figure.autofmt_xdate()
    try:
        figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot draw {file}: {error}", hint="give a name that ends in .png or .svg") from error


def _line(axes: "Axes", periods: Sequence[Precision], name: str, *, colour: str, width: float) -> None:
    known = [period for period in periods if period.precision.value is not None]
    axes.plot(
        _days(known),
        [_value(period) for period in known],
        label=name.replace("$", r"\$"),
        color=colour,
        linewidth=width,
        marker="o",
        markersize=3 * width,
    )


def _days(periods: Sequence[Precision]) -> "npt.NDArray[np.datetime64]":
    import numpy as np

    return np.array([period.name for period in periods], "datetime64[D]")


def _value(period: Precision) -> float:
    assert period.precision.value is not None
    return period.precision.value
