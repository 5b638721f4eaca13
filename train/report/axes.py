"""Axes of figures: zero, names, powers, and values with their intervals along them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from train.report.drawing import BAD, BASE, GOOD, INK, PAPER, Width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


_GAP = "\N{EM SPACE}"  # which SVG does not collapse


class Row(NamedTuple):
    """A value with its interval, if it has one; the verdict "gain" or "loss" gives it a colour."""

    name: str
    value: float
    low: float | None
    high: float | None
    verdict: str


def intervals(axes: "Axes", rows: Sequence[Row | None]) -> None:
    """Draw each value as a dot on its interval, the first one on top; hollow where nothing is claimed."""
    for y, row in enumerate(rows):
        if row is None:
            continue
        name = row.verdict if row.verdict in ("gain", "loss") else "no claim"
        colour = {"gain": GOOD, "loss": BAD, "no claim": BASE}[name]
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [y, y], color=colour, linewidth=3, solid_capstyle="round")
        inside, edge = (PAPER, colour) if name == "no claim" else (colour, PAPER)
        axes.plot(
            row.value, y, "o", color=inside, markersize=9, markeredgecolor=edge, markeredgewidth=2, label=name, zorder=3
        )


def differences(axes: "Axes", rows: Sequence[Row | None], of: str, width: Width) -> None:
    """Draw differences around zero, better ones to the right; `of` says from what."""
    intervals(axes, rows)
    zero_line(axes)
    categories(axes, [row.name if row else "" for row in rows])
    axes.set_xlabel(f"← worse{_GAP}difference from {of}{_GAP}better →" if width == "wide" else f"← worse{_GAP}better →")


def key(canvas: "Canvas", columns: int = 4) -> None:
    """Explain below a figure what its marks stand for, each kind once."""
    found = {name: mark for axes in canvas.axes for mark, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    canvas.legend(found.values(), found, loc="outside lower center", ncols=columns)


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


def log_axis(axes: "Axes", names: Mapping[int, str], width: Width) -> None:
    """Make the horizontal axis logarithmic, with its ticks where there are points, as many as have room; the last one.

    `names` are those of the ticks, by their places.
    """
    axes.set_xscale("log")
    apart = (max(names) / min(names)) ** _ROOM[width]
    kept: list[int] = []
    for value in sorted(names, reverse=True):
        if not kept or kept[-1] >= value * apart:
            kept.append(value)
    axes.xaxis.set(major_locator=fixed(kept), major_formatter=named([names[n] for n in kept]), minor_locator=fixed([]))


_ROOM: Mapping[Width, float] = {"wide": 0.08, "narrow": 0.19}  # of a tick's name, as a share of the axis


def fixed(at: Sequence[float]) -> object:
    """Put ticks at these places."""
    from matplotlib.ticker import FixedLocator

    return FixedLocator(list(at))


def named(names: Sequence[str]) -> object:
    """Give ticks these names."""
    from matplotlib.ticker import FixedFormatter

    return FixedFormatter(list(names))
