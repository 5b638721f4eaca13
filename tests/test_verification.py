import contextlib
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.judge import judge_candidates
from labeling.policies import load_policy
from mining.candidates import mine
from mining.import_log import import_files
from store.audit_draws import draw_audit
from store.database import Store
from store.errors import InvalidDataError
from store.policies import Policy, add_policy
from store.reviews import Review, add_reviews, carry_reviews
from store.verification import Problem, verify
from store.verification.evidence_hashes import check_imports
from store.verification.labels import Answer, settle
from store.verification.references import references
from store.workspace import JudgeSettings, create_workspace
from tests.judge_stub import labelled, serving
from tests.reviewing import POLICY as BAKERY
from tests.test_cli import run
from tests.test_lineage import bakery_answers, write_log
from tests.test_real_logs import POLICY
from train.triplets import build


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that has some of everything: logs, judgments, reviews, an audit, a build."""
    root = tmp_path_factory.mktemp("verified")
    write_log(root / "log.jsonl")
    with create_workspace(root / "w").open() as store:
        import_files(store, [root / "log.jsonl"])
        policy, _ = add_policy(store, BAKERY)
        mine(store, policy)
        with serving(lambda call: labelled("related", quote=call.texts["candidate"][:20])) as stub:
            judge_candidates(store, policy, JudgeSettings(model="stub", base_url=stub.url), {})
        draw_audit(store, policy, 3)
        add_reviews(store, list(bakery_answers(policy)))
        build(store, policy, test_share=0.34)
    return root


@pytest.fixture
def database(template: Path, tmp_path: Path) -> Path:
    """The database file of a copy of it."""
    shutil.copytree(template / "w", tmp_path / "w")
    return tmp_path / "w" / "uncited.duckdb"


def problems(database: Path) -> list[Problem]:
    with Store(database) as store:
        return list(verify(store).problems)


def test_nothing_is_wrong_with_what_the_tool_wrote(database: Path) -> None:
    assert problems(database) == []
    shown = run("verify", cwd=database.parent).stdout
    assert "nothing is wrong" in shown


@pytest.mark.parametrize(
    ("corrupt", "table"),
    [
        ("UPDATE chunks SET text = text || '!' WHERE chunk_id = (SELECT min(chunk_id) FROM chunks)", "chunks"),
        ("UPDATE anchors SET text = replace(text, 'a', 'e')", "anchors"),
        ("UPDATE interactions SET answer = 'other' WHERE line = 1", "interactions"),
        ("UPDATE retrievals SET score = 1.0 WHERE rank = 2", "interactions"),
        ("UPDATE signals SET value = 2", "interactions"),
        ("DELETE FROM signals WHERE rowid = (SELECT min(rowid) FROM signals)", "interactions"),
        ("UPDATE judges SET config = replace(config::VARCHAR, 'stub', 'stab')", "judges"),
        ("UPDATE judgments SET quote = 'Q'", "judgments"),
        ("UPDATE judgments SET label = 'answers'", "judgments"),
        ("UPDATE reviews SET label = 'unrelated' WHERE label = 'related'", "reviews"),
        ("UPDATE policies SET body = replace(body::VARCHAR, 'positive', 'negative')", "policies"),
        ("UPDATE policies SET body = replace(body::VARCHAR, 'section', 'sextion')", "policies"),
        ("UPDATE policies SET body = '{}'", "policies"),
        ("UPDATE builds SET settings = json_merge_patch(settings, '{\"seed\": 7}')", "builds"),
        ("UPDATE build_labels SET role = 'negative'", "builds"),
        ("DELETE FROM triplets WHERE split = 'test'", "builds"),
        ("UPDATE triplets SET negative_id = positive_id", "triplets"),
        ("UPDATE triplets SET positive_id = negative_id", "triplets"),
        ("DELETE FROM pairs", "candidates"),
        ("DELETE FROM interactions WHERE line = 2", "retrievals"),
        ("DELETE FROM judges", "judgments"),
        ("DELETE FROM imports", "interactions"),
        ("UPDATE imports SET file_hash = 'other'", "imports"),
        (
            "UPDATE audit_pairs SET pair_id = 'pair_other' WHERE rowid = 1",
            "audits",
        ),
        ("UPDATE reviews SET pair_id = 'pair_0'", "reviews"),
        ("INSERT INTO chunks FROM chunks", "chunks"),
    ],
)
def test_whatever_is_changed_in_a_row_is_named_with_its_table(database: Path, corrupt: str, table: str) -> None:
    with duckdb.connect(str(database)) as connection:
        connection.execute(corrupt)
    found = problems(database)
    assert table in {problem.table for problem in found}
    assert all(problem.row and problem.expected != problem.found for problem in found)


def test_the_place_the_expected_and_the_found_are_said_and_the_status_is_that_of_invalid_data(database: Path) -> None:
    with duckdb.connect(str(database)) as connection:
        connection.execute("UPDATE chunks SET text = 'changed' WHERE chunk_id = (SELECT min(chunk_id) FROM chunks)")
        (chunk,) = connection.execute("SELECT min(chunk_id) FROM chunks").fetchone()
    done = run("verify", "--json", cwd=database.parent, status=5)
    assert "1 things are not as they should be" in done.stderr
    (problem,) = json.loads(done.stdout)["problems"]
    assert (problem["table"], problem["row"], problem["found"]) == ("chunks", chunk, chunk)
    assert problem["expected"].startswith("chunk_")


def test_a_view_that_says_something_else_than_the_evidence_is_found(database: Path) -> None:
    with duckdb.connect(str(database)) as connection:
        connection.execute("DROP VIEW human_labels")
        connection.execute(
            "CREATE VIEW human_labels AS SELECT pair_id, labelling_fingerprint, 'answers' AS majority,"
            " 'answers' AS strict, 'answers' AS adjudicated FROM votes"
        )
    assert "human_labels" in {problem.table for problem in problems(database)}


def test_a_build_tells_when_its_labels_were_changed_later_and_finds_one_changed_in_secret(database: Path) -> None:
    with Store(database) as store:
        policy = store.rows("SELECT labelling_fingerprint FROM policies")[0]["labelling_fingerprint"]
        pair = str(store.scalar("SELECT min(pair_id) FROM build_labels WHERE label = 'related'"))
        later = Review(**{**_fields(store, pair), "label": "answers", "reviewed_at": datetime.now(UTC)})
        add_reviews(store, [later])
        found = verify(store)
        assert found.problems == ()
        assert ["1 labels are others by now" in (c.why or "") for c in found.checks if "labels of" in c.name] == [True]
        store.execute(
            "UPDATE reviews SET recorded_at = recorded_at - INTERVAL 1 DAY WHERE review_id = ?", [later.review_id]
        )
        (problem,) = verify(store).problems
    assert policy
    assert (problem.table, problem.expected, problem.found) == ("build_labels", "answers", "related")
    assert pair in problem.row


def _fields(store: Store, pair: str) -> dict[str, object]:
    (row,) = store.rows("SELECT * FROM reviews WHERE pair_id = ?", [pair])
    return {name: row[name] for name in Review.__slots__}


def test_carried_reviews_and_judgments_are_no_fault(database: Path) -> None:
    with Store(database) as store:
        old = store.scalar("SELECT labelling_fingerprint FROM policies")
        new, _ = add_policy(store, Policy(**{**_policy_fields(BAKERY), "question": "Does the section tell how?"}))
        carry_reviews(
            store, old_fingerprint=str(old), new_fingerprint=new.labelling_fingerprint, labels={"related": "related"}
        )
        assert verify(store).problems == ()


def _policy_fields(policy: Policy) -> dict[str, object]:
    return {name: getattr(policy, name) for name in Policy.__dataclass_fields__}


def test_a_log_whose_file_changed_is_told_and_is_no_fault_of_the_store(database: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("other\n")
    with Store(database) as store:
        store.execute("UPDATE imports SET path = ?", [str(log)])
        assert check_imports(store).why == f"1 files have other bytes by now: {log}"
        log.unlink()
        assert check_imports(store).why == "1 files are not where they were"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9])
def test_a_damaged_file_is_told_and_no_error_of_the_database_gets_out(database: Path, share: float) -> None:
    content = database.read_bytes()
    place = 100 + int(share * (len(content) - 200))
    flipped = bytes(byte ^ 0xFF for byte in content[place : place + 50])
    for damaged in (content[:place], content[:place] + flipped + content[place + 50 :]):
        database.write_bytes(damaged)
        with contextlib.suppress(InvalidDataError):  # it cannot even be opened
            found = problems(database)
            assert found or len(damaged) == len(content), "what was flipped may lie in a block that nothing uses"
            assert {problem.what for problem in found} <= {"cannot be read"}


def test_every_command_says_that_a_file_is_damaged(database: Path) -> None:
    database.write_bytes(database.read_bytes()[:300_000])
    assert "is damaged" in run("status", cwd=database.parent, status=5).stderr
    assert "cannot be read" in run("verify", cwd=database.parent, status=5).stdout


# --------------------------------------------------------------------------------------------------- labels in Python


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ann", "bob", "cid"]),
            st.sampled_from(["answers", "related", None]),
            st.sampled_from(["targeted", "audit", "adjudication"]),
            st.integers(0, 3),
        ),
        max_size=7,
    )
)
def test_labels_worked_out_in_python_are_those_of_the_views(said: list[tuple[str, str | None, str, int]]) -> None:
    reviews = [
        Review(
            pair_id="pair_1",
            labelling_fingerprint=BAKERY.labelling_fingerprint,
            reviewer=reviewer,
            status="submitted" if label else "discarded",
            label=label,
            stream=stream,
            reviewed_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute),
            origin="test",
        )
        for reviewer, label, stream, minute in said
    ]
    with _MEMORY as store:
        store.execute("DELETE FROM reviews")
        add_reviews(store, reviews)
        rows = store.rows("SELECT review_id, reviewer, label, stream, reviewed_at, recorded_at FROM reviews")
        view = store.rows("SELECT majority, strict, adjudicated FROM human_labels")
    settled = settle([Answer(**row) for row in rows])
    assert [settled._asdict()] == (view or [settled._asdict()])
    assert bool(view) == bool(reviews)


class _Memory:
    """One store for all examples; opening a file takes longer than an example does."""

    def __init__(self) -> None:
        self._store: Store | None = None

    def __enter__(self) -> Store:
        self._store = self._store or Store(Path(":memory:"))
        return self._store

    def __exit__(self, *_: object) -> None:
        pass


_MEMORY = _Memory()


def test_columns_that_hold_ids_are_followed_or_known_to_lead_nowhere(store: Store) -> None:
    followed = {(reference.table, reference.column) for reference in references(store)}
    columns = store.rows(
        """
        SELECT table_name, column_name FROM duckdb_columns()
        WHERE NOT internal AND table_name IN (SELECT table_name FROM duckdb_tables())
            AND (ends_with(column_name, '_id') OR ends_with(column_name, '_from'))
        """
    )
    left = {(row["table_name"], row["column_name"]) for row in columns} - followed
    own_keys = {(table, column) for table, column in left if column.rstrip("_id") and table.startswith(column[:4])}
    assert left - own_keys <= {
        ("interactions", "external_id"),
        ("interactions", "query_id"),
        ("retrievals", "external_id"),
        ("chunk_names", "external_id"),
        ("embeddings", "text_id"),
        ("review_records", "dataset_id"),
        ("judgments", "prompt_id"),
        ("generations", "prompt_id"),
        ("generations", "request_id"),
        ("permuted_asks", "prompt_id"),
        ("batches", "batch_id"),
        ("audit_questions", "audit_question_id"),
        ("build_alterations", "forgotten_id"),
        ("batches", "submission_id"),
        ("removed_triplets", "triplet_id"),
    }


def test_two_spellings_of_control_characters_and_texts_under_two_names_are_no_fault(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    policy, _ = add_policy(store, load_policy(tmp_path / "policy.yaml"))
    chunks = [
        {"chunk_id": "b", "rank": 2, "text": "same \x1f\x7f\x0c\u2028 text", "score": 1e-7},
        {"chunk_id": "a", "rank": 1, "text": "same \x1f\x7f\x0c\u2028 text", "score": 1e22},
        {"chunk_id": "c", "rank": 7, "text": '\U0001f600 "quoted" \\ / \t text', "score": 0.1},
    ]
    line = {
        "query": "q\x01",
        "retrieved": chunks,
        "cited": ["b", "c"],
        "user": {"mood": 1.5},
        "time": "2026-01-01T00:00",
    }
    signals = [{"signal": "clicked", "chunk_id": "a"}, {"signal": "rated", "value": 0.5, "source": "ann"}]
    (tmp_path / "log.jsonl").write_text(json.dumps(line | {"signals": signals, "time": "2026-01-01T00:00"}) + "\n")
    import_files(store, [tmp_path / "log.jsonl"])
    mine(store, policy)
    assert verify(store).problems == ()


def test_errors_of_other_kinds_are_not_taken_for_damage(database: Path) -> None:
    with pytest.raises(duckdb.CatalogException), Store(database) as store:
        store.execute("FROM nowhere")
