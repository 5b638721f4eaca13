"""Labels that were made elsewhere."""

import csv
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labeling.review_files import import_reviews
from store.database import Store
from store.errors import InvalidDataError, MissingError
from store.interactions import Interaction, Retrieved, add_interactions
from store.labels import labelled_candidates
from store.policies import Policy
from store.reviews import pairs_to_review
from tests.reviewing import LOG, fill, pair

QUERIES = list(LOG)
CHUNKS = [chunks for _, chunks in LOG.values()]


@pytest.fixture
def policy(store: Store) -> Policy:
    return fill(store)


def written(tmp_path: Path, text: str, name: str = "labels.csv") -> Path:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


def reviews(store: Store) -> list[dict[str, Any]]:
    return store.rows(
        "SELECT pair_id, reviewer, status, label, stream, note, reviewed_at, origin FROM reviews ORDER BY ALL"
    )


def labels(store: Store, policy: Policy) -> dict[str, str]:
    rows = labelled_candidates(store, policy).to_pylist()
    return {row["pair_id"]: row["label"] for row in rows if row["source"] == "human"}


def complaints(error: pytest.ExceptionInfo[InvalidDataError], file: Path) -> list[str]:
    """The lines of the message, without the file's name in front."""
    *lines, last = error.value.message.splitlines()
    assert last == "Nothing was imported."
    assert all(line.startswith(f"{file}:") for line in lines)
    return [line.removeprefix(f"{file}:") for line in lines]


@pytest.mark.parametrize("chunk", ["one line\r\nand another", "word " * 40_000], ids=["line break", "long"])
def test_a_chunk_is_found_by_its_text_whatever_its_lines_and_length(store: Store, tmp_path: Path, chunk: str) -> None:
    policy = fill(store, {"How?": ("So.", ["cited", chunk])})
    file = tmp_path / "labels.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("query", "chunk", "label"), ("How?", chunk, "related")])
    assert import_reviews(store, policy, file, reviewer="eva").new == 1


def test_a_csv_file_may_name_queries_and_chunks_by_text_or_by_id(store: Store, policy: Policy, tmp_path: Path) -> None:
    rows = [
        "query,chunk,label,reviewer,time,note,extra",
        'q1,q1-c2,answers,eva,2026-03-01T10:00:00+01:00,"dry, and ""flaky""",x',
        f'"{QUERIES[1]}","{CHUNKS[1][1]}",related,eva,2026-03-01,,',
        f'q3,"{CHUNKS[2][2]}",unsure,otto,,,',
    ]
    file = written(tmp_path, "\n".join(rows))
    result = import_reviews(store, policy, file)
    assert (result.rows, result.new, result.known, result.candidates) == (3, 3, 0, 0)
    assert labels(store, policy) == {pair(1, 2): "answers", pair(2, 2): "related", pair(3, 3): "unsure"}
    first = next(r for r in reviews(store) if r["pair_id"] == pair(1, 2))
    assert first == {
        "pair_id": pair(1, 2),
        "reviewer": "eva",
        "status": "submitted",
        "label": "answers",
        "stream": "imported",
        "note": 'dry, and "flaky"',
        "reviewed_at": datetime(2026, 3, 1, 9, tzinfo=UTC),
        "origin": "labels.csv:2",
    }


def test_json_lines_are_recognised_whatever_the_file_is_called(store: Store, policy: Policy, tmp_path: Path) -> None:
    rows = [
        {"query_id": "q1", "chunk_id": "q1-c2", "label": "answers", "time": None, "score": 3},
        {"query": QUERIES[0], "chunk": CHUNKS[0][2], "label": " related ", "note": ""},
    ]
    file = written(tmp_path, "\n\n".join(json.dumps(row) for row in rows) + "\n", "labels.txt")
    assert import_reviews(store, policy, file, reviewer="eva").new == 2
    assert {r["origin"] for r in reviews(store)} == {"labels.txt:1", "labels.txt:3"}
    assert labels(store, policy) == {pair(1, 2): "answers", pair(1, 3): "related"}


def test_importing_twice_changes_nothing_even_after_the_file_was_touched_and_moved(
    store: Store, policy: Policy, tmp_path: Path
) -> None:
    text = "query,chunk,label,time\nq1,q1-c2,answers,\nq1,q1-c2,answers,\nq1,q1-c3,related,2026-01-01T00:00:00Z\n"
    file = written(tmp_path, text)
    assert import_reviews(store, policy, file, reviewer="eva").new == 2
    before = reviews(store)
    os.utime(file, (1, 1))
    moved = file.rename(tmp_path / "renamed.csv")
    result = import_reviews(store, policy, moved, reviewer="eva")
    assert (result.rows, result.new, result.known) == (3, 0, 3)
    assert reviews(store) == before


def test_a_changed_label_is_appended_and_counts(store: Store, policy: Policy, tmp_path: Path) -> None:
    for label in ("answers", "related", "answers"):
        file = written(tmp_path, f"query,chunk,label,reviewer\nq1,q1-c2,{label},eva\n")
        assert import_reviews(store, policy, file).new == 1
        assert labels(store, policy) == {pair(1, 2): label}
    assert len(reviews(store)) == 3


def test_two_reviewers_of_one_pair_are_two_reviews(store: Store, policy: Policy, tmp_path: Path) -> None:
    file = written(tmp_path, "query,chunk,label,reviewer\nq1,q1-c2,answers,eva\nq1,q1-c2,related,otto\n")
    assert import_reviews(store, policy, file).new == 2


def test_a_known_chunk_that_was_never_put_forward_for_a_query_becomes_its_candidate(
    store: Store, policy: Policy, tmp_path: Path
) -> None:
    file = written(tmp_path, "query,chunk,label,reviewer\nq1,q2-c1,unrelated,eva\nq2,q1-c1,answers,eva\n")
    result = import_reviews(store, policy, file)
    assert (result.new, result.candidates) == (2, 2)
    added = {p.chunk: p for p in pairs_to_review(store, policy) if p.sources == ("imported",)}
    assert {chunk: p.proposed for chunk, p in added.items()} == {CHUNKS[1][0]: "negative", CHUNKS[0][0]: "positive"}
    assert sorted(labels(store, policy).values()) == ["answers", "unrelated"]
    assert import_reviews(store, policy, file).candidates == 0


def test_an_imported_label_changes_nothing_about_a_candidate_that_is_one_already(
    store: Store, policy: Policy, tmp_path: Path
) -> None:
    before = {p.pair_id: (p.proposed, p.sources) for p in pairs_to_review(store, policy)}
    import_reviews(store, policy, written(tmp_path, "query,chunk,label,reviewer\nq1,q1-c2,answers,eva\n"))
    assert {p.pair_id: (p.proposed, p.sources) for p in pairs_to_review(store, policy)} == before


def test_every_bad_row_is_named_and_nothing_is_imported(store: Store, policy: Policy, tmp_path: Path) -> None:
    rows = [
        "query,chunk,label,reviewer,time",
        "q1,q1-c2,answers,eva,",
        "q1,q1-c2,perhaps,eva,",
        "q9,q1-c2,answers,eva,",
        '"a\nb",nowhere,answers,eva,',
        "q1,q1-c2,,eva,",
        "q1,q1-c2,answers,,",
        "q1,q1-c2,answers,eva,2024",
        "q1,q1-c2,answers,eva,yesterday,more",
        "q1,q1-c2,related,eva,",
        "",
    ]
    file = written(tmp_path, "\r\n".join(rows))
    with pytest.raises(InvalidDataError) as error:
        import_reviews(store, policy, file)
    assert complaints(error, file) == [
        "3: label 'perhaps' is not one of answers, related, unrelated, unsure",
        "4: query 'q9' is neither a text nor an id in the logs",
        r"5: chunk 'nowhere' is neither a text nor an id in the logs",
        r"5: query 'a\nb' is neither a text nor an id in the logs",
        "7: label is empty or not there",
        "8: nobody is named as the reviewer (a column `reviewer`, or --reviewer NAME)",
        "9: time '2024': is no ISO 8601 time, such as 2026-03-01T10:00:00Z",
        "10: 6 values for 5 columns; is a comma not quoted?",
        "11: eva says 'related' here and 'answers' in line 2",
    ]
    assert reviews(store) == []
    assert len(pairs_to_review(store, policy)) == sum(map(len, CHUNKS))


def test_where_all_that_is_missing_is_the_reviewer_the_option_is_named(
    store: Store, policy: Policy, tmp_path: Path
) -> None:
    file = written(tmp_path, "query,chunk,label\nq1,q1-c2,answers\nq1,q1-c3,related\n")
    with pytest.raises(InvalidDataError) as error:
        import_reviews(store, policy, file)
    assert error.value.hint == "the same command with --reviewer NAME"


def test_bad_json_lines_are_named(store: Store, policy: Policy, tmp_path: Path) -> None:
    good = json.dumps({"query": "q1", "chunk": "q1-c2", "label": "answers", "reviewer": "eva"})
    file = written(tmp_path, "\n".join([good, "{", "[1]", '{"query": "q1", "label": ["x"]}']), "labels.jsonl")
    with pytest.raises(InvalidDataError) as error:
        import_reviews(store, policy, file)
    found = complaints(error, file)
    assert [line.split(":")[0] for line in found] == ["2", "3", "4", "4"]
    assert "not JSON" in found[0]
    assert "not a JSON object" in found[1]
    assert reviews(store) == []


def test_values_that_no_database_could_hold_are_named(store: Store, policy: Policy, tmp_path: Path) -> None:
    good = {"query": "q1", "chunk": "q1-c2", "label": "answers", "reviewer": "eva"}
    odd = [{"note": "\ud800"}, {"time": "0001-01-01T00:00:00+14:00"}, {"time": "2100-01-01"}]
    rows = [*(json.dumps(good | more) for more in odd), '{"query": ' + "[" * 100_000]
    file = written(tmp_path, "\n".join(rows), "labels.jsonl")
    with pytest.raises(InvalidDataError) as error:
        import_reviews(store, policy, file)
    said = ("unicode", "is not between 1970 and 2100", "is not between 1970 and 2100", "nested too deeply")
    for line, (found, expected) in enumerate(zip(complaints(error, file), said, strict=True), start=1):
        assert found.startswith(f"{line}: ")
        assert expected in found
    assert reviews(store) == []


def test_a_log_id_that_stood_for_several_texts_is_ambiguous_unless_one_was_put_forward(
    store: Store, policy: Policy, tmp_path: Path
) -> None:
    changed = Interaction(
        query="Another question?",
        query_id="q7",
        line=1,
        signals=(),
        retrieved=(Retrieved("q1-c2", 1, "The text that this id has now."),),
    )
    with store.transaction():
        add_interactions(store, [changed], import_id="import_2")
    import_reviews(store, policy, written(tmp_path, "query,chunk,label,reviewer\nq1,q1-c2,answers,eva\n"))
    assert labels(store, policy) == {pair(1, 2): "answers"}
    file = written(tmp_path, "query,chunk,label,reviewer\nq2,q1-c2,unrelated,eva\n")
    with pytest.raises(InvalidDataError, match=r":2: chunk id 'q1-c2' stands for 2 texts in the logs"):
        import_reviews(store, policy, file)


def test_many_complaints_are_cut_short(store: Store, policy: Policy, tmp_path: Path) -> None:
    file = written(tmp_path, "query,chunk,label,reviewer\n" + "q1,q1-c2,perhaps,eva\n" * 50)
    with pytest.raises(InvalidDataError, match=r"\.\.\. and 30 more"):
        import_reviews(store, policy, file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the header lacks query or query_id and chunk or chunk_id and label; it is empty"),
        ("query;chunk;label\nq1;q1-c1;answers\n", "the header lacks query or query_id"),
        ("query,chunk,label\n", "holds no labels"),
        ('query,chunk,label\n"q1,q1-c1,answers\n', "not CSV"),
    ],
)
def test_what_is_no_label_file_says_so(store: Store, policy: Policy, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidDataError, match=message):
        import_reviews(store, policy, written(tmp_path, text), reviewer="eva")


def test_missing_and_undecodable_files_say_so(store: Store, policy: Policy, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"labels\.csv"):
        import_reviews(store, policy, tmp_path / "labels.csv")
    (tmp_path / "latin.csv").write_bytes("query,chunk,label\nq1,ü,answers\n".encode("latin-1"))
    with pytest.raises(InvalidDataError, match="UTF-8"):
        import_reviews(store, policy, tmp_path / "latin.csv")


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from([(q, c) for q, chunks in enumerate(CHUNKS, 1) for c in range(1, len(chunks) + 1)]),
            st.sampled_from(["eva", "otto"]),
            st.sampled_from(["answers", "related", "unsure"]),
        ),
        min_size=1,
        max_size=12,
        unique_by=lambda row: (row[0], row[1]),
    )
)
def test_both_formats_bring_the_same_labels(tmp_path: Path, rows: list[tuple[tuple[int, int], str, str]]) -> None:
    dicts = [{"query": f"q{q}", "chunk": f"q{q}-c{c}", "label": a, "reviewer": w} for (q, c), w, a in rows]
    csv_text = "query,chunk,label,reviewer\n" + "\n".join(",".join(row.values()) for row in dicts)
    found = []
    for name, text in (("a.csv", csv_text), ("a.jsonl", "\n".join(json.dumps(row) for row in dicts))):
        path = tmp_path / f"{name}.duckdb"
        path.unlink(missing_ok=True)
        with Store(path) as store:
            policy = fill(store)
            assert import_reviews(store, policy, written(tmp_path, text, name)).new == len(rows)
            found.append({(r["pair_id"], r["reviewer"]): r["label"] for r in reviews(store)})
    assert found[0] == found[1] == {(pair(*key), who): label for key, who, label in rows}
