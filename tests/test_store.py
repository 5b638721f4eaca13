import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import database, migrations
from store.database import Store
from store.errors import InvalidDataError, ProviderError
from store.ids import anchor_id, canonical_json, chunk_id, content_id, pair_id
from store.judgments import Judgment, add_judge, add_judgments
from store.migrations import MIGRATIONS, Migration
from store.reviews import Review, add_reviews
from store.text import NEAR_DUPLICATE, normalised, overlap, shingles, similarity

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


# ---------------------------------------------------------------------------------------------------------------- ids


@given(st.dictionaries(st.text(), JSON, max_size=6), st.randoms())
def test_ids_do_not_hang_on_the_order_of_keys(content: dict[str, object], random: Random) -> None:
    items = list(content.items())
    random.shuffle(items)
    assert content_id("thing", content) == content_id("thing", dict(items))


@given(JSON, JSON)
def test_different_content_has_different_ids(one: object, other: object) -> None:
    same = canonical_json(one) == canonical_json(other)
    assert (content_id("thing", one) == content_id("thing", other)) == same


@pytest.mark.parametrize(("one", "other"), [(None, ""), (1, "1"), (0, False), ([], None), (["a", "b"], ["ab"])])
def test_ids_tell_apart_what_other_hashes_confuse(one: object, other: object) -> None:
    assert content_id("thing", one) != content_id("thing", other)


def test_the_tag_keeps_two_kinds_with_the_same_text_apart() -> None:
    assert anchor_id("coffee").removeprefix("anchor") != chunk_id("coffee").removeprefix("chunk")


@given(st.text(alphabet=st.characters()))
def test_ids_of_texts_are_content_ids(text: str) -> None:
    assert chunk_id(text) == content_id("chunk", text)
    assert anchor_id(text) == content_id("anchor", text)


def test_ids_stay_what_they_are_between_versions() -> None:
    # A change here would orphan every judgment that anybody has paid for.
    assert chunk_id('Ünïcode\n"quoted"') == "chunk_41d6a2da9aa224bdd3c9254dfd73b795"
    assert pair_id(anchor_id("a"), chunk_id("b")) == "pair_7538d587dbdca6a19040eea1b5a8b233"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_json_cannot_hold_has_no_id(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        content_id("thing", number)


# ---------------------------------------------------------------------------------------------------------- migrations


def test_migrations_are_numbered_without_gaps_and_named_once() -> None:
    assert [migration.number for migration in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))
    assert len({migration.name for migration in MIGRATIONS}) == len(MIGRATIONS)


def test_every_migration_is_recorded(store: Store) -> None:
    recorded = store.rows("SELECT number, name FROM migrations ORDER BY number")
    assert [(row["number"], row["name"]) for row in recorded] == [(m.number, m.name) for m in MIGRATIONS]


def test_an_older_database_is_brought_up_to_date_with_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "old.duckdb"
    with monkeypatch.context() as older:
        older.setattr(migrations, "MIGRATIONS", MIGRATIONS[:1])
        with Store(file) as opened:
            opened.insert("anchors", pa.table({"anchor_id": ["a"], "text": ["kept"]}))
            assert opened.count("SELECT count(*) FROM migrations") == 1
    with Store(file) as opened:
        assert opened.count("SELECT count(*) FROM migrations") == len(MIGRATIONS)
        assert opened.scalar("SELECT text FROM anchors") == "kept"


def test_a_migration_that_fails_leaves_nothing_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "uncited.duckdb"
    next_number = len(MIGRATIONS) + 1
    broken = Migration(next_number, "broken", "CREATE TABLE half (x INTEGER); SELECT no_such_function(1);")
    with monkeypatch.context() as newer:
        newer.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, broken))
        with pytest.raises(duckdb.Error, match="no_such_function"):
            Store(file)
    with Store(file) as opened:
        assert opened.count("SELECT max(number) FROM migrations") == len(MIGRATIONS)
        assert opened.scalar("SELECT 1 FROM information_schema.tables WHERE table_name = 'half'") is None


def test_a_database_of_a_newer_uncited_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "uncited.duckdb"
    with Store(file) as opened:
        opened.execute("INSERT INTO migrations VALUES (999, 'from the future', now())")
    with pytest.raises(InvalidDataError, match=rf"newer uncited \(schema 999; this one knows {len(MIGRATIONS)}\)") as e:
        Store(file)
    assert e.value.hint == "pip install --upgrade uncited"
    with pytest.raises(InvalidDataError, match="newer uncited"):  # not "in use": the refusal let go of the file
        Store(file)


# ----------------------------------------------------------------------------------------------------------- the file

_HOLDER = """
import sys
from pathlib import Path
from store.database import Store
with Store(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held_file(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A database that another, real process has open; it lets go when its standard input closes."""
    file = tmp_path / "held.duckdb"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    assert holder.stdout
    assert holder.stdout.readline() == "open\n"
    yield file, holder
    holder.communicate()


def test_a_locked_file_names_the_process_that_holds_it(held_file: tuple[Path, subprocess.Popen[str]]) -> None:
    file, holder = held_file
    with pytest.raises(ProviderError) as refused:
        Store(file)
    assert f"in use by process {holder.pid} " in refused.value.message
    assert str(file) in refused.value.message
    assert "python" in refused.value.message  # what that process is, not only its number
    assert refused.value.hint
    holder.communicate()
    Store(file).close()


def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "notes.duckdb"
    file.write_text("not a database at all\n" * 500)
    with pytest.raises(InvalidDataError, match="is not a DuckDB database"):
        Store(file)


# ------------------------------------------------------------------------------------------------ transactions, inserts


def _anchors(*names: str, text: str = "text") -> pa.Table:
    return pa.table({"anchor_id": list(names), "text": [text] * len(names)})


def test_a_transaction_happens_wholly_or_not_at_all(store: Store) -> None:
    def fail() -> None:
        with store.transaction():
            store.insert("anchors", _anchors("a"))
            assert store.count("SELECT count(*) FROM anchors") == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.count("SELECT count(*) FROM anchors") == 0
    with store.transaction():
        store.insert("anchors", _anchors("b"))
    assert store.scalar("SELECT anchor_id FROM anchors") == "b"


def test_transactions_do_not_nest(store: Store) -> None:
    with store.transaction():
        with pytest.raises(RuntimeError, match="do not nest"), store.transaction():
            pass
        store.insert("anchors", _anchors("outer"))
    assert store.count("SELECT count(*) FROM anchors") == 1


def test_a_statement_that_fails_rolls_back_and_leaves_the_store_usable(store: Store) -> None:
    def fail() -> None:
        with store.transaction():
            store.insert("anchors", _anchors("a"))
            store.execute("SELECT no_such_column FROM anchors")

    with pytest.raises(duckdb.Error, match="no_such_column"):
        fail()
    assert store.insert("anchors", _anchors("a")) == 1


@pytest.mark.parametrize("keep_mib", [0, 64], ids=["less than it can", "what it can"])
def test_letting_go_of_memory_leaves_the_transaction_and_the_limit_as_they_are(store: Store, keep_mib: int) -> None:
    limit = store.scalar("SELECT current_setting('memory_limit')")
    with store.transaction():
        store.execute("CREATE TABLE texts AS SELECT repeat(range::VARCHAR, 20000) AS text FROM range(2000)")
        store.let_go_of_memory(keep_mib)
        assert store.count("SELECT count(DISTINCT text) FROM texts") == 2000
    assert store.count("SELECT count(DISTINCT text) FROM texts") == 2000
    assert store.scalar("SELECT current_setting('memory_limit')") == limit


def test_insert_leaves_known_rows_and_says_how_many_were_new(store: Store) -> None:
    assert store.insert("anchors", _anchors("a", "b", text="first")) == 2
    assert store.insert("anchors", _anchors("b", "c", text="second")) == 1
    assert store.rows("SELECT text FROM anchors WHERE anchor_id = 'b'") == [{"text": "first"}]


def test_insert_with_replace_takes_the_place_of_known_rows(store: Store) -> None:
    store.insert("anchors", _anchors("a", text="first"))
    assert store.insert("anchors", _anchors("a", text="second"), replace=True) == 1
    assert store.scalar("SELECT text FROM anchors") == "second"


def test_insert_goes_by_column_name_and_takes_no_rows(store: Store) -> None:
    store.insert("anchors", pa.table({"text": ["the text"], "anchor_id": ["the id"]}))
    assert store.rows("FROM anchors") == [{"anchor_id": "the id", "text": "the text"}]
    assert store.insert("anchors", _anchors().cast(pa.schema([("anchor_id", pa.string()), ("text", pa.string())]))) == 0


def test_a_hundred_thousand_rows_go_in_as_one_batch(store: Store) -> None:
    names = [f"anchor {n}" for n in range(100_000)]
    started = datetime.now(UTC)
    assert store.insert("anchors", _anchors(*names)) == 100_000
    assert store.insert("anchors", _anchors(*names)) == 0
    assert datetime.now(UTC) - started < timedelta(seconds=30)  # row by row it takes minutes


def test_what_was_inserted_is_not_held_in_memory_until_the_transaction_ends(store: Store) -> None:
    before = pa.total_allocated_bytes()
    with store.transaction():
        for batch in range(5):
            store.insert("anchors", _anchors(*(f"{batch}-{n}" for n in range(2_000)), text="x" * 1_000))
        assert pa.total_allocated_bytes() - before < 2_000_000  # one batch is as large


# ------------------------------------------------------------------------------------------- reviews, judgments, labels

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def _review(reviewer: str, label: str | None, *, minutes: int = 0, pair: str = "p", fingerprint: str = "f") -> Review:
    return Review(
        pair_id=pair,
        labelling_fingerprint=fingerprint,
        reviewer=reviewer,
        status="submitted" if label else "discarded",
        label=label,
        stream="targeted",
        reviewed_at=NOON + timedelta(minutes=minutes),
        origin="test",
    )


def _judgment(label: str | None, *, minutes: int = 0, error: str | None = None, judge: str = "j") -> Judgment:
    return Judgment(
        pair_id="p",
        labelling_fingerprint="f",
        judge_id=judge,
        prompt_id="prompt",
        judged_at=NOON + timedelta(minutes=minutes),
        label=label,
        error=error,
    )


def _label(store: Store, fingerprint: str = "f") -> tuple[object, object] | None:
    rows = store.rows(
        "SELECT label, source FROM labels('majority') WHERE pair_id = 'p' AND labelling_fingerprint = ?", [fingerprint]
    )
    assert len(rows) <= 1
    return (rows[0]["label"], rows[0]["source"]) if rows else None


@pytest.mark.parametrize(
    ("answers", "label"),
    [
        ([("ann", "yes")], "yes"),
        ([("ann", "yes"), ("bob", "yes"), ("cyd", "no")], "yes"),
        ([("ann", "yes"), ("bob", "no")], None),  # a tie is no label
        ([("ann", "yes"), ("bob", "no"), ("cyd", "unsure")], None),
        ([("ann", "yes"), ("bob", "yes"), ("cyd", "no"), ("dee", "no"), ("eve", "unsure")], None),
        ([("ann", None)], None),  # discarded: nobody could answer
        ([("ann", None), ("bob", "no")], "no"),  # a discard is no vote
        ([("ann", None), ("bob", "yes"), ("cyd", "no")], None),
    ],
)
def test_the_majority_of_the_reviewers_is_the_label(
    store: Store, answers: list[tuple[str, str | None]], label: str | None
) -> None:
    add_judgments(store, [_judgment("yes", minutes=60)])
    add_reviews(store, [_review(reviewer, answer) for reviewer, answer in answers])
    # A person outranks the judge, however late it judged, and even where people settled nothing.
    assert _label(store) == (label, "human")


def test_without_a_review_the_latest_judgment_is_the_label(store: Store) -> None:
    assert _label(store) is None
    add_judgments(store, [_judgment("yes", minutes=1), _judgment("no", minutes=2, judge="k"), _judgment("yes")])
    assert _label(store) == ("no", "judge")


def test_a_failed_judgment_is_no_label_and_hides_none(store: Store) -> None:
    add_judgments(store, [_judgment(None, error="timeout")])
    assert _label(store) is None
    add_judgments(store, [_judgment("yes", minutes=1), _judgment(None, error="refusal", minutes=2)])
    assert _label(store) == ("yes", "judge")
    assert store.count("SELECT count(*) FROM judgments") == 3


def test_a_judgment_is_a_label_or_an_error_never_both_or_neither(store: Store) -> None:
    for wrong in (_judgment(None), _judgment("yes", error="timeout")):
        with pytest.raises(duckdb.ConstraintException):
            add_judgments(store, [wrong])


def test_labels_of_one_question_are_none_of_another(store: Store) -> None:
    add_reviews(store, [_review("ann", "yes", fingerprint="f"), _review("ann", "no", fingerprint="g")])
    assert _label(store, "f") == ("yes", "human")
    assert _label(store, "g") == ("no", "human")
    assert _label(store, "h") is None


def test_a_reviewer_who_changes_their_mind_adds_an_answer_and_the_last_counts(store: Store) -> None:
    assert add_reviews(store, [_review("ann", "yes"), _review("bob", "no", minutes=5)]) == 2
    assert _label(store) == (None, "human")
    assert add_reviews(store, [_review("ann", "no", minutes=10)]) == 1
    assert _label(store) == ("no", "human")
    assert store.count("SELECT count(*) FROM reviews") == 3  # the first answer is still there
    assert add_reviews(store, [_review("ann", None, minutes=20), _review("bob", None, minutes=20)]) == 2
    assert _label(store) == (None, "human")


def test_what_is_fetched_twice_is_stored_once(store: Store) -> None:
    reviews = [_review("ann", "yes"), _review("bob", None)]
    assert add_reviews(store, reviews) == 2
    assert add_reviews(store, reviews) == 0
    add_judgments(store, [_judgment("yes")])
    add_judgments(store, [_judgment("yes")])
    assert store.count("SELECT count(*) FROM judgments") == 1
    assert add_judge(store, {"model": "m", "t": 0}) == add_judge(store, {"t": 0, "model": "m"})
    assert store.count("SELECT count(*) FROM judges") == 1


@settings(deadline=None, max_examples=30)  # each example opens a database
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["yes", "no", None]), st.integers(0, 5)),
        min_size=1,
        max_size=8,
        unique_by=lambda answer: (answer[0], answer[2]),
    )
)
def test_the_label_follows_from_each_reviewers_last_answer(answers: list[tuple[str, str | None, int]]) -> None:
    last = {reviewer: label for reviewer, label, _ in sorted(answers, key=lambda answer: answer[2])}
    votes = [label for label in last.values() if label]
    yes, no = votes.count("yes"), votes.count("no")
    expected = None if yes == no else "yes" if yes > no else "no"
    with Store(Path(":memory:")) as store:
        add_reviews(store, [_review(reviewer, label, minutes=minute) for reviewer, label, minute in answers])
        assert _label(store) == (expected, "human")


def test_nothing_but_forgetting_changes_or_deletes_evidence() -> None:
    changing = re.compile(
        r"(UPDATE|DELETE\s+FROM|TRUNCATE|DROP\s+TABLE)\s+(IF\s+EXISTS\s+)?(judgments|reviews)\b", re.I
    )
    replaced = re.compile(r"insert\(\s*[\"'](judgments|reviews)[\"'].*replace=True", re.S)
    for file in (Path(__file__).resolve().parents[1] / "store").rglob("*.py"):
        code = file.read_text(encoding="utf-8")
        if file.name == "forgetting.py":  # what the law asks to take out, and nothing else may
            assert changing.search(code)
            continue
        assert not changing.search(code), file
        assert not replaced.search(code), file


# ---------------------------------------------------------------------------------------------------- sameness of texts


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Flea lives  20 days.", "the flea lives 20 days"),
        ("“Quoted” — it’s", "quoted it s"),
        ("ﬁne ＦＵＬＬ width", "fine full width"),
        ("co\u00adoperate", "cooperate"),
        ("Straße", "STRASSE"),
        ("中文，字", "中文字"),
        ("one\r\ntwo\tthree", "One, two; three!"),
    ],
)
def test_case_space_punctuation_and_unicode_form_make_no_difference(one: str, other: str) -> None:
    assert similarity(one, other) == 1.0


@pytest.mark.parametrize(
    ("one", "other"),
    [("a + b", "a - b"), ("x < y", "x > y"), ("!!!", "???"), ("कि", "का"), ("I love coffee", "I hate coffee")],
)
def test_what_means_something_else_is_not_the_same(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)
    assert similarity(one, other) < NEAR_DUPLICATE


@given(st.text(), st.text())
def test_similarity_is_symmetric_bounded_and_one_for_itself(one: str, other: str) -> None:
    assert similarity(one, other) == similarity(other, one)
    assert 0.0 <= similarity(one, other) <= 1.0
    assert similarity(one, one) == 1.0


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


def test_overlap_is_the_share_of_five_word_runs() -> None:
    words = [f"w{n}" for n in range(24)]  # 20 runs of five
    changed = [*words[:-1], "other"]  # the last run differs: 19 shared of 21
    assert overlap(shingles(" ".join(words)), shingles(" ".join(changed))) == pytest.approx(19 / 21)
    assert similarity(" ".join(words), " ".join(words[:12])) == pytest.approx(8 / 20)  # a window is no repetition


def test_texts_in_scripts_without_spaces_are_compared_by_character() -> None:
    text = "私は毎朝コーヒーを飲みながら新聞を読むのが好きですがお茶も好きです"
    assert NEAR_DUPLICATE <= similarity(text, text + "ね") < 1.0


@pytest.mark.parametrize("said", [RuntimeError("Query interrupted"), duckdb.InterruptException("Interrupted!")])
def test_what_duckdb_says_of_ctrl_c_in_a_query_is_ctrl_c(tmp_path: Path, said: Exception) -> None:
    with pytest.raises(KeyboardInterrupt), Store(tmp_path / "u.duckdb"):
        raise said


@pytest.mark.parametrize("said", [RuntimeError("Query interrupted"), duckdb.InterruptException("Interrupted!")])
def test_ctrl_c_while_the_file_is_opened_is_ctrl_c_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Exception
) -> None:
    def interrupted(*_: object) -> None:
        raise said

    monkeypatch.setattr(database, "migrate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path / "u.duckdb")
    monkeypatch.undo()
    Store(tmp_path / "u.duckdb").close()  # nothing holds the file
