"""The text of every record, in FTS5 tables, one a dataset, in a database file of their own (attached as `search`).

Everything here can be made again from the server's database (`main`), so the file may be deleted at any time. A file
of its own means that writing the index never waits for a reviewer's submit, nor the other way round.

`search.docs` numbers the indexed versions of records: a record that changes gets a new, higher number. That number is
the row of its text, and tells the vector cache (vectors.py) what has changed since it last looked.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .query_language import Boolean, Node, Not, Term, leaves, parse, separate_unspaced, to_fts5, within_edits
from .visible_text import visible_text

_TABLES = (
    "CREATE TABLE IF NOT EXISTS search.docs (doc INTEGER PRIMARY KEY AUTOINCREMENT, record_id TEXT NOT NULL UNIQUE, "
    "dataset_id TEXT NOT NULL, updated_at TEXT, digest INTEGER NOT NULL)",
    "CREATE INDEX IF NOT EXISTS search.docs_of_dataset ON docs (dataset_id, doc)",
    "CREATE TABLE IF NOT EXISTS search.deletions (dataset_id TEXT PRIMARY KEY, count INTEGER NOT NULL)",
)
_BATCH = 500
_MAX_EXPANSIONS = 10  # words that a fuzzy term may stand for, as in Argilla's own query


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL with the values for its question marks."""

    text: str
    values: tuple[Any, ...] = ()


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables that all datasets share."""
    for statement in _TABLES:
        connection.execute(statement)


def table(dataset_id: str) -> str:
    """Name the FTS5 table of a dataset; `dataset_id` is 32 hexadecimal digits."""
    return f"text_{int(dataset_id, 16):032x}"


def create(connection: sqlite3.Connection, dataset_id: str) -> None:
    """Make the dataset's table if it is not there."""
    columns = ", ".join(column for column, _ in _columns(connection, dataset_id)) or "nothing"
    name = table(dataset_id)
    connection.execute(
        f"CREATE VIRTUAL TABLE IF NOT EXISTS search.{name} "
        f"USING fts5({columns}, tokenize = 'unicode61 remove_diacritics 0')"
    )
    connection.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS search.words_{name} USING fts5vocab({name}, row)")


def drop(connection: sqlite3.Connection, dataset_id: str) -> None:
    """Forget the dataset."""
    name = table(dataset_id)
    connection.execute(f"DROP TABLE IF EXISTS search.words_{name}")
    connection.execute(f"DROP TABLE IF EXISTS search.{name}")
    connection.execute("DELETE FROM search.docs WHERE dataset_id = ?", [dataset_id])
    connection.execute("DELETE FROM search.deletions WHERE dataset_id = ?", [dataset_id])


def put(connection: sqlite3.Connection, dataset_id: str, record_ids: Iterable[str]) -> None:
    """Index these records as the database now has them; the caller commits."""
    create(connection, dataset_id)
    columns = _columns(connection, dataset_id)
    names = ", ".join(column for column, _ in columns)
    marks = ", ".join("?" * (len(columns) + 1))
    for batch in _batches(record_ids):
        _forget(connection, dataset_id, batch)
        rows = connection.execute(
            f"SELECT id, fields, updated_at FROM main.records WHERE id IN ({_marks(batch)}) ORDER BY rowid", batch
        ).fetchall()
        for record_id, fields_json, updated_at in rows:
            doc = connection.execute(
                "INSERT INTO search.docs (record_id, dataset_id, updated_at, digest) VALUES (?, ?, ?, ?)",
                (record_id, dataset_id, updated_at, _digest(fields_json)),
            ).lastrowid
            fields = json.loads(fields_json)
            texts = [separate_unspaced(visible_text(fields.get(name))) for _, name in columns]
            if columns:
                connection.execute(
                    f"INSERT INTO search.{table(dataset_id)} (rowid, {names}) VALUES ({marks})", (doc, *texts)
                )


def remove(connection: sqlite3.Connection, dataset_id: str, record_ids: Iterable[str]) -> None:
    """Take deleted records out; the caller commits."""
    create(connection, dataset_id)
    for batch in _batches(record_ids):
        _forget(connection, dataset_id, batch)
    connection.execute(
        "INSERT INTO search.deletions VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1", [dataset_id]
    )


def reconcile(connection: sqlite3.Connection, dataset_id: str) -> None:
    """Bring the index up to what the database holds: a server that was killed may not have come to it."""
    create(connection, dataset_id)
    changed = connection.execute(
        "SELECT r.id, r.fields, r.updated_at, d.digest FROM main.records r "
        "LEFT JOIN search.docs d ON d.record_id = r.id "
        "WHERE r.dataset_id = ? AND (d.doc IS NULL OR d.updated_at IS NOT r.updated_at)",
        [dataset_id],
    ).fetchall()
    put(connection, dataset_id, [row[0] for row in changed if row[3] != _digest(row[1])])
    connection.executemany(
        "UPDATE search.docs SET updated_at = ? WHERE record_id = ?", [(row[2], row[0]) for row in changed]
    )
    gone = connection.execute(
        "SELECT record_id FROM search.docs WHERE dataset_id = ? AND record_id NOT IN (SELECT id FROM main.records)",
        [dataset_id],
    ).fetchall()
    if gone:
        remove(connection, dataset_id, [record_id for (record_id,) in gone])


def version(connection: sqlite3.Connection, dataset_id: str) -> tuple[int, int]:
    """Return (number of the newest indexed record, how often records were deleted)."""
    newest = connection.execute("SELECT max(doc) FROM search.docs WHERE dataset_id = ?", [dataset_id]).fetchone()
    deletions = connection.execute("SELECT count FROM search.deletions WHERE dataset_id = ?", [dataset_id]).fetchone()
    return newest[0] or 0, deletions[0] if deletions else 0


def hits(connection: sqlite3.Connection, dataset_id: str, query: str, field: str | None) -> Sql:
    """Render a text query as a SELECT of (id, score) of the matching records; the best score is the highest."""
    columns = {name: column for column, name in _columns(connection, dataset_id)}
    if field is not None and field not in columns:
        return Sql("SELECT NULL AS id, NULL AS score WHERE 0")
    node = parse(query)
    if node is None or not columns:
        return Sql("SELECT NULL AS id, NULL AS score WHERE 0")
    return _Rendering(connection, table(dataset_id), columns[field] if field else None).hits(node, dataset_id)


class _Rendering:
    """A parsed query as SQL over one FTS5 table."""

    def __init__(self, connection: sqlite3.Connection, name: str, column: str | None) -> None:
        self._connection = connection
        self._name = name
        self._column = column

    def hits(self, node: Node, dataset_id: str) -> Sql:
        name = self._name
        expression = self._expression(node)
        if expression is not None:
            return Sql(
                f"SELECT d.record_id AS id, -bm25({name}) AS score FROM search.{name} "
                f"CROSS JOIN search.docs d ON d.doc = {name}.rowid WHERE {name} MATCH ?",
                (expression,),
            )
        # FTS5 has no "everything but": combine what it can answer with SQL, and score by the terms that are wanted.
        wanted = " OR ".join(self._term(term) for term in leaves(node)) or '""'
        condition = self._condition(node)
        return Sql(
            f"SELECT d.record_id AS id, coalesce(s.score, 0) + 1 AS score FROM search.docs d LEFT JOIN "
            f"(SELECT rowid AS doc, -bm25({name}) AS score FROM search.{name} WHERE {name} MATCH ? LIMIT -1) s "
            f"ON s.doc = d.doc WHERE d.dataset_id = ? AND {condition.text}",
            (wanted, dataset_id, *condition.values),
        )

    def _expression(self, node: Node) -> str | None:
        """Render as FTS5 alone, where FTS5 can say it."""
        if isinstance(node, Term):
            return self._term(node)
        if isinstance(node, Not):
            return None
        wanted = [self._expression(c) for c in node.children if not isinstance(c, Not)]
        unwanted = [self._expression(c.child) for c in node.children if isinstance(c, Not)]
        if None in wanted or None in unwanted or not wanted or (unwanted and node.operator == "OR"):
            return None
        text = f" {node.operator} ".join(str(part) for part in wanted)
        return f"(({text}) NOT ({' OR '.join(str(part) for part in unwanted)}))" if unwanted else f"({text})"

    def _condition(self, node: Node) -> Sql:
        expression = self._expression(node)
        if expression is not None:
            name = self._name
            return Sql(f"d.doc IN (SELECT rowid FROM search.{name} WHERE {name} MATCH ?)", (expression,))
        if isinstance(node, Not):
            inner = self._condition(node.child)
            return Sql(f"NOT {inner.text}", inner.values)
        assert isinstance(node, Boolean), "a term can always be said in FTS5"
        parts = [self._condition(child) for child in node.children]
        text = f" {node.operator} ".join(part.text for part in parts)
        return Sql(f"({text})", tuple(value for part in parts for value in part.values))

    def _term(self, term: Term) -> str:
        return to_fts5(term, self._column, self._similar_words(term) if term.fuzziness else None)

    def _similar_words(self, term: Term) -> list[str]:
        word = term.text.lower()
        edits = min(term.fuzziness, 2)
        rows = self._connection.execute(
            f"SELECT term FROM search.words_{self._name} WHERE length(term) BETWEEN ? AND ? ORDER BY doc DESC",
            (len(word) - edits, len(word) + edits),
        )
        near = [other for (other,) in rows if within_edits(word, other, edits)]
        return sorted(near, key=lambda other: other != word)[:_MAX_EXPANSIONS]


def _columns(connection: sqlite3.Connection, dataset_id: str) -> list[tuple[str, str]]:
    """List (column, field name) of the fields that hold text."""
    rows = connection.execute(
        "SELECT id, name, json_extract(settings, '$.type') FROM main.fields WHERE dataset_id = ? ORDER BY rowid",
        [dataset_id],
    )
    return [(f"f_{field_id}", name) for field_id, name, kind in rows if kind != "image"]


def _forget(connection: sqlite3.Connection, dataset_id: str, record_ids: Sequence[str]) -> None:
    docs = connection.execute(
        f"SELECT doc FROM search.docs WHERE record_id IN ({_marks(record_ids)})", record_ids
    ).fetchall()
    connection.executemany(f"DELETE FROM search.{table(dataset_id)} WHERE rowid = ?", docs)
    connection.executemany("DELETE FROM search.docs WHERE doc = ?", docs)


def _digest(fields_json: str) -> int:
    return zlib.crc32(fields_json.encode())


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def _batches(values: Iterable[str]) -> Iterable[list[str]]:
    everything = list(values)
    return (everything[start : start + _BATCH] for start in range(0, len(everything), _BATCH))
