"""One DuckDB file, opened by one process at a time."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa

from store.errors import InvalidDataError, ProviderError
from store.migrations import migrate

# Extensions are downloaded at run time; a labelling tool has no business doing so behind the user's back.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "checkpoint_threshold": "256MB",  # 16 by default; each one writes the last 120,000 rows of a table once more
    "write_buffer_row_group_count": 1,  # 5 by default, which is half a gigabyte of texts
}


class Store:
    """An open database. Use it as a context manager; everything else in `store/` takes one.

    The other modules hold the SQL of one noun each and reach the database through `rows`, `table`, `insert` and
    `transaction` only.
    """

    def __init__(self, path: Path) -> None:
        """Open `path`, make it if it is missing, and bring its schema up to date.

        Raises:
            ProviderError: another process holds the file.
            InvalidDataError: the file is not a database, is damaged, or a newer uncited wrote it.
            KeyboardInterrupt: Ctrl-C, whatever DuckDB calls it.
        """
        self.path = path
        self._in_transaction = False
        try:
            self.connection = duckdb.connect(str(path), config=_CONFIG)
        except duckdb.Error as error:
            raise _explain(error, path) from error
        try:
            self.connection.execute("SET TimeZone = 'UTC'")
            self.connection.execute("SET enable_progress_bar = false")  # it would draw into the output of --json
            migrate(self.connection, str(path))
        except BaseException as error:
            self.connection.close()
            _raise_by_its_name(error, path)
            raise

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file.

        Raises:
            InvalidDataError: what ended the block is that the file is damaged.
            KeyboardInterrupt: it is Ctrl-C in the middle of a query, which DuckDB calls something else.
        """
        self.close()
        if error is not None:
            _raise_by_its_name(error, self.path)

    def close(self) -> None:
        """Write what is pending and let other processes at the file."""
        self.connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all writes inside happen together or not at all.

        DuckDB knows no nested transactions, so nesting is refused rather than silently joined.

        Raises:
            RuntimeError: a transaction is already open.
        """
        if self._in_transaction:
            raise RuntimeError("transactions do not nest")
        self.connection.execute("BEGIN")
        self._in_transaction = True
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(duckdb.Error):  # a failed COMMIT has already rolled back
                self.connection.execute("ROLLBACK")
            raise
        finally:
            self._in_transaction = False

    def let_go_of_memory(self, keep_mib: int) -> None:
        """Have DuckDB drop what it holds in memory beyond `keep_mib`, where it does not need it just now.

        By itself it keeps what it has read and written until 80 % of the machine's memory is full. A lasting limit
        would be simpler, and fail where a few texts are larger than it.
        """
        with self.connection.cursor() as beside:  # what fails there leaves the transaction here as it is
            with contextlib.suppress(duckdb.OutOfMemoryException):
                beside.execute(f"SET memory_limit = '{keep_mib} MiB'")
            beside.execute("RESET memory_limit")

    def execute(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> None:
        """Run a statement whose result nobody reads."""
        self.connection.execute(sql, parameters).fetchall()

    def table(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> pa.Table:
        """Return the result of a query as an Arrow table (the way to read many rows)."""
        return self.connection.sql(sql, params=parameters).to_arrow_table()

    def batches(
        self, sql: str, parameters: Sequence[object] | Mapping[str, object] = (), *, rows: int = 16_384
    ) -> Iterator[pa.RecordBatch]:
        """Yield the result of a query piece by piece, for what does not fit into memory as a whole.

        Ask the store nothing else until the last piece has been read.
        """
        yield from self.connection.sql(sql, params=parameters).to_arrow_reader(rows)

    def rows(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> list[dict[str, object]]:
        """Return the result of a query as one dict a row (for hundreds, not millions, of rows)."""
        rows: list[dict[str, object]] = self.table(sql, parameters).to_pylist()
        return rows

    def scalar(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> object:
        """Return the first column of the first row, or None when there is no row."""
        rows = self.connection.execute(sql, parameters).fetchall()
        return rows[0][0] if rows else None

    def count(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> int:
        """Return a query's single whole number."""
        value = self.scalar(sql, parameters)
        assert isinstance(value, int)
        return value

    def insert(self, table: str, incoming: pa.Table, *, replace: bool = False) -> int:
        """Add the rows of `incoming` to `table` by column name; return how many were written.

        A row whose key is there already is left as it is, or with `replace` takes its place. Of rows of one call
        that share a key, the first wins (DuckDB's rule), so dedupe where that matters.
        """
        return self._written("INSERT OR REPLACE" if replace else "INSERT OR IGNORE", table, incoming)

    def append(self, table: str, incoming: pa.Table) -> None:
        """Add the rows of `incoming` to a table that has no key."""
        self._written("INSERT", table, incoming)

    def _written(self, verb: str, table: str, incoming: pa.Table) -> int:
        if not incoming.num_rows:
            return 0
        columns = ", ".join(incoming.column_names)
        # DuckDB finds `incoming` by the name of the variable. A view of it (`view_of`) would be kept in memory,
        # rows and all, until the transaction ends.
        written = self.connection.execute(f"{verb} INTO {table} ({columns}) SELECT {columns} FROM incoming")
        ((rows,),) = written.fetchall()
        return int(rows)

    @contextlib.contextmanager
    def view_of(self, name: str, rows: pa.Table) -> Iterator[None]:
        """Let queries read `rows` as a table called `name` for the length of the block."""
        self.connection.register(name, rows)
        try:
            yield
        finally:
            with contextlib.suppress(duckdb.Error):  # in an aborted transaction, where the first error matters
                self.connection.unregister(name)


def _raise_by_its_name(error: BaseException, path: Path) -> None:
    """Raise what DuckDB words in its own way as what it is; return where `error` is neither Ctrl-C nor damage."""
    if _is_interrupt(error):
        raise KeyboardInterrupt from error
    if is_damage(error):
        raise _damaged(error, path) from error


def _is_interrupt(error: BaseException) -> bool:
    # A query that `sql` runs raises a plain RuntimeError, one that `execute` runs an InterruptException.
    return isinstance(error, duckdb.InterruptException) or (
        isinstance(error, RuntimeError) and str(error) == "Query interrupted"
    )


def is_damage(error: BaseException) -> bool:
    """Tell whether an error says that blocks of the file are not what was written."""
    return isinstance(error, duckdb.Error) and any(words in str(error) for words in _DAMAGE)


_DAMAGE = ("Corrupt database file", "Could not read enough bytes", "checksum", "replaying WAL")


def _damaged(error: BaseException, path: Path) -> InvalidDataError:
    return InvalidDataError(
        f"{path} is damaged: {str(error).splitlines()[0]}",
        hint="uncited verify   # says which tables can still be read; then go back to a copy of the file",
    )


def _explain(error: duckdb.Error, path: Path) -> Exception:
    """Turn DuckDB's complaint on opening `path` into what happened and what to do."""
    text = str(error)
    if is_damage(error):
        return InvalidDataError(f"{path} is damaged and cannot be opened: {text}", hint="go back to a copy of the file")
    if "lock" in text.lower():
        process = re.search(r"\((?:PID|pid)\s+(\d+)\)", text)
        holder = _describe_process(process.group(1)) if process else "another process"
        return ProviderError(f"{path} is in use by {holder}", hint="wait until that command ends, or stop it")
    if "serialization" in text.lower() or "version number" in text.lower():
        return InvalidDataError(f"{path} was written by a newer DuckDB: {text}", hint="pip install --upgrade duckdb")
    if "not a valid DuckDB database" in text:
        return InvalidDataError(f"{path} is not a DuckDB database", hint="uncited init NEW_DIR")
    return InvalidDataError(f"{path} cannot be opened: {text}")


def _describe_process(process_id: str) -> str:
    """Name a process by its command line where the system tells it."""
    try:
        words = Path(f"/proc/{process_id}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return f"process {process_id}"
    return f"process {process_id} ({' '.join(words.split(chr(0))).strip()[:120]})"
