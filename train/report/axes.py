"""Axes of figures: zero, names, powers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from train.report.drawing import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def zero_line(axes: "Axes") -> None:
    """Mark the place where nothing changed, and keep it in the picture."""
    axes.axvline(0, color=INK, linewidth=1, zorder=1)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.01), max(high, 0.01))


def categories(axes: "Axes", names: Sequence[str]) -> None:
    """Put names on the vertical axis, the first one on top."""
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def log_axis(axes: "Axes", at: Sequence[int]) -> None:
    """Make the horizontal axis logarithmic, with its ticks where there are points."""
    axes.set_xscale("log")
    kept: list[int] = []
    for value in sorted(set(at)):
        if not kept or value / kept[-1] > 1.35:
            kept.append(value)
    axes.xaxis.set(major_locator=fixed(kept), major_formatter=named([f"{n:,}" for n in kept]), minor_locator=fixed([]))


def fixed(at: Sequence[float]) -> object:
    """Put ticks at these places."""
    from matplotlib.ticker import FixedLocator

    return FixedLocator(list(at))


def named(names: Sequence[str]) -> object:
    """Give ticks these names."""
    from matplotlib.ticker import FixedFormatter

    return FixedFormatter(list(names))
