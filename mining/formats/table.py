"""Tables: CSV, Parquet, JSON Lines of any keys, DataFrames and Hugging Face data sets, with a mapping of columns.

A row is one interaction, where its chunks stand in lists, or one retrieved chunk; then the rows of one interaction have
the same `interaction_id`, else the same `query_id`, else the same `query`. docs/formats.md has both forms.
"""

import difflib
import itertools
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mining.formats.csv_rows import SIGNAL, Row, csv_header, csv_rows
from mining.formats.grouping import grouped
from mining.formats.json_entries import entries, holds_objects
from mining.formats.parquet import is_parquet, parquet_columns, parquet_rows
from mining.formats.source import Format, Given, Read, Sample, line_of
from mining.formats.texts import list_in
from mining.formats.traces import annotation
from mining.log_lines import Line, LogFile
from store.errors import InvalidDataError, UsageError
from store.ids import chunk_id
from store.progress import Progress

_OF_INTERACTION = ("interaction_id", "query_id", "query", "time", "source", "answer", "signals")
_OF_CHUNK = ("chunk_id", "rank", "text", "score", "kind", "document", "title")
_FIELDS = (*_OF_INTERACTION, "retrieved", "cited", *_OF_CHUNK)
_IDS = {"interaction_id", "query_id", "chunk_id", "document"}
_YES, _NO = {"1", "true", "yes", "t", "y"}, {"0", "false", "no", "f", "n", ""}
_CSV_NAME = re.compile(r"\.(csv|tsv)(\.gz)?$", re.IGNORECASE)


def _recognises(sample: Sample) -> str | None:
    columns = sample.columns
    if not columns and sample.objects and {"text", "chunk_id"} & sample.objects[0].keys():
        columns = tuple(sample.objects[0])
    if not columns and sample.lines and (_CSV_NAME.search(sample.name) or "query" in csv_header(sample.lines[0])):
        columns = tuple(csv_header(sample.lines[0]))
    if columns and ("query" in columns or _CSV_NAME.search(sample.name)):
        return f"it is a table with the columns {', '.join(columns[:12])}"
    return None


def _read(log: LogFile, given: Given, progress: Progress) -> Iterator[Line]:
    bad: list[Line] = []  # rows that cannot be read; the others come first
    if is_parquet(log):
        check_columns(log.name, parquet_columns(log), given.mapping)
        rows = parquet_rows(log, progress.advance)
    elif holds_objects(log):
        rows = _object_rows(log, given.mapping, progress.advance, bad)
    else:
        named = {**{field: field for field in _FIELDS}, **given.mapping}
        fields = {column: field for field, column in named.items()}

        def check(columns: list[str]) -> None:
            check_columns(log.name, columns, given.mapping)

        rows = csv_rows(log, check, fields, progress.advance, bad)
    yield from lines_of_rows(rows, given.mapping, log.name, progress)
    yield from bad


def _object_rows(log: LogFile, mapping: Mapping[str, str], read: Read, bad: list[Line]) -> Iterator[Row]:
    checked = False
    for entry in entries(log, read):
        if entry.problem:
            bad.append(Line(entry.line, 0, entry.raw, entry.problem))
            continue
        if not checked:
            check_columns(log.name, tuple(entry.value), mapping)
            checked = True
        yield entry.line, entry.value


def check_columns(name: str, columns: Sequence[str], mapping: Mapping[str, str]) -> None:
    """Refuse a mapping that fits no field or no column, and a table that lacks what an interaction needs.

    Raises:
        UsageError: the mapping names a field that there is not.
        InvalidDataError: the table lacks a column.
    """
    for field, column in mapping.items():
        if field not in _FIELDS and not (field.startswith(SIGNAL) and len(field) > len(SIGNAL)):
            near = difflib.get_close_matches(field, _FIELDS, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            known = f"one of {', '.join(_FIELDS)} or signal.NAME"
            raise UsageError(
                f"--map {field}={column}: {field} is no field{meant} ({known})", hint="uncited import --help"
            )
        if column not in columns:
            near = difflib.get_close_matches(column, columns, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            listed = ", ".join(columns) or "none"
            again = f"uncited import {shlex.quote(name)} --map {field}={near[0] if near else 'COLUMN'}"
            raise InvalidDataError(f"{name} has no column {column}{meant} (its columns: {listed})", hint=again)
    read = [*mapping.values(), *(field for field in _FIELDS if field not in mapping)]
    if twice := [column for column in read if columns.count(column) > 1]:
        raise InvalidDataError(f"{name} has several columns {twice[0]}; give them names of their own")
    there = {field for field in _FIELDS if mapping.get(field, field) in columns}
    lacking = [] if "query" in there else ["query"]
    lacking += [] if there & {"retrieved", "text", "chunk_id"} else ["text (or chunk_id, or retrieved)"]
    if lacking:
        options = " ".join(f"--map {field.split()[0]}=COLUMN" for field in lacking)
        raise InvalidDataError(
            f"{name} has no column for {' and '.join(lacking)} (its columns: {', '.join(columns) or 'none'})",
            hint=f"uncited import {shlex.quote(name)} {options}",
        )


def lines_of_rows(rows: Iterable[Row], mapping: Mapping[str, str], name: str, progress: Progress) -> Iterator[Line]:
    """Yield the interactions of the rows of the table `name`; the first one tells which of the two forms it has.

    `progress` is told of rows that are brought together after they were read.
    """
    stream = iter(rows)
    first = next(stream, None)
    if first is None:
        return
    every = itertools.chain([first], stream)
    if _holds_lists(_fields(first[1], mapping)):
        for number, row in every:
            yield _of_lists(number, _fields(row, mapping), _signals(row, mapping), _others(row, mapping))
        return
    keyed = ((_key(_fields(row, mapping)), (number, row)) for number, row in every)
    for _, group in grouped(keyed, name, progress):
        yield _of_rows(group, mapping)


def _fields(row: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    found = {field: row.get(mapping.get(field, field)) for field in _FIELDS}
    return {
        field: _as_id(value) if field in _IDS else value
        for field, value in found.items()
        if value is not None and value != ""
    }


def _as_id(value: Any) -> Any:  # noqa: ANN401 (whatever a table holds)
    if isinstance(value, list):
        return [_as_id(item) for item in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _signals(row: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    columns = {**{name: name for name in row if name.startswith(SIGNAL)}, **mapping}
    named = {field: column for field, column in columns.items() if field.startswith(SIGNAL)}
    found = {field.removeprefix(SIGNAL): row.get(column) for field, column in named.items()}
    return {name: value for name, value in found.items() if value is not None and value != ""}


def _others(row: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """Return the columns that no field is read from; they are kept as they are."""
    used = {mapping.get(field, field) for field in _FIELDS} | set(mapping.values()) | set(_FIELDS)
    return {
        name: value
        for name, value in row.items()
        if name not in used and not name.startswith(SIGNAL) and value is not None and value != ""
    }


def _holds_lists(fields: Mapping[str, Any]) -> bool:
    return isinstance(fields.get("retrieved"), list) or any(
        isinstance(fields.get(n), list) for n in ("text", "chunk_id")
    )


def _key(fields: Mapping[str, Any]) -> tuple[str, str]:
    for name in ("interaction_id", "query_id", "query"):
        if name in fields:
            return name, str(fields[name])
    return "query", ""


def _of_lists(number: int, fields: dict[str, Any], signals: dict[str, Any], others: dict[str, Any]) -> Line:
    problems: list[str] = []
    chunks = _chunks(fields, problems)
    cited = fields.get("cited")
    if isinstance(cited, list) and cited and all(isinstance(flag, bool) for flag in cited):
        if len(cited) != len(chunks):
            problems.append(f"cited says yes or no {len(cited)} times for {len(chunks)} chunks")
        cited = [chunk["chunk_id"] for chunk, flag in zip(chunks, cited, strict=False) if flag]
    told = list(list_in(fields, "signals", problems))
    for name, value in signals.items():
        if not isinstance(value, list):
            told.append(_signal(name, value))
        elif len(value) != len(chunks):
            problems.append(f"{len(value)} values of {SIGNAL}{name} for {len(chunks)} chunks")
        else:
            pairs = zip(chunks, value, strict=True)
            told += [{**_signal(name, v), "chunk_id": c["chunk_id"]} for c, v in pairs if v is not None]
    interaction = {name: fields[name] for name in _OF_INTERACTION if name in fields}
    listed = {**interaction, "retrieved": chunks, "cited": _as_id(cited), "signals": told or None}
    return line_of(number, {**others, **listed}, problems)


def _chunks(fields: Mapping[str, Any], problems: list[str]) -> list[dict[str, Any]]:
    if isinstance(given := fields.get("retrieved"), list):
        found = [dict(item) if isinstance(item, dict) else {"text": item} for item in given]
    else:
        columns = {name: fields[name] for name in _OF_CHUNK if isinstance(fields.get(name), list)}
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            problems.append(f"lists of different length: {', '.join(f'{n} has {many}' for n, many in lengths.items())}")
            return []
        found = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [_chunk(chunk, rank) for rank, chunk in enumerate(found, start=1)]


def _chunk(values: dict[str, Any], position: int | None) -> dict[str, Any]:
    chunk = {name: value for name, value in values.items() if value is not None}
    if "chunk_id" not in chunk and isinstance(chunk.get("text"), str):
        chunk["chunk_id"] = chunk_id(chunk["text"])
    rank = chunk.get("rank", position)
    chunk["rank"] = int(rank) if isinstance(rank, float) and rank.is_integer() else rank
    return {**chunk, "chunk_id": _as_id(chunk.get("chunk_id"))}


def _of_rows(rows: list[Row], mapping: Mapping[str, str]) -> Line:
    """Put the rows of one interaction together; a chunk's rank is the row's place where no rank is given."""
    number, first = rows[0][0], _fields(rows[0][1], mapping)
    interaction = {name: first[name] for name in _OF_INTERACTION if name in first}
    problems: list[str] = []
    chunks: list[dict[str, Any]] = []
    cited: list[str] = []
    signals: list[dict[str, Any]] = list(list_in(interaction, "signals", problems))
    interaction.pop("signals", None)
    for position, (line, row) in enumerate(rows, start=1):
        fields = _fields(row, mapping)
        for name, value in interaction.items():
            if fields.get(name, value) != value:
                problems.append(f"{name} is another in line {line} of the same interaction")
        chunk = _chunk({name: fields[name] for name in _OF_CHUNK if name in fields}, position)
        if len(chunk) == 2 and chunk["chunk_id"] is None:  # a row without a chunk: nothing was retrieved
            continue
        chunks.append({**_others(row, mapping), **chunk})
        if _flag(fields.get("cited", False), line, problems):
            cited.append(chunk["chunk_id"])
        for name, value in _signals(row, mapping).items():
            signals.append({**_signal(name, value), "chunk_id": chunk["chunk_id"]})
    known = any(mapping.get("cited", "cited") in row for _, row in rows)
    listed = {"retrieved": chunks, "cited": cited if known else None, "signals": signals or None}
    return line_of(number, {**interaction, **listed}, problems)


def _flag(value: Any, line: int, problems: list[str]) -> bool:  # noqa: ANN401 (whatever a table holds)
    text = str(value).strip().lower().removesuffix(".0")
    if text not in _YES | _NO:
        problems.append(f'line {line}: cited is "{text[:40]}"; in a row of one chunk it is yes or no')
    return text in _YES


def _signal(name: str, value: Any) -> dict[str, Any]:  # noqa: ANN401 (whatever a table holds)
    """Tell a signal by a cell: a number, yes or no, or a label, which becomes a part of the name."""
    if isinstance(value, str) and value.strip() and not _holds_number(value):
        name, value = annotation(name, label=value)
    return {"signal": name, "value": float(value) if isinstance(value, bool) else value}


def _holds_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


FORMAT = Format("table", "table (CSV, Parquet, JSON Lines)", _recognises, _read)
