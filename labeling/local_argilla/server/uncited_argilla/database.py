"""Connections of the search engine to the server's database and to the search index."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from . import text_index

_T = TypeVar("_T")
_READERS = 4
_WAIT_S = 60  # for another connection's write lock, before SQLite says "database is locked"


class SearchDatabase:
    """Runs functions of a connection in threads: several readers at once, one writer.

    Every connection has the server's database as `main`, which is only read here, and the index as `search`.
    """

    def __init__(self, server_database: Path, index: Path) -> None:
        self._server_database = server_database
        self._index = index
        self._connections = threading.local()
        self._reconciled: set[str] = set()
        self._readers = ThreadPoolExecutor(_READERS, "search-read")
        self._writer = ThreadPoolExecutor(1, "search-write")

    async def read(self, dataset_id: str, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work` on a connection that sees everything the server has committed, the index included."""
        if dataset_id not in self._reconciled:
            await self.write(lambda connection: text_index.reconcile(connection, dataset_id))
            self._reconciled.add(dataset_id)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: work(self._connection()))

    async def write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work` in one transaction on the index."""

        def in_transaction() -> _T:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
            except BaseException:
                connection.rollback()
                raise
            connection.commit()
            return result

        return await asyncio.get_running_loop().run_in_executor(self._writer, in_transaction)

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._connections, "connection", None)
        if connection is None:
            # Read-only, since BEGIN IMMEDIATE locks every database that could be written to.
            main = f"{self._server_database.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(main, uri=True, timeout=_WAIT_S, isolation_level=None)
            connection.execute("ATTACH ? AS search", [str(self._index)])
            connection.execute("PRAGMA search.journal_mode = WAL")
            connection.execute("PRAGMA search.synchronous = NORMAL")  # it can be made again
            connection.execute("PRAGMA main.cache_size = -32000")  # KiB
            text_index.prepare(connection)
            self._connections.connection = connection
        return connection
