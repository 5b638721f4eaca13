"""How a report writes numbers, names and sums."""

import re

# What no parser may see, and marks that make a line read otherwise than it is stored.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def seen(text: str) -> str:
    """Replace the characters of a text that cannot be seen."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def number(value: float) -> str:
    """Write a metric: three decimals, and a minus sign that is one."""
    return "–" if value != value else f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float) -> str:
    """Write a difference with its sign."""
    return "–" if value != value else f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def percent(share: float) -> str:
    """Write a share such as 0.516 as `51.6 %`, of one piece."""
    return "–" if share != share else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def interval(low: float | None, high: float | None) -> str:
    """Write an interval; nothing where there is none."""
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def in_words(name: str) -> str:
    """Write a name such as `context_recall` as words."""
    return seen(name).replace("_", " ")


def in_bytes(size: int) -> str:
    """Write a size on disk or in memory."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size} B"


def in_time(milliseconds: float) -> str:
    """Write how long a query takes: one decimal, two below a millisecond."""
    if milliseconds < 0.005:
        return "<0.01 ms"
    return f"{milliseconds:.1f} ms" if milliseconds >= 1 else f"{milliseconds:.2f} ms"


def short_model(name: str) -> str:
    """Return what people call a model: the end of its folder, or its name on a hub."""
    parts = [part for part in seen(name).replace("\\", "/").split("/") if part]
    return "/".join(parts[-2:]) if name[:1] in "/." or len(parts) > 2 else "/".join(parts)


def minutes(seconds: float) -> str:
    """Write a length of time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def dollars(cost_usd: float, unpriced: int) -> str:
    """Write a sum of money, of which a part may be unknown."""
    if unpriced and not cost_usd:
        return "price unknown"
    return f"${cost_usd:,.2f}" + (f" and {unpriced:,} answers of unknown price" if unpriced else "")
