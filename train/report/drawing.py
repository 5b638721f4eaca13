"""Figures: drawn once, shown in a page in the reader's colours and at two widths, saved as SVG or PNG."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from store.errors import UsageError
from train.report.html import Column, Html, joined, tag
from train.report.wording import seen

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

# Told apart by everybody: blue and orange stay so without red or green, and differ in lightness. In a page each is a
# variable of the style sheet by the same name, so that the figure follows the reader's light or dark.
INK, MUTED, LINE, PAPER = "#18212c", "#5a6472", "#d8dde4", "#fffffe"
BASE, GOOD, BAD = "#848f9c", "#0a63b0", "#c9540c"
_VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", PAPER: "paper", BASE: "base", GOOD: "good", BAD: "bad"}

Width = Literal["wide", "narrow"]
_PIXELS: dict[Width, int] = {"wide": 720, "narrow": 340}
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "uncited",  # the same figure, the same bytes
    "text.parse_math": False,  # names may hold a $
    "font.size": 13,
    "axes.labelsize": 13,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "lines.linewidth": 2,
    "figure.dpi": 72,
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with what it says in words, and its numbers as a table (see `train.report.html.table`).

    `draw` gets an empty canvas and its width; `heights` are pixels for both widths.
    """

    name: str
    title: str
    says: str
    draw: Callable[["Canvas", Width], None]
    heights: dict[Width, int]
    columns: Sequence[str | Column]
    rows: Sequence[Sequence[object]]


def shown(figure: Figure) -> Html:
    """Return a figure as SVG for a page, once for each width; the style sheet shows the one that fits."""
    return joined(
        tag("div", _inline(figure, width), class_=f"drawing {width}", role="img", aria_label=figure.says)
        for width in _PIXELS
    )


def save(figure: Figure, folder: Path) -> None:
    """Write a figure as `NAME.svg` and `NAME.png`.

    Raises:
        UsageError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ending in ("svg", "png"):
            (folder / f"{figure.name}.{ending}").write_bytes(_rendered(figure, "wide", ending))
    except OSError as error:
        raise UsageError(f"cannot write figures to {folder}: {error.strerror}") from error


def _rendered(figure: Figure, width: Width, ending: str) -> bytes:
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    target = io.BytesIO()
    with rc_context(_STYLE):
        canvas = Canvas(figsize=(_PIXELS[width] / 72, figure.heights[width] / 72), layout="constrained")
        figure.draw(canvas, width)
        metadata: dict[str, Any] = {"Date": None} if ending == "svg" else {}
        canvas.savefig(target, format=ending, dpi=72 if ending == "svg" else 180, metadata=metadata)
    return target.getvalue()


def _inline(figure: Figure, width: Width) -> Html:
    """Make of matplotlib's SVG what may stand in a page: no prologue, ids of its own, colours and font of the page."""
    svg = _rendered(figure, width, "svg").decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    own = f"{figure.name}-{width}-"
    svg = re.sub(r'(\sid=")', rf"\g<1>{own}", svg)
    svg = re.sub(r'(?:xlink:)?href="#', f'href="#{own}', svg)
    svg = re.sub(r"url\(#", f"url(#{own}", svg)
    svg = re.sub(r"font-family: [^;]+; ", "", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return Html(svg)


def word(text: str, limit: int = 28) -> str:
    """Return a name short enough to stand in a figure."""
    flat = " ".join(seen(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
