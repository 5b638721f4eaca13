"""Files that are damaged, foreign, changing or no files at all, in every format: a clear message, nothing imported."""

import gzip
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mining import log_lines
from mining.formats import csv_rows, json_entries
from mining.import_log import import_files
from mining.import_result import ImportResult
from store.database import Store
from store.errors import InvalidDataError, UsageError, UserError
from tests.imported import write_lines, write_text

QUERY = "how long does a flea live?"


def _lines(*objects: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in objects)


def _span(trace: str) -> dict[str, Any]:
    attributes = {
        "openinference.span.kind": "RETRIEVER",
        "input.value": QUERY,
        "retrieval.documents.0.document.id": "d1",
        "retrieval.documents.0.document.content": "100 days.",
    }
    return {"context": {"trace_id": trace, "span_id": trace}, "parent_id": None, "attributes": attributes}


def _observation(trace: str) -> dict[str, Any]:
    output = [{"page_content": "100 days.", "metadata": {"id": "d1"}}]
    told = {"id": trace, "trace_id": trace, "type": "RETRIEVER", "parent_observation_id": ""}
    return {**told, "input": QUERY, "output": output, "start_time": "2026-03-31 12:00:00.000000"}


def _run(trace: str) -> dict[str, Any]:
    output = {"documents": [{"page_content": "100 days.", "metadata": {"id": "d1"}}]}
    return {"id": trace, "run_type": "retriever", "inputs": {"query": QUERY}, "outputs": output}


def _answer(run: str) -> dict[str, Any]:
    sentences = [{"text": "100 days.", "citations": [0]}]
    return {"run_id": run, "topic_id": "q1", "topic": QUERY, "references": ["d1"], "answer": sentences}


def _results(topic: str) -> dict[str, Any]:
    candidates = [{"docid": "d1", "score": 1.0, "doc": {"segment": "100 days."}}]
    return {"query": {"qid": topic, "text": QUERY}, "candidates": candidates}


# Each: two interactions. In every one the text QUERY, or an id, stands twice, so that the second can be spoilt.
FILES = {
    "uncited": _lines(*({"query": f"{QUERY} {n}", "retrieved": [], "cited": []} for n in (1, 2))),
    "trec-rag": _lines(_answer("a"), _answer("b")),
    "trec-rag-retrieval": _lines(_results("q1"), _results("q2")),
    "openinference": _lines(_span("t1"), _span("t2")),
    "langfuse": _lines(_observation("t1"), _observation("t2")),
    "langsmith": _lines(_run("t1"), _run("t2")),
    "ragas": _lines(*({"user_input": f"{QUERY} {n}", "retrieved_contexts": ["100 days."]} for n in (1, 2))),
    "trec": b"q1 Q0 d1 1 1.0 bm25\nq2 Q0 d1 1 1.0 bm25\n",
    "table": f"query,text\n{QUERY} 1,100 days.\n{QUERY} 2,100 days.\n".encode(),
}
DOCUMENT = {"queries": {"q1": QUERY, "q2": "where?"}, "corpus": {"d1": "100 days."}, "relevant_docs": {"q1": ["d1"]}}
ALL = {**FILES, "llamaindex": json.dumps(DOCUMENT, indent=4).encode()}


@pytest.fixture(scope="module")
def untouched() -> Iterator[Store]:
    """One store for all tests in which nothing may come in."""
    with Store(Path(":memory:")) as opened:
        yield opened


every_format = pytest.mark.parametrize("name", ALL)


def _import(store: Store, file: Path, **options: Any) -> ImportResult:  # noqa: ANN401 (those of import_files)
    """Import a file with what its format needs beside it."""
    folder = file.parent
    queries = write_lines(folder / "queries.jsonl", [{"_id": q, "text": f"{QUERY} {q}"} for q in ("q1", "q2")])
    corpus = write_lines(folder / "corpus.jsonl", [{"_id": "d1", "text": "100 days."}])
    topics = options.get("format") == "trec" or file.stem.startswith("trec")
    return import_files(store, [file, *([queries] if topics else [])], corpus=corpus, **options)


def _nothing(store: Store) -> bool:
    return not any(store.count(f"SELECT count(*) FROM {name}") for name in ("imports", "interactions", "chunks"))


@every_format
def test_good_files_come_in_also_with_a_mark_windows_line_ends_and_packed(
    store: Store, tmp_path: Path, name: str
) -> None:
    plain = tmp_path / f"{name}.csv" if name == "table" else tmp_path / f"{name}.jsonl"
    plain.write_bytes(ALL[name])
    (imported,) = _import(store, plain).files
    assert (imported.format, imported.interactions) == (name, 2)
    for number, content in enumerate(
        [b"\xef\xbb\xbf" + ALL[name], ALL[name].replace(b"\n", b"\r\n"), gzip.compress(ALL[name])]
    ):
        other = tmp_path / f"{name}-{number}{plain.suffix}"
        other.write_bytes(content)
        (again,) = _import(store, other).files
        assert (again.format, again.interactions, again.known) == (name, 0, 2)


@every_format
@pytest.mark.parametrize("skip_invalid", [False, True])
def test_a_truncated_gzip_file_is_refused(untouched: Store, tmp_path: Path, name: str, skip_invalid: bool) -> None:
    file = tmp_path / f"{name}.gz"
    file.write_bytes(gzip.compress(ALL[name] * 3)[:-12])
    with pytest.raises(InvalidDataError, match="the gzip data ends early") as refused:
        _import(untouched, file, format=name, skip_invalid=skip_invalid)
    assert refused.value.hint == f"gzip -t {file}"
    assert _nothing(untouched)


@every_format
def test_a_file_that_grows_while_it_is_read_is_refused(untouched: Store, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(ALL[name])

    class Growing:
        def start(self, description: str, total: int | None) -> None:
            with file.open("ab") as out:
                out.write(b"\n")

        def advance(self, steps: int = 1, note: str = "") -> None:
            pass

    with pytest.raises(InvalidDataError, match="was written to while it was read"):
        _import(untouched, file, format=name, progress=Growing())
    assert _nothing(untouched)


@every_format
@pytest.mark.parametrize(("spoil", "message"), [(b"\xe9", "UTF-8"), (b"\x00", "NUL|control character")])
def test_bytes_that_are_no_text_are_named_by_file_and_line(
    untouched: Store, tmp_path: Path, name: str, spoil: bytes, message: str
) -> None:
    file = tmp_path / name
    place = (
        ALL[name].rindex(b"q2") + 1
        if name in ("trec", "llamaindex")
        else ALL[name].rindex(b"how long" if b"how long" in ALL[name] else b"q")
    )
    file.write_bytes(ALL[name][:place] + spoil + ALL[name][place:])
    with pytest.raises(InvalidDataError, match=message) as refused:
        _import(untouched, file, format=name)
    assert f"{file}:" in refused.value.message
    assert _nothing(untouched)


@every_format
def test_an_empty_file_brings_nothing_or_says_what_it_lacks(store: Store, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"")
    if name == "table":
        with pytest.raises(InvalidDataError, match="has no column for query"):
            _import(store, file, format=name)
    else:
        assert _import(store, file, format=name).interactions == 0
    assert store.count("SELECT count(*) FROM interactions") == 0


@every_format
def test_what_is_no_file_is_refused_in_words(untouched: Store, tmp_path: Path, name: str) -> None:
    folder, loop = tmp_path / "folder", tmp_path / "loop"
    folder.mkdir()
    loop.symlink_to(loop)
    with pytest.raises(UsageError, match=r"is a directory, and neither a BEIR data set \(it lacks .*queries\.jsonl"):
        import_files(untouched, [folder], format=name)
    with pytest.raises(UsageError, match="symbolic links"):
        import_files(untouched, [loop], format=name)


@every_format
def test_a_pipe_is_read_once_and_wholly(store: Store, tmp_path: Path, name: str) -> None:
    pipe = tmp_path / f"{name}"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(ALL[name]))
    writer.start()
    (imported,) = _import(store, pipe, format=name).files
    writer.join()
    assert (imported.format, imported.interactions) == (name, 2)


@pytest.mark.parametrize("name", FILES)
def test_lines_beyond_64_mib_are_named_and_not_held(
    untouched: Store, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "MAX_LINE_BYTES", 1 << 20)
    monkeypatch.setattr(csv_rows, "MAX_LINE_BYTES", 1 << 20)
    file = tmp_path / name
    file.write_bytes(ALL[name] + b'{"x": "' + b"x" * (3 << 20) + b'"}\n')
    with pytest.raises(InvalidDataError, match=r"longer than (1|64) MiB") as refused:
        _import(untouched, file, format=name)
    assert f"{file}:{4 if name == 'table' else 3}: " in refused.value.message
    assert _nothing(untouched)


def test_a_long_first_line_that_is_nothing_is_shown_in_short(untouched: Store, tmp_path: Path) -> None:
    file = write_text(tmp_path / "log.txt", "x" * (2 << 20) + "\n")
    with pytest.raises(InvalidDataError, match=r'its first line, "x{60}", is neither JSON nor'):
        import_files(untouched, [file])


def test_one_json_document_has_a_limit_that_is_said(
    untouched: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_entries, "MAX_DOCUMENT_BYTES", 100)
    file = write_text(tmp_path / "data.json", json.dumps([_run("t1")], indent=1))
    with pytest.raises(InvalidDataError, match="is one JSON document of more than") as refused:
        import_files(untouched, [file], format="langsmith")
    assert refused.value.hint == f"jq -c '.[]' {file} | uncited import -"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[\n{"run_type": "x"},\n{"run_type": }\n]', r":3: not JSON: Expecting value"),
        ('[\n{"run_type": "x"}\n{"run_type": "y"}\n]', r":3: not JSON: Expecting ',' or the end of the array"),
        ('[\n{"run_type": "x"},\n', r":3: not JSON"),
        ('[\n{"id": "1", "run_type": "retriever", "inputs": {}},\n7\n]', r":3: not a JSON object"),
        ("[\n" + "[" * 100_000 + "]" * 100_000 + "\n]", r"nested too deeply"),
        ('{\n "run_type": "x", "inputs": ' + "[" * 100_000, r"not JSON that can be read: nested too deeply"),
    ],
)
def test_a_damaged_document_is_named_by_its_line(untouched: Store, tmp_path: Path, text: str, message: str) -> None:
    file = write_text(tmp_path / "runs.json", text)
    with pytest.raises(InvalidDataError, match=message) as refused:
        import_files(untouched, [file], format="langsmith")
    assert str(file) in refused.value.message
    assert _nothing(untouched)


@pytest.mark.parametrize("damage", [lambda c: c[:-20], lambda c: c[:4] + b"\x00" * (len(c) - 4), lambda c: b"PAR1"])
def test_a_damaged_parquet_file_is_refused(untouched: Store, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    file = tmp_path / "log.parquet"
    parquet.write_table(pa.table({"query": ["a"], "text": ["b"]}), file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InvalidDataError, match="is no Parquet file that can be read"):
        import_files(untouched, [file])
    assert _nothing(untouched)


def test_folders_that_are_no_data_sets_any_more_say_so(untouched: Store, tmp_path: Path) -> None:
    folder = tmp_path / "dict"
    write_text(folder / "dataset_dict.json", "{}")
    with pytest.raises(InvalidDataError, match="does not list the splits"):
        import_files(untouched, [folder])
    write_text(folder / "dataset_dict.json", '{"splits": ["../../elsewhere", "train"]}')
    with pytest.raises(UserError):
        import_files(untouched, [folder])
    beir = tmp_path / "beir"
    write_lines(beir / "queries.jsonl", [{"_id": "q1", "text": "a"}])
    (beir / "corpus.jsonl").symlink_to(beir / "corpus.jsonl")
    with pytest.raises(UsageError):
        import_files(untouched, [beir])
    assert _nothing(untouched)
