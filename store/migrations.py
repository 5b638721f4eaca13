"""The schema, as the ordered changes that made it: the files of `schema/`.

A migration that has shipped never changes; a new need adds a file. Each runs in one transaction together with
the row that records it, so a database is always at exactly one version.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import duckdb

from store.errors import InvalidDataError


class Migration(NamedTuple):
    """One change of the schema. Numbers are consecutive, from 1."""

    number: int
    name: str
    sql: str


def _shipped() -> Iterator[Migration]:
    for file in sorted((Path(__file__).parent / "schema").glob("*.sql")):
        number, _, name = file.stem.partition("_")
        yield Migration(int(number), name, file.read_text(encoding="utf-8"))


MIGRATIONS = tuple(_shipped())


def current_version(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the number of the last migration applied; 0 for an empty database."""
    known = connection.execute(
        "SELECT count(*) FROM information_schema.tables WHERE table_name = 'migrations'"
    ).fetchall()
    if not known[0][0]:
        return 0
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchall()[0][0])


def migrate(connection: duckdb.DuckDBPyConnection, file: str) -> None:
    """Bring the database to the newest version, one recorded transaction a migration.

    Raises:
        InvalidDataError: a newer uncited wrote `file`.
    """
    version = current_version(connection)
    newest = MIGRATIONS[-1].number
    if version > newest:
        raise InvalidDataError(
            f"{file} was written by a newer uncited (schema {version}; this one knows {newest})",
            hint="pip install --upgrade uncited",
        )
    for migration in MIGRATIONS[version:]:
        connection.execute("BEGIN")
        try:
            if migration.number == 1:
                connection.execute(
                    "CREATE TABLE migrations"
                    " (number INTEGER PRIMARY KEY, name VARCHAR NOT NULL, applied_at TIMESTAMPTZ NOT NULL)"
                )
            connection.execute(migration.sql)
            connection.execute(
                "INSERT INTO migrations VALUES (?, ?, ?)",
                [migration.number, migration.name, datetime.now(UTC)],
            )
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
