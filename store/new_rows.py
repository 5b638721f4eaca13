"""Add to a table without keys the rows that it does not hold yet, batch after batch.

An index on millions of rows takes longer than all else that an import does, and without one every batch has to be held
against the whole table. So a hash of each key is kept beside the table for as long as batches come: 16 bytes, a tenth
of what ids and names take, are read a tenth as long.
"""

import contextlib
from collections.abc import Callable, Generator

import duckdb
import pyarrow as pa

from store.database import Store

AddNew = Callable[[pa.Table], int]


@contextlib.contextmanager
def adding_new(store: Store, table: str, *key: str) -> Generator[AddNew]:
    """Offer a function that adds those rows whose key `table` does not hold, and returns how many they were.

    Of rows that share a key the first is added. Nothing else may add to the table meanwhile.

    Args:
        store: holds the table; in a transaction.
        table: where to.
        key: its columns.
    """
    parts = ", ".join(f"length({column}), {column}" for column in key)  # so that no two keys make one text
    hashed = f"md5_number(concat_ws(' ', {parts}))"
    store.execute(f"CREATE TEMP TABLE keys_of_{table} AS SELECT {hashed} AS key FROM {table}")

    def add(rows: pa.Table) -> int:
        # DuckDB finds `asked` and `new` by the names of the variables.
        asked = rows.select(list(key)).append_column("place", pa.arange(0, len(rows)))  # noqa: F841
        places = store.connection.sql(
            f"""
            SELECT min(place) AS place FROM (SELECT {hashed} AS key, place FROM asked)
            ANTI JOIN keys_of_{table} USING (key) GROUP BY key ORDER BY place
            """
        ).to_arrow_table()
        new = rows.take(places["place"])
        store.connection.execute(f"INSERT INTO keys_of_{table} SELECT {hashed} FROM new").fetchall()
        store.append(table, new)
        return int(new.num_rows)

    try:
        yield add
    finally:
        with contextlib.suppress(duckdb.Error):  # in an aborted transaction, which takes the table back anyway
            store.execute(f"DROP TABLE keys_of_{table}")
