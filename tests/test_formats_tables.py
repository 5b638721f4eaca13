"""CSV, Parquet, JSON Lines with other keys, DataFrames and Hugging Face data sets, with a mapping of columns."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mining.import_log import import_files, import_frame
from store.database import Store
from store.errors import InvalidDataError, UsageError
from store.ids import chunk_id
from tests.imported import stored, write_lines, write_text

FLEAS, JUMPS, TICKS = "A flea lives 100 days.", "Fleas jump, far.", 'Ticks "wait"\r\n\r\non grass.'
MAPPING = {"query": "question", "text": "passage", "signal.clicked": "clicks"}

ONE_A_ROW = (
    "question,query_id,answer,chunk_id,rank,score,passage,cited,clicks,shop\r\n"
    "how long?,7,100 days,c1,1,12.5,A flea lives 100 days.,yes,3,north\r\n"
    'how long?,7,100 days,c2,2,,"Fleas jump, far.",no,,north\r\n'
    'where?,8,,c3,1,1,"Ticks ""wait""\r\n\r\non grass.",0,0,south\r\n'
)


def test_a_csv_table_may_hold_one_retrieved_chunk_a_row(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_bytes(b"\xef\xbb\xbf" + ONE_A_ROW.encode())
    (imported,) = import_files(store, [file], mapping=MAPPING).files
    assert (imported.format, imported.interactions) == ("table", 2)
    first, second = stored(store)
    assert (first["query"], first["query_id"], first["answer"], first["line"]) == ("how long?", "7", "100 days", 2)
    assert [(c["chunk_id"], c["rank"], c.get("score"), c["text"]) for c in first["retrieved"]] == [
        ("c1", 1, 12.5, FLEAS),
        ("c2", 2, None, JUMPS),
    ]
    assert first["cited"] == ["c1"]
    assert first["signals"] == [{"signal": "clicked", "chunk_id": "c1", "value": 3.0}]
    assert first["extra"] == {"retrieved": {"1": {"shop": "north"}, "2": {"shop": "north"}}}
    assert (second["retrieved"][0]["text"], second["line"], second["cited"]) == (TICKS, 4, [])


def test_a_label_in_a_column_of_signals_becomes_a_part_of_the_signals_name(store: Store, tmp_path: Path) -> None:
    rows = "query,text,grade\nhow long?,A flea lives 100 days., E \nhow long?,Fleas jump.,2\nhow long?,Ticks wait.,\n"
    lists = {"query": "where?", "text": ["On grass.", "At home."], "grade": ["S", True]}
    mapping = {"signal.relevance": "grade"}
    import_files(store, [write_text(tmp_path / "rows.csv", rows)], mapping=mapping)
    import_files(store, [write_text(tmp_path / "lists.jsonl", json.dumps(lists) + "\n")], mapping=mapping)
    told = [(signal["signal"], signal["value"]) for line in stored(store) for signal in line["signals"]]
    assert sorted(told) == [("relevance", 1.0), ("relevance", 2.0), ("relevance:E", 1.0), ("relevance:S", 1.0)]
    number_as_text = {"query": "how far?", "text": "Far.", "grade": "3"}
    with pytest.raises(InvalidDataError, match='"3" is not a number'):
        import_files(store, [write_text(tmp_path / "text.jsonl", json.dumps(number_as_text) + "\n")], mapping=mapping)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_and_gzip_are_found_out(store: Store, tmp_path: Path, delimiter: str) -> None:
    text = delimiter.join(("query", "text")) + "\n" + delimiter.join(("how long?", "100 days, or so")) + "\n"
    file = tmp_path / "log.csv.gz"
    file.write_bytes(gzip.compress(text.encode()))
    assert import_files(store, [file]).interactions == 1
    assert stored(store)[0]["retrieved"][0]["text"] == "100 days, or so"


def test_a_csv_table_may_hold_lists_in_json(store: Store, tmp_path: Path) -> None:
    texts, ids = (json.dumps(values).replace('"', '""') for values in ([FLEAS, JUMPS], ["c1", "c2"]))
    file = write_text(tmp_path / "log.csv", f'query,text,chunk_id,cited\nhow long?,"{texts}","{ids}","[""c2""]"\n')
    import_files(store, [file])
    (line,) = stored(store)
    assert [(c["chunk_id"], c["rank"], c["text"]) for c in line["retrieved"]] == [("c1", 1, FLEAS), ("c2", 2, JUMPS)]
    assert line["cited"] == ["c2"]


def test_json_lines_of_other_keys_are_a_table_with_a_mapping(store: Store, tmp_path: Path) -> None:
    rows = [{"question": "how long?", "contexts": [FLEAS, JUMPS], "reply": "100 days [1]", "likes": 2, "model": "m"}]
    mapping = {"query": "question", "text": "contexts", "answer": "reply", "signal.liked": "likes"}
    import_files(store, [write_lines(tmp_path / "log.jsonl", rows)], mapping=mapping)
    (line,) = stored(store)
    assert [c["chunk_id"] for c in line["retrieved"]] == [chunk_id(FLEAS), chunk_id(JUMPS)]
    assert line["cited"] == [chunk_id(FLEAS)]
    assert line["signals"] == [{"signal": "liked", "value": 2.0}]
    assert line["extra"] == {"model": "m"}


def test_a_data_frame_is_imported_like_its_parquet_file(store: Store, tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {
            "question": ["how long?", "where?"],
            "query_id": [7, 8],
            "when": pd.to_datetime(["2026-03-31T12:00:00Z", None]),
            "passage": [[FLEAS, JUMPS], [TICKS]],
            "score": [[0.5, 0.25], [1.0]],
            "cited": [[True, False], [False]],
            "clicks": [[0, 2], [None]],
            "stars": [4.0, float("nan")],
        }
    )
    mapping = {
        "query": "question",
        "text": "passage",
        "time": "when",
        "signal.clicked": "clicks",
        "signal.stars": "stars",
    }
    (imported,) = import_frame(store, frame, mapping=mapping).files
    assert (imported.file, imported.format, imported.interactions) == ("DataFrame", "table", 2)
    first, second = stored(store)
    assert (first["query_id"], first["time"]) == ("7", datetime(2026, 3, 31, 12, tzinfo=UTC))
    assert first["cited"] == [chunk_id(FLEAS)]
    assert [(s["signal"], s.get("chunk_id"), s["value"]) for s in first["signals"]] == [
        ("clicked", chunk_id(FLEAS), 0.0),
        ("clicked", chunk_id(JUMPS), 2.0),
        ("stars", None, 4.0),
    ]
    assert "time" not in second
    assert second["signals"] == []
    file = tmp_path / "log.parquet"
    frame.to_parquet(file, index=False)
    (again,) = import_files(store, [file], mapping=mapping).files
    assert again.imported_before  # the same bytes
    with pytest.raises(InvalidDataError, match="DataFrame:1: query: is blank"):
        import_frame(store, frame.assign(question=[" ", "where?"]), mapping=mapping)
    with pytest.raises(InvalidDataError, match="the DataFrame cannot be read"):
        import_frame(store, frame.assign(question=["where?", 1]), mapping=mapping)


def test_the_library_imports_a_data_frame_into_a_workspace(tmp_path: Path) -> None:
    import pandas as pd

    import uncited
    from store.workspace import create_workspace

    create_workspace(tmp_path / "workspace")
    frame = pd.DataFrame({"question": ["a"], "text": [["x", "y"]]})
    assert uncited.import_frame(tmp_path / "workspace", frame, mapping={"query": "question"}).retrievals == 2


def test_a_data_frame_may_hold_one_chunk_a_row(store: Store) -> None:
    import pandas as pd

    frame = pd.DataFrame({"query": ["a", "b", "a"], "text": ["x", "y", "z"], "rank": [1.0, float("nan"), 2.0]})
    import_frame(store, frame)
    lines = {line["query"]: [(c["text"], c["rank"]) for c in line["retrieved"]] for line in stored(store)}
    assert lines == {"a": [("x", 1), ("z", 2)], "b": [("y", 1)]}


def test_hugging_face_data_sets_on_disk_come_split_by_split(store: Store, tmp_path: Path) -> None:
    import datasets

    rows = {"question": ["how long?", "where?"], "passages": [[FLEAS, JUMPS], [TICKS]], "n": [1, 2]}
    one = datasets.Dataset.from_dict(rows)
    one.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": one, "test": one.select([1])}).save_to_disk(str(tmp_path / "two"))
    mapping = {"query": "question", "text": "passages"}
    (imported,) = import_files(store, [tmp_path / "one"], mapping=mapping).files
    assert (imported.format, imported.interactions) == ("hf-dataset", 2)
    train, test = import_files(store, [tmp_path / "two"], mapping=mapping).files
    assert (train.file, train.known, test.known) == (str(tmp_path / "two" / "train"), 2, 1)
    assert [c["text"] for c in stored(store)[0]["retrieved"]] == [FLEAS, JUMPS]
    arrow = tmp_path / "two" / "test" / "data-00000-of-00001.arrow"

    class Growing:
        def start(self, description: str, total: int | None) -> None:
            with arrow.open("ab") as out:
                out.write(b"\0")

        def advance(self, steps: int = 1, note: str = "") -> None:
            pass

    more = {**mapping, "interaction_id": "n"}  # so that it is read again
    with pytest.raises(InvalidDataError, match="was written to while it was read"):
        import_files(store, [tmp_path / "two" / "test"], mapping=more, progress=Growing())
    (tmp_path / "one" / "data-00000-of-00001.arrow").write_bytes(b"damaged")
    with pytest.raises(InvalidDataError, match="is no data set that can be read"):
        import_files(store, [tmp_path / "one"], mapping=mapping)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, r"has no column for query and text \(or chunk_id, or retrieved\) \(its columns: question, passage\)"),
        ({"query": "question"}, r"has no column for text \(or chunk_id, or retrieved\)"),
        ({"query": "questoin", "text": "passage"}, r"has no column questoin; did you mean question\?"),
        ({"qury": "question"}, r"qury is no field; did you mean query\?"),
        ({"signal.": "question"}, "is no field"),
    ],
)
def test_a_mapping_that_does_not_fit_says_what_would(
    store: Store, tmp_path: Path, mapping: dict[str, str], message: str
) -> None:
    file = write_text(tmp_path / "log.csv", "question,passage\nhow long?,100 days\n")
    with pytest.raises((InvalidDataError, UsageError), match=message) as refused:
        import_files(store, [file], mapping=mapping)
    assert refused.value.hint
    assert not stored(store)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"how long?,100 days,1,yes,x\n", ":3: 5 values for 4 columns"),
        (b"caf\xe9,100 days,1,yes\n", ":3: column query is not UTF-8: byte 0xe9"),
        (b"how\x00long?,100 days,1,yes\n", ":3: query: holds a NUL character"),
        (b"how long?,100 days,first,yes\n", ':3: retrieved[0].rank: "first" is not a whole number'),
        (b"how long?,100 days,1.5,yes\n", ':3: retrieved[0].rank: "1.5" is not a whole number'),
        (b"how long?,100 days,1,maybe\n", ':3: line 3: cited is "maybe"'),
        (b",100 days,1,yes\n", ":3: query: missing"),
        (b'how long?,"100 days,1,yes\n', ":3: not CSV: unexpected end of data"),
        (b"ok?,another answer,1,no\n", ":2: retrieved[1].rank: 1 is the rank of retrieved[0] too"),
    ],
)
def test_a_bad_row_is_named_by_its_line(store: Store, tmp_path: Path, row: bytes, message: str) -> None:
    file = tmp_path / "log.csv"
    file.write_bytes(b"query,text,rank,cited\nok?,fine,1,no\n" + row)
    with pytest.raises(InvalidDataError) as refused:
        import_files(store, [file])
    assert f"{file}{message}" in refused.value.message
    assert not stored(store)


def test_rows_of_one_interaction_that_disagree_are_named(store: Store, tmp_path: Path) -> None:
    file = write_text(tmp_path / "log.csv", "query_id,query,text\n1,how long?,a\n1,where?,b\n")
    with pytest.raises(InvalidDataError, match="query is another in line 3 of the same interaction"):
        import_files(store, [file])


def test_lists_of_different_length_are_named(store: Store, tmp_path: Path) -> None:
    rows = [{"query": "q", "text": ["a", "b"], "score": [1.0]}]
    with pytest.raises(InvalidDataError, match="lists of different length: text has 2, score has 1"):
        import_files(store, [write_lines(tmp_path / "log.jsonl", rows)], format="table")


def test_yes_and_no_for_fewer_chunks_than_there_are_make_the_row_bad(store: Store, tmp_path: Path) -> None:
    row = {"query": "q", "text": ["a", "b", "c"], "cited": [True]}
    with pytest.raises(InvalidDataError, match="cited says yes or no 1 times for 3 chunks"):
        import_files(store, [write_lines(tmp_path / "log.jsonl", [row])])


def test_a_column_that_is_there_twice_is_refused_only_where_it_is_read(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataError, match="several columns query"):
        import_files(store, [write_text(tmp_path / "twice.csv", "query,query,text,cited\nq,p,a,yes\n")])
    unread = write_text(tmp_path / "unread.csv", "query,note,note,text,cited\nq,x,y,a,yes\n")
    assert import_files(store, [unread]).files[0].interactions == 1


@pytest.mark.parametrize("format", ["uncited", "table"])
def test_citations_are_read_at_a_json_path(store: Store, tmp_path: Path, format: str) -> None:
    chunks = [{"chunk_id": "c1", "rank": 1, "text": FLEAS}, {"chunk_id": "c2", "rank": 2, "text": JUMPS}]
    lines: list[dict[str, object]] = [
        {"query": "a", "answer": "It is so [1].", "retrieved": chunks, "trace": {"used": [{"id": "c2"}, {"id": "c1"}]}},
        {"query": "b", "answer": "It is so [2].", "retrieved": chunks, "trace": {"used": []}},
        {"query": "c", "answer": "It is so.", "retrieved": chunks, "cited": ["c1"], "trace": {"used": [{"id": "c2"}]}},
    ]
    file = write_lines(tmp_path / "log.jsonl", lines)
    (imported,) = import_files(store, [file], format=format, citations="$.trace.used[*].id").files
    assert imported.citations == "read from the path that was given in 2 answers, 1 of which cite something"
    assert imported.cited_already == 1
    assert [line["cited"] for line in stored(store)] == [["c1", "c2"], [], ["c1"]]
    assert stored(store)[0]["extra"] == {"trace": {"used": [{"id": "c2"}, {"id": "c1"}]}}
    wrong = write_lines(tmp_path / "wrong.jsonl", [lines[1] | {"trace": {"used": [{"id": "c9"}]}}, {**lines[1]}])
    with pytest.raises(InvalidDataError, match=r'wrong\.jsonl:1: cites "c9", which was not retrieved') as refused:
        import_files(store, [wrong], format=format, citations="$.trace.used[*].id")
    assert "'$.trace.used[*].id'" in str(refused.value.hint)
    with pytest.raises(InvalidDataError, match=r"wrong\.jsonl:2: \$\.gone: missing"):
        import_files(store, [wrong], format=format, citations="$.gone")
