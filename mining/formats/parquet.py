"""Rows of Parquet files, a batch at a time, with values that JSON can hold."""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mining.formats.source import Read
from mining.log_lines import LogFile
from store.errors import InvalidDataError

if TYPE_CHECKING:
    import pyarrow as pa

_MAGIC = b"PAR1"
_ROWS_AT_A_TIME = 1_000
_NO_VALUE = (ValueError, OverflowError, KeyError)  # KeyError: of a time zone that nobody knows


def is_parquet(log: LogFile) -> bool:
    """Tell by its first bytes whether a file is Parquet."""
    log.raw.seek(0)
    return log.raw.read(4) == _MAGIC


def parquet_columns(log: LogFile) -> tuple[str, ...]:
    """Return the names of the columns.

    Raises:
        InvalidDataError: the file is damaged.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return tuple(parquet.read_schema(log.raw).names)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(log, error) from error


def parquet_rows(log: LogFile, read: Read) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row with its number, from 1.

    Raises:
        InvalidDataError: the file is damaged, holds what cannot be read, or was written to while it was read.
    """
    import pyarrow as pa
    from pyarrow import parquet

    number = told = 0
    try:
        source = parquet.ParquetFile(log.raw)
        rows = max(1, source.metadata.num_rows)
        for batch in source.iter_batches(_ROWS_AT_A_TIME):
            yield from rows_of(batch, log.name, number + 1)
            number += batch.num_rows
            position = log.size * number // rows
            read(position - told)
            told = position
    except (pa.ArrowException, OSError) as error:
        raise _damaged(log, error) from error
    read(log.size - told)
    log.check_unchanged()


def rows_of(batch: "pa.RecordBatch | pa.Table", name: str, first: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield rows of Arrow with their numbers, in values that JSON has: times in ISO 8601, durations in seconds.

    A missing number is None. What Python has no value for, such as a time beyond the year 9999, is a text: the number
    that stands there, and its type.

    Args:
        batch: some rows.
        name: of the file or folder.
        first: the number of the first row.

    Raises:
        InvalidDataError: a value cannot be read; its row and column are named.
    """
    try:
        rows = batch.to_pylist()
    except _NO_VALUE:
        columns = list(zip(batch.column_names, batch.columns, strict=True))
        rows = [
            {column: _value(values[place], f"{name}:{first + place}: column {column}") for column, values in columns}
            for place in range(batch.num_rows)
        ]
    for number, row in enumerate(rows, start=first):
        yield number, {column: _as_json(value) for column, value in row.items()}


def _value(scalar: "pa.Scalar", where: str) -> Any:  # noqa: ANN401 (whatever a table holds)
    """Return what a cell holds, where something in its batch has no value in Python."""
    import pyarrow as pa

    try:
        return scalar.as_py()
    except _NO_VALUE as error:
        if isinstance(scalar, pa.ListScalar):
            return [_value(item, where) for item in scalar.values]
        if isinstance(scalar, pa.StructScalar) and len(set(scalar)) == len(scalar):  # else it has a name twice
            return {name: _value(item, where) for name, item in scalar.items()}
        held = getattr(scalar, "value", None)
        if isinstance(held, pa.Scalar):
            return _value(held, where)
        if isinstance(held, int):
            return f"{held} ({scalar.type})"
        raise InvalidDataError(f"{where} holds what cannot be read: {error}") from error


def _as_json(value: Any) -> Any:  # noqa: ANN401 (whatever a table holds)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, date | time | timedelta):
        return _time_as_json(value)
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value)  # a UUID, say


def _time_as_json(value: date | time | timedelta) -> str | float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    return value.isoformat() if isinstance(value, time) else f"{value.isoformat()}T00:00:00Z"


def _damaged(log: LogFile, error: Exception) -> InvalidDataError:
    log.check_unchanged()  # else it is that
    return InvalidDataError(f"{log.name} is no Parquet file that can be read: {str(error).splitlines()[0]}")
