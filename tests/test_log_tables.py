from pathlib import Path

import duckdb
import pytest

from store import migrations
from store.database import Store
from store.interactions import Interaction, Retrieved, add_interactions

_TABLES = ("anchors", "chunks", "chunk_names", "interactions", "retrievals", "signals")


def _add(store: Store, query: str, *texts: str) -> tuple[int, ...]:
    retrieved = tuple(Retrieved(text[:2], rank, text) for rank, text in enumerate(texts, 1))
    with store.transaction():
        return tuple(add_interactions(store, [Interaction(query, retrieved, (), 1)], import_id="test"))


def test_rows_of_logs_stay_apart_though_their_tables_have_no_keys(store: Store) -> None:
    assert _add(store, "q", "one", "two") == (1, 0, 2, 2)
    assert _add(store, "r", "two", "three", "two") == (1, 0, 1, 3)
    assert _add(store, "q", "one", "two") == (0, 1, 0, 0)
    assert [store.count(f"SELECT count(*) FROM {table}") for table in _TABLES] == [2, 3, 3, 2, 5, 0]


def test_a_database_from_before_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "uncited.duckdb"
    with monkeypatch.context() as earlier:
        earlier.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:13])
        with Store(file) as store:
            store.execute("INSERT INTO chunks VALUES ('chunk_1', 'a text', 'code')")
            store.execute("INSERT INTO chunk_names VALUES ('c1', 'chunk_1', NULL, 'a title')")
            store.execute("INSERT INTO retrievals VALUES ('interaction_1', 3, 'chunk_1', 'c1', 0.5)")
    with Store(file) as store:
        assert store.rows("FROM chunks") == [{"chunk_id": "chunk_1", "text": "a text", "kind": "code"}]
        assert store.rows("SELECT title, document FROM chunk_names") == [{"title": "a title", "document": None}]
        assert [tuple(row.values()) for row in store.rows("FROM retrievals")] == [
            ("interaction_1", 3, "chunk_1", "c1", 0.5)
        ]
        with pytest.raises(duckdb.ConstraintException):
            store.execute("INSERT INTO chunks VALUES ('chunk_2', NULL, 'text')")
