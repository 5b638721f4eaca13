"""Rows of Parquet files, a batch at a time, with values that JSON can hold."""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from mining.formats.source import Read
from mining.log_lines import LogFile
from store.errors import InvalidDataError

_MAGIC = b"PAR1"
_ROWS_AT_A_TIME = 1_000


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
        InvalidDataError: the file is damaged, or was written to while it was read.
    """
    import pyarrow as pa
    from pyarrow import parquet

    number = told = 0
    try:
        source = parquet.ParquetFile(log.raw)
        rows = max(1, source.metadata.num_rows)
        for batch in source.iter_batches(_ROWS_AT_A_TIME):
            for row in batch.to_pylist():
                number += 1
                yield number, {name: as_json(value) for name, value in row.items()}
            position = log.size * number // rows
            read(position - told)
            told = position
    except (pa.ArrowException, OSError) as error:
        raise _damaged(log, error) from error
    read(log.size - told)
    log.check_unchanged()


def as_json(value: Any) -> Any:  # noqa: ANN401 (whatever a table holds)
    """Return a value of a table as JSON would have it: times in ISO 8601, missing numbers as None."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00Z"
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value


def _damaged(log: LogFile, error: Exception) -> InvalidDataError:
    return InvalidDataError(f"{log.name} is no Parquet file that can be read: {str(error).splitlines()[0]}")
