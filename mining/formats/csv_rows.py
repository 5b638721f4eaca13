"""Rows of CSV files: delimiters found out, line breaks within cells kept, each row known by the line it begins at."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mining.formats.printed_lists import LONGEST, printed_list
from mining.formats.source import Read, intact
from mining.log_format import MAX_LINE_BYTES
from mining.log_lines import Line, LogFile
from store.errors import InvalidDataError

SIGNAL = "signal."  # begins the fields, and the columns, that are signals
Row = tuple[int, dict[str, Any]]

_DELIMITERS = ",;\t|"
_LONGEST_CELL = 1 << 24  # characters; more than any text may have
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_LISTS = ("retrieved", "cited", "signals", "rank", "score")
_TEXTS = ("text", "chunk_id", "kind", "document", "title")


def csv_header(line: str) -> list[str]:
    """Return the cells of a header; none where the line is no CSV."""
    csv.field_size_limit(_LONGEST_CELL)
    try:
        return next(csv.reader([line.removeprefix("\ufeff")], delimiter=_delimiter(line)), [])
    except csv.Error:
        return []


def _delimiter(header: str) -> str:
    return max(_DELIMITERS, key=header.count)


def csv_rows(
    log: LogFile, check: Callable[[list[str]], None], fields: Mapping[str, str], read: Read, bad: list[Line]
) -> Iterator[Row]:
    """Yield the rows with the line at which each begins; cells that hold numbers or lists become what they hold.

    Args:
        log: the file.
        check: refuses a header.
        fields: column -> field of uncited.
        read: told of bytes.
        bad: gets the rows that cannot be read.

    Raises:
        InvalidDataError: the file is not CSV from some line on.
    """
    csv.field_size_limit(_LONGEST_CELL)
    with intact(log):
        lines = _csv_lines(log, read)
        header = next(lines, "")
        columns = [name.strip() for name in csv_header(header)] if header.strip() else []
        check(columns)
        reader = csv.reader(lines, delimiter=_delimiter(header), strict=True)
        number = 2
        try:
            for values in reader:
                if problem := _row_problem(columns, values):
                    bad.append(Line(number, 0, json.dumps(values).encode(), problem))
                elif any(values):
                    cells = zip(columns, values, strict=False)
                    row = {name: _cell(fields.get(name, name), value) for name, value in cells}
                    if problem := _unread_list(row, fields):
                        bad.append(Line(number, 0, json.dumps(values).encode(), problem))
                    else:
                        yield number, row
                number = reader.line_num + 2
        except csv.Error as error:
            raise InvalidDataError(f"{log.name}:{reader.line_num + 1}: not CSV: {error}") from error


def _csv_lines(log: LogFile, read: Read) -> Iterator[str]:
    """Yield the lines with their ends, since a cell may hold some; bytes that are no UTF-8 become lone surrogates."""
    stream = log.unpacked()
    number = told = 0
    while content := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(content) > MAX_LINE_BYTES:
            raise InvalidDataError(f"{log.name}:{number}: longer than {MAX_LINE_BYTES >> 20} MiB")
        yield content.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")
        if (position := log.raw.tell()) - told >= 1 << 20:
            read(position - told)
            told = position
    read(log.size - told)


def _row_problem(columns: Sequence[str], values: Sequence[str]) -> str | None:
    if len(values) > len(columns):
        return f"{len(values)} values for {len(columns)} columns; is a delimiter not quoted?"
    for name, value in zip(columns, values, strict=False):
        if not value.isascii() and (wrong := _NOT_UTF8.search(value)):
            return f"column {name} is not UTF-8: byte 0x{ord(wrong[0]) - 0xDC00:02x}"
    return None


def _cell(field: str, value: str) -> Any:  # noqa: ANN401 (what a cell holds)
    if value[:1] == "[" and value[-1:] == "]" and field not in ("query", "answer"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            found = printed_list(value)
            return value if found is None else found
    if field in ("rank", "score") or field.startswith(SIGNAL):
        try:
            return float(value) if field != "rank" else int(value)
        except ValueError:
            return value
    return value


def _unread_list(row: Mapping[str, Any], fields: Mapping[str, str]) -> str | None:
    """Say which cell is a list that could not be read; as a text it would pass for one chunk."""
    for name, value in row.items():
        if isinstance(value, str) and value[:1] == "[" and value[-1:] == "]":
            field = fields.get(name, name)
            quoted = value[1:2] in ("'", '"') and value[-2:-1] in ("'", '"')
            if field in _LISTS or field.startswith(SIGNAL) or (field in _TEXTS and quoted):
                return (
                    f"column {name} looks like a list, and is none that JSON has, or that Python prints in up to"
                    f" {LONGEST:,} characters (numpy leaves the commas out); write it as JSON"
                )
    return None
