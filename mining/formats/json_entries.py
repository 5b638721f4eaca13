"""Files of all shapes as a stream of objects: JSON Lines, a JSON array, one object or several, and rows of Parquet."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from mining.formats.parquet import is_parquet, parquet_rows
from mining.formats.source import Read, intact
from mining.log_lines import LogFile
from store.errors import InvalidDataError

MAX_DOCUMENT_BYTES = 512 << 20  # of one JSON document, which is held in memory; JSON Lines have no such limit
_WRAPPERS = {"next_cursor", "meta", "cursors", "total"}  # what stands beside `data` in the answer of a web service
_TOLD_AT_A_TIME = 1 << 20  # bytes of one document
_SPACE = re.compile(r"[ \t\r\n]*")

Pairs = Callable[[list[tuple[str, Any]]], dict[str, Any]]


class Entry(NamedTuple):
    """One object of a file, or what is wrong where one should be. `line` is where it begins, or the number of a row."""

    line: int
    value: dict[str, Any]
    raw: bytes
    problem: str | None


def entries(log: LogFile, read: Read = lambda size: None, pairs: Pairs | None = None) -> Iterator[Entry]:
    """Yield the objects of a file; those of an array, and of the list `data` of a web service's answer, singly.

    Args:
        log: the file.
        read: told of bytes.
        pairs: makes each object out of its keys and values, in their order; by default the last value of a key counts.

    Raises:
        InvalidDataError: a file that is one JSON document is not, or is larger than 512 MiB.
    """
    if is_parquet(log):
        for number, row in parquet_rows(log, read):
            yield Entry(number, row, b"", None)
        return
    if _is_document(log):
        yield from _of_document(log, read, pairs)
        return
    for line in log.lines(read):
        if line.problem:
            yield Entry(line.number, {}, line.content, line.problem)
            continue
        try:
            value = json.loads(line.content, object_pairs_hook=pairs)
        except (ValueError, RecursionError) as error:
            yield Entry(line.number, {}, line.content, _not_json(error))
            continue
        for item in _unwrapped(value):
            yield _entry(line.number, item, line.content)


def holds_objects(log: LogFile) -> bool:
    """Tell by its first line whether a file of text is JSON."""
    return next((line.content.lstrip()[:1] in (b"{", b"[") for line in log.lines()), False)


def _is_document(log: LogFile) -> bool:
    """Tell whether a file is written over several lines: its first one opens an array or an object and stops there."""
    for line in log.lines():
        first = line.content.strip()
        if first.startswith(b"["):
            return True
        return first.startswith(b"{") and first.endswith((b"{", b",", b"["))
    return False


def _of_document(log: LogFile, read: Read, pairs: Pairs | None) -> Iterator[Entry]:
    with intact(log):
        content = log.unpacked().read(MAX_DOCUMENT_BYTES + 1)
    if len(content) > MAX_DOCUMENT_BYTES:
        raise InvalidDataError(
            f"{log.name} is one JSON document of more than {MAX_DOCUMENT_BYTES >> 20} MiB; JSON Lines may be as large"
            " as they like",
            hint=f"jq -c '.[]' {log.name} | uncited import -",
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidDataError(f"{log.name}:{line}: not UTF-8: byte 0x{content[error.start]:02x}") from error
    del content
    line = counted = told = 0
    try:
        for place, value in _values(text, pairs):
            line += text.count("\n", counted, place)
            counted = place
            for item in _unwrapped(value):
                yield _entry(line + 1, item, b"")
            if (position := log.size * place // len(text)) - told >= _TOLD_AT_A_TIME:
                read(position - told)
                told = position
    except json.JSONDecodeError as error:
        raise InvalidDataError(f"{log.name}:{error.lineno}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise InvalidDataError(f"{log.name}:{line + 1}: not JSON that can be read: nested too deeply") from error
    read(log.size - told)


def _values(text: str, pairs: Pairs | None) -> Iterator[tuple[int, Any]]:
    """Yield each value with its place; of an array, its elements, so that one at a time is held."""
    decoder = json.JSONDecoder(object_pairs_hook=pairs)
    place = _after_space(text, 0)
    while place < len(text):
        if text[place] != "[":
            value, end = decoder.raw_decode(text, place)
            yield place, value
            place = _after_space(text, end)
            continue
        place = _after_space(text, place + 1)
        while text[place : place + 1] != "]":
            value, end = decoder.raw_decode(text, place)
            yield place, value
            place = _after_space(text, end)
            if text[place : place + 1] == ",":
                place = _after_space(text, place + 1)
            elif text[place : place + 1] != "]":
                raise json.JSONDecodeError("Expecting ',' or the end of the array", text, place)
        place = _after_space(text, place + 1)


def _after_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _unwrapped(value: Any) -> list[Any]:  # noqa: ANN401 (whatever JSON holds)
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and isinstance(value.get("data"), list) and value.keys() <= {"data", *_WRAPPERS}:
        return list(value["data"])
    return [value]


def _entry(line: int, value: Any, raw: bytes) -> Entry:  # noqa: ANN401 (whatever JSON holds)
    if isinstance(value, dict):
        return Entry(line, value, raw, None)
    return Entry(line, {}, raw or json.dumps(value).encode(), "not a JSON object")


def _not_json(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg}, at byte {error.pos}"
    return "not JSON that can be read: nested too deeply" if isinstance(error, RecursionError) else f"not JSON: {error}"
