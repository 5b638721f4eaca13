"""HTML in which nothing is markup by accident: every text is escaped where it enters, unless it is `Html` already."""

import html
import re
from collections.abc import Iterable, Sequence

from train.report.wording import number, seen


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *inside: object, **attributes: object) -> Html:
    """Make an element. What stands inside is escaped where it is no `Html`; `class_` is the attribute class.

    An underscore in the name of an attribute is a hyphen in HTML; what is None is left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{written}>{joined(inside)}</{name}>")


def joined(parts: Iterable[object]) -> Html:
    """Put parts one after the other, each escaped where it is no `Html`."""
    return Html("".join(part if isinstance(part, Html) else escaped(part) for part in parts))


def escaped(text: object) -> Html:
    """Return a text such that a browser shows it letter by letter; what cannot be seen becomes U+FFFD."""
    return Html(html.escape(seen(str(text))))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str = "") -> Html:
    """Make a table that scrolls by itself where it is too wide; columns of numbers stand to the right."""
    cells = list(rows)
    right = [
        "n" if all(isinstance(row[i], int | float | None) or _FIGURE.fullmatch(str(row[i])) for row in cells) else None
        for i in range(len(columns))
    ]
    head = tag("tr", *(tag("th", name, scope="col", class_=kind) for name, kind in zip(columns, right, strict=True)))
    body = [
        tag("tr", *(tag("td", cell(value), class_=kind) for value, kind in zip(row, right, strict=True)))
        for row in cells
    ]
    title = [tag("caption", caption)] if caption else []
    whole = tag("table", *title, tag("thead", head), tag("tbody", *body))
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption or ", ".join(columns))


# What is written like a number: signs, digits, intervals.
_FIGURE = re.compile(
    r"[<+\N{MINUS SIGN}-]?[$]?[\d.,\N{THIN SPACE}]+(\N{NO-BREAK SPACE}%| ms| [kMG]?B)?"
    r"( to [+\N{MINUS SIGN}-]?[\d.,]+)?|"
)


def cell(value: object) -> object:
    """Write a value as it stands in a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    return value
