"""Erasure: what was forgotten leaves the file too.

A row that is deleted, or a text that is overwritten, stays in the file until DuckDB happens to use its block again. So
the file is written anew from what is left, and takes the place of the old one.
"""

import os
from pathlib import Path

import duckdb

from store.database import Store
from store.errors import UsageError
from store.progress import Progress, silent


def erasure_pending(store: Store) -> bool:
    """Tell whether something was forgotten whose bytes may still be in the file."""
    return bool(store.scalar("SELECT 1 FROM forgotten WHERE erased_at IS NULL LIMIT 1"))


def erase(path: Path, progress: Progress = silent) -> None:
    """Write a database anew from its rows and put it in place of the old one, so that no freed block is left.

    Until the last moment the old file stays as it is, and nobody else can write to it. No store may have it open.

    Raises:
        UsageError: there is no room for a second file, or it cannot be written.
        ProviderError: another process has the file open.
    """
    fresh = path.with_name(f".{path.name}.new")
    beside = [fresh, Path(f"{fresh}.wal")]
    for leftover in beside:
        leftover.unlink(missing_ok=True)
    with Store(path) as store:
        store.execute("FORCE CHECKPOINT")
    try:
        Store(fresh).close()
        with duckdb.connect(":memory:", config={"temp_directory": f"{fresh}.tmp"}) as connection:
            connection.execute(f"ATTACH '{_quoted(path)}' AS old (READ_ONLY); ATTACH '{_quoted(fresh)}' AS fresh")
            _copy(connection, progress)
            connection.execute("FORCE CHECKPOINT fresh; DETACH fresh")
            with fresh.open("rb") as written:
                os.fsync(written.fileno())
            os.replace(fresh, path)
    except (OSError, duckdb.Error) as error:
        raise UsageError(
            f"what is forgotten is out of every table, but {path} could not be written anew: {error}",
            hint="uncited forget   # once there is room for a second file of that size",
        ) from error
    finally:
        for leftover in beside:
            leftover.unlink(missing_ok=True)


def _copy(connection: duckdb.DuckDBPyConnection, progress: Progress) -> None:
    tables = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = 'fresh' ORDER BY table_name"
    ).fetchall()
    progress.start("Writing the file anew", len(tables))
    for (table,) in tables:
        connection.execute(f"DELETE FROM fresh.{table}; INSERT INTO fresh.{table} BY NAME FROM old.{table}")
        progress.advance()
    connection.execute("UPDATE fresh.forgotten SET erased_at = now() WHERE erased_at IS NULL")


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
