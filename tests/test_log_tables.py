import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import migrations
from store.database import Store
from store.interactions import Interaction, Retrieved, add_interactions
from store.new_rows import adding_new

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


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(st.tuples(st.sampled_from(["a", "a b", "b"]), st.sampled_from(["c", "b c", ""])))))
def test_batch_after_batch_the_first_row_of_each_key_is_added(batches: list[list[tuple[str, str]]]) -> None:
    number = itertools.count()
    with TemporaryDirectory() as folder, Store(Path(folder) / "uncited.duckdb") as store:
        expected: dict[tuple[str, str], str] = {("a", "chunk_1"): "from before"}
        store.execute("INSERT INTO chunk_names VALUES ('a', 'chunk_1', 'from before', NULL)")
        with store.transaction(), adding_new(store, "chunk_names", "external_id", "chunk_id") as add:
            for batch in [[("a", "chunk_1")], *batches]:
                rows = [(*key, str(next(number)), None) for key in batch]
                new = {key: row[2] for key, row in reversed(list(zip(batch, rows, strict=True))) if key not in expected}
                columns = zip(*rows, strict=True) if rows else [[], [], [], []]
                names = ("external_id", "chunk_id", "document", "title")
                arrays = {name: pa.array(list(c), pa.string()) for name, c in zip(names, columns, strict=True)}
                assert add(pa.table(arrays)) == len(new)
                expected |= new
        found = {(row["external_id"], row["chunk_id"]): row["document"] for row in store.rows("FROM chunk_names")}
        assert found == expected
        assert store.count("SELECT count(*) FROM chunk_names") == len(expected)


def test_what_fails_in_the_middle_leaves_nothing_and_the_next_one_begins_anew(store: Store) -> None:
    def fail(sql: str) -> None:
        with store.transaction(), adding_new(store, "chunks", "chunk_id") as add:
            assert add(pa.table({"chunk_id": ["chunk_1"], "text": ["one"], "kind": ["text"]})) == 1
            store.execute(sql)
            raise InterruptedError

    for _ in range(2):
        with pytest.raises(InterruptedError):
            fail("SELECT 1")
        with pytest.raises(duckdb.ConversionException):
            fail("SELECT 'x'::INTEGER")
    assert not store.count("SELECT count(*) FROM chunks")
    assert _add(store, "q", "one") == (1, 0, 1, 1)


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


def test_a_database_from_before_pairs_had_no_keys_keeps_what_was_mined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "uncited.duckdb"
    tables = ("chunks", "pairs", "candidates")
    with monkeypatch.context() as earlier:
        earlier.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:19])
        with Store(file) as store:
            store.execute("INSERT INTO chunks VALUES ('chunk_1', 'Zürich\nツ', 'text'), ('chunk_2', '', 'code')")
            store.execute(
                "INSERT INTO pairs VALUES ('pair_1', 'anchor_1', 'chunk_1'), ('pair_2', 'anchor_1', 'chunk_2')"
            )
            store.execute(
                """
                INSERT INTO candidates (policy_name, pair_id, source, interaction_id, proposed, rank, score,
                                        duplicate_of, similarity, search_id, too_close)
                VALUES ('p', 'pair_1', 'cited', 'interaction_1', 'positive', 2, 0.5, NULL, NULL, NULL, NULL),
                       ('p', 'pair_2', 'uncited', 'interaction_1', 'negative', 3, 0.4, 'chunk_1', 0.9, NULL, NULL),
                       ('p', 'pair_2', 'dense', '', 'negative', NULL, 0.7, NULL, NULL, 'search_1', 'max_score')
                """
            )
            before = {table: store.rows(f"FROM {table} ORDER BY ALL") for table in tables}
            summary = store.rows("FROM candidate_pairs ORDER BY pair_id")
    with Store(file) as store:
        for table, rows in before.items():
            assert rows
            assert store.rows(f"SELECT {', '.join(rows[0])} FROM {table} ORDER BY ALL") == rows
        assert store.rows(f"SELECT {', '.join(summary[0])} FROM candidate_pairs ORDER BY pair_id") == summary
        with pytest.raises(duckdb.ConstraintException):
            store.execute("INSERT INTO pairs VALUES ('pair_3', NULL, 'chunk_1')")
