"""HTML in which nothing is markup by accident: every text is escaped where it enters, unless it is `Html` already."""

import html
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

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


class Column(NamedTuple):
    """A column that is made of several values, by their names, or that writes its value in its own way."""

    title: str
    values: Sequence[str]
    write: Callable[..., object]


def value_names(columns: Sequence[str | Column]) -> list[str]:
    """Return what the values of a row are called, one after the other."""
    return [name for column in columns for name in (column.values if isinstance(column, Column) else (column,))]


def table(columns: Sequence[str | Column], rows: Iterable[Sequence[object]], *, name: str | None = None) -> Html:
    """Make a table that scrolls by itself where it is too wide; columns of numbers stand to the right.

    A row holds the values of the columns one after the other. A `name` makes the id `table-NAME`.
    """
    titles = [column.title if isinstance(column, Column) else column for column in columns]
    cells = [list(_written(columns, row)) for row in rows]
    right = [
        "n" if all(isinstance(row[i], int | float | None) or _FIGURE.fullmatch(str(row[i])) for row in cells) else None
        for i in range(len(titles))
    ]
    head = tag("tr", *(tag("th", title, scope="col", class_=kind) for title, kind in zip(titles, right, strict=True)))
    body = [
        tag("tr", *(tag("td", cell(value), class_=kind) for value, kind in zip(row, right, strict=True)))
        for row in cells
    ]
    whole = tag("table", tag("thead", head), tag("tbody", *body))
    own = f"table-{name}" if name else None
    return tag("div", whole, class_="scroll", id=own, tabindex="0", role="region", aria_label=", ".join(titles))


def _written(columns: Sequence[str | Column], row: Sequence[object]) -> Iterator[object]:
    values = iter(row)
    for column in columns:
        yield column.write(*islice(values, len(column.values))) if isinstance(column, Column) else next(values)


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
