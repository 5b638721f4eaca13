"""The way from logs to triplets, drawn as streams as wide as the pairs that they carry."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from store.build_origins import Origin
from train.report.drawing import BAD, BASE, GOOD, INK, MUTED, Figure, Width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_SOURCES = {"cited": GOOD, "uncited": MUTED, "searched": BASE}
_ROLES = {"positive": GOOD, "negative": BAD, "left out": BASE}
_SPLITS = {"train": INK, "test": MUTED}
_GAPS: Mapping[Width, float] = {"wide": 0.08, "narrow": 0.1}  # above each block of a column, as a share of the height
_BLOCK = 0.022  # width of a block, as a share of the width


class _Stream(NamedTuple):
    source: str
    role: str
    split: str | None
    pairs: int


class _Block(NamedTuple):
    x: float
    low: float
    high: float


def flow(origins: Sequence[Origin], counts: Mapping[str, int]) -> Figure:
    """Draw what became of the candidates: how they were put forward, what label they got, in which split they are."""
    streams = [_Stream(o.source, o.role or "left out", o.split, o.pairs) for o in origins]
    total = sum(stream.pairs for stream in streams)

    def draw(canvas: "Canvas", width: Width) -> None:
        canvas.set_layout_engine("none")
        axes = canvas.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.axis("off")
        columns = {"wide": (0.15, 0.46, 0.75), "narrow": (0.0, 0.45, 0.978)}[width]
        blocks = [
            _column(x, {name: sum(s.pairs for s in streams if s[i] == name) for name in names}, total, _GAPS[width])
            for i, (x, names) in enumerate(zip(columns, (_SOURCES, _ROLES, _SPLITS), strict=True))
        ]
        for i, colour_of in ((0, _ROLES), (1, _ROLES)):
            _streams(axes, streams, blocks[i], blocks[i + 1], i, colour_of)
        for i, colours in enumerate((_SOURCES, _ROLES, _SPLITS)):
            for name, block in blocks[i].items():
                axes.fill_between([block.x, block.x + _BLOCK], block.low, block.high, color=colours[name], linewidth=0)
        for i, column in enumerate(blocks):
            for name, block in column.items():
                pairs = sum(s.pairs for s in streams if s[i] == name)
                told = (
                    f": {counts[f'triplets_{name}']:,} triplets\nof {pairs:,} pairs" if i == 2 else f"\n{pairs:,} pairs"
                )
                _name(axes, name + told, block, i, width)

    ends = {role: sum(s.pairs for s in streams if s[:2] == ("uncited", role)) for role in _ROLES}
    says = (
        f"{total:,} candidate pairs. Of {sum(ends.values()):,} uncited ones {ends['positive']:,} became positives,"
        f" {ends['negative']:,} negatives, and {ends['left out']:,} are left out of the build."
    )
    rows = [(s.source, s.role, s.split or "", s.pairs) for s in streams]
    columns = ("put forward because", "became", "split", "pairs")
    return Figure("flow", "From candidates to triplets", says, draw, {"wide": 330, "narrow": 400}, columns, rows)


def _column(x: float, pairs: Mapping[str, int], total: int, gap: float) -> dict[str, _Block]:
    """Stack blocks from the top, each as high as its share of all pairs."""
    room = 0.98 - 3 * gap
    top, blocks = 1 - gap, {}
    for name, count in pairs.items():
        if count:
            high = max(count / total * room, 0.006)
            blocks[name] = _Block(x, top - high, top)
            top -= high + gap
    return blocks


def _streams(
    axes: "Axes",
    streams: Sequence[_Stream],
    left: Mapping[str, _Block],
    right: Mapping[str, _Block],
    column: int,
    colours: Mapping[str, str],
) -> None:
    """Draw a band for each pair of blocks, as wide at either end as its share of that block."""
    import numpy as np

    sizes: Counter[tuple[str, str]] = Counter()
    for stream in streams:
        if stream[column + 1] is not None:
            sizes[str(stream[column]), str(stream[column + 1])] += stream.pairs
    from_of, to_of = {name: b.high for name, b in left.items()}, {name: b.high for name, b in right.items()}
    whole_left = {name: sum(s.pairs for s in streams if s[column] == name) for name in left}
    whole_right = {name: sum(s.pairs for s in streams if s[column + 1] == name) for name in right}
    t = np.linspace(0, 1, 40)
    bend = t * t * (3 - 2 * t)
    for source in left:
        for target in right:
            pairs = sizes[source, target]
            if not pairs:
                continue
            out = pairs / whole_left[source] * (left[source].high - left[source].low)
            into = pairs / whole_right[target] * (right[target].high - right[target].low)
            x = left[source].x + _BLOCK + t * (right[target].x - left[source].x - _BLOCK)
            upper = from_of[source] + (to_of[target] - from_of[source]) * bend
            lower = upper - (out + (into - out) * bend)
            colour = colours[target if column == 0 else source]
            axes.fill_between(x, lower, upper, color=colour, alpha=0.28, linewidth=0)
            from_of[source] -= out
            to_of[target] -= into


def _name(axes: "Axes", text: str, block: _Block, column: int, width: Width) -> None:
    """Write the name of a block where there is room: beside it, or above it where the page is narrow."""
    middle = (block.low + block.high) / 2
    if width == "wide" and column != 1:
        beside = block.x - 0.015 if column == 0 else block.x + _BLOCK + 0.015
        axes.text(
            beside, middle, text, va="center", ha="right" if column == 0 else "left", fontsize=13, linespacing=1.35
        )
        return
    first, _, rest = text.partition("\n")
    short = first.replace(": ", "\n") if column == 2 else text
    line = f"{first}  {rest}" if width == "wide" else short
    where = {0: (block.x, "left"), 1: (block.x + _BLOCK / 2, "center"), 2: (block.x + _BLOCK, "right")}[column]
    axes.text(where[0], block.high + 0.012, line, va="bottom", ha=where[1], fontsize=13 if width == "wide" else 11.5)
