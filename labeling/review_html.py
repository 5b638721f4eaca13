"""Untrusted texts as HTML that Argilla's page shows letter by letter, with what matters in them marked.

Why Markdown fields (read in the page of Argilla 2.8, and tried in tests/test_review_browser.py): a text field that is
no Markdown goes into the page as it is or, where it looks like HTML, into a frame that may do as it likes; so does a
custom field. A Markdown field goes through marked and then DOMPurify, and the page highlights the words of a search in
it. DOMPurify lets styles, forms and objects through, so it is the second line of defence only: here every letter of a
text is escaped, and a field is one HTML block from beginning to end, in which marked reads no Markdown. A blank line
would end that block, so there is none.
"""

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from labeling.review_text import marks

_SHARED, _QUOTE = 1, 2
_OPEN = ("", "<b>", "<mark>", "<mark><b>")
_CLOSE = ("", "</b>", "</mark>", "</b></mark>")
_RUN = re.compile(rb"(.)\1*", re.DOTALL)

_UNSTORABLE = "\x00"  # PostgreSQL refuses it
_SPACE = re.compile(r"[\s\ufeff]{2,}")  # \ufeff is white space to JavaScript
_LONGEST_SPACE = 200  # the page looks for white space at the ends of lines in quadratic time

_CELL = {d: re.compile(rf'"(?:[^"]|"")*"(?=[{d}\n]|\Z)|[^{d}\n]*') for d in ("\t", ",", ";")}
_CELL["|"] = re.compile(r"(?:\\.|[^|\n])*")
_RULE = re.compile(r":?-+:?")
_LONGEST_TABLE = 100_000  # characters


class _Table(NamedTuple):
    """A table inside a text, as places in it: cells are (start, end)."""

    start: int
    end: int
    rows: list[list[tuple[int, int]]]


def one_field(content: str) -> str:
    """Make HTML the text of a Markdown field: one block, without blank lines."""
    return _SPACE.sub(_space, content)


def _space(found: re.Match[str]) -> str:
    space = found[0]
    if space.count("\n") > 1:
        space = space.replace("\n", "<br>")
    return "<wbr>".join(space[at : at + _LONGEST_SPACE] for at in range(0, len(space), _LONGEST_SPACE))


def paragraph(text: str, style: str = "") -> str:
    """Render a text as it is, with its lines and spaces."""
    return _block(_escaped(_one_newline(text)), style)


def folded(text: str) -> str:
    """Render a text that shows when the reader asks for it."""
    return f"<details><summary>Show</summary>{paragraph(text)}</details>"


def columns(*parts: tuple[str, str]) -> str:
    """Put (heading, HTML) beside each other, or below each other where there is no room."""
    cells = (
        f'<div style="flex:1 1 22em;min-width:0"><small>{_escaped(_one_newline(heading))}</small>{content}</div>'
        for heading, content in parts
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:16px">{"".join(cells)}</div>'


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Render plain texts as a table."""
    return _table(
        [[_escaped(_one_newline(name)) for name in header], *([paragraph(cell) for cell in line] for line in lines)]
    )


def chunk(text: str, kind: str, query: str, quote: str | None) -> str:
    """Render a chunk as its kind asks, with the words of the query in bold and the quote on yellow."""
    text = _one_newline(text)
    what = bytearray(len(text))
    for start, end, mark in marks(text, query, quote):
        flag = _SHARED if mark == "shared" else _QUOTE
        what[start:end] = bytes(byte | flag for byte in what[start:end])

    def marked(start: int, end: int) -> str:
        runs = ((what[run.start()], text[run.start() : run.end()]) for run in _RUN.finditer(what, start, end))
        return "".join(_OPEN[flags] + _escaped(piece) + _CLOSE[flags] for flags, piece in runs)

    if kind == "code":
        return _block(marked(0, len(text)), "font-family:monospace")
    parts, at = [], 0
    for found in _tables(text, kind):
        if text[at : found.start].strip():
            parts.append(_block(marked(at, found.start)))
        parts.append(_table([[marked(*cell) for cell in row] for row in found.rows]))
        at = found.end
    if text[at:].strip() or not parts:
        parts.append(_block(marked(at, len(text))))
    shown = "".join(parts)
    return f'<div style="border:1px dashed;padding:8px">{shown}</div>' if kind == "image" else shown


def _tables(text: str, kind: str) -> Iterator[_Table]:
    """Find the tables in a text: those of Markdown, which have a rule below the header.

    In a chunk of the kind `table` also what pipes, tabs, commas or semicolons separate, whichever makes most cells.
    """
    if len(text) > _LONGEST_TABLE:
        return
    found = [t for t in _runs(text, "|") if len(t.rows) > 1 and _is_rule(text, t.rows[1])] if "|" in text else []
    if not found and kind == "table":
        found = max(([t for t in _runs(text, d) if len(t.rows) > 1] for d in _CELL), key=_size)
    for t in found:
        yield t._replace(rows=[row for row in t.rows if not _is_rule(text, row)])


def _size(found: list[_Table]) -> int:
    return sum(len(row) for t in found for row in t.rows)


def _is_rule(text: str, row: list[tuple[int, int]]) -> bool:
    return all(_RULE.fullmatch(text[start:end]) for start, end in row)


def _runs(text: str, delimiter: str) -> Iterator[_Table]:
    """Yield runs of lines with equally many cells, at least two."""
    run: list[list[tuple[int, int]]] = []
    start = at = 0
    while at < len(text):
        row, end = _row(text, at, delimiter)
        if run and len(row) != len(run[0]):
            yield _Table(start, at, run)
            run = []
        if len(row) > 1:
            start = start if run else at
            run.append(row)
        at = end
    if run:
        yield _Table(start, at, run)


def _row(text: str, at: int, delimiter: str) -> tuple[list[tuple[int, int]], int]:
    """Split one line (in CSV, a quoted cell may hold line breaks); return its cells and where the next line begins."""
    cells = []
    while True:
        end = _CELL[delimiter].match(text, at).end()  # type: ignore[union-attr] # it matches the empty text
        cells.append(_trimmed(text, at, end, delimiter))
        if end >= len(text) or text[end] == "\n":
            break
        at = end + 1
    if delimiter == "|":  # those that begin and end a line separate nothing
        cells = cells[1 if _empty(cells[0]) else 0 : -1 if len(cells) > 1 and _empty(cells[-1]) else None]
    return cells, end + 1


def _trimmed(text: str, start: int, end: int, delimiter: str) -> tuple[int, int]:
    """Leave out the white space around a cell, and the quotes around one of CSV."""
    cell = text[start:end]
    start, end = start + len(cell) - len(cell.lstrip()), end - len(cell) + len(cell.rstrip())
    if delimiter != "|" and end - start > 1 and text[start] == text[end - 1] == '"':
        return start + 1, end - 1
    return start, max(start, end)


def _empty(cell: tuple[int, int]) -> bool:
    return cell[0] == cell[1]


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        lines.append("<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in row) + "</tr>")
    drawn = f'<table border="1" cellpadding="4" style="border-collapse:collapse">{"".join(lines)}</table>'
    return f'<div dir="auto" style="overflow-x:auto">{drawn}</div>'


def _block(content: str, style: str = "") -> str:
    return f'<div dir="auto" style="white-space:pre-wrap{";" if style else ""}{style}">{content}</div>'


def _one_newline(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _escaped(text: str) -> str:
    return html.escape(text.replace(_UNSTORABLE, "\N{REPLACEMENT CHARACTER}"), quote=False)
