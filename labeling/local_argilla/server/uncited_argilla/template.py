# mypy: ignore-errors
# (argilla-server is installed only in the server's own environment, so its types cannot be seen here.)
"""Make an empty database, as `python -m uncited_argilla.template FILE`: migrations are slow, a copy is not."""

import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path


def make(path: Path) -> None:
    """Migrate a new database to the newest schema."""
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {
            "ARGILLA_HOME_PATH": home,
            "ARGILLA_DATABASE_URL": f"sqlite+aiosqlite:///{path}",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        from argilla_server.cli.database.migrate import migrate_db

        migrate_db("head")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # kept in the file


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve())
