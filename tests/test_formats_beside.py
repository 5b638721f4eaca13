"""Of every file that is read beside the logs it is said what it was taken for, and beside which of them."""

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import app
from mining.import_log import import_files
from mining.import_result import FileBeside
from store.database import Store
from tests.imported import write_lines, write_text
from tests.test_formats_bad_input import _answer, _observation, _results, _run, _span
from tests.test_formats_wrong_shapes import ANNOTATION, FEEDBACK, SCORE

QRELS = "its lines have the four columns of TREC qrels"
QUERIES = "its objects are queries: an id and a text"
RUN = "its lines have the six columns of a TREC run"


def _write(file: Path, content: str | Mapping[str, Any]) -> Path:
    return write_text(file, content) if isinstance(content, str) else write_lines(file, [content])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "corpus.jsonl", [{"_id": "d1", "text": "100 days."}])


@pytest.mark.parametrize(
    ("log", "beside", "what", "why"),
    [
        (_span("t1"), ANNOTATION, "Phoenix annotations", "its objects are Phoenix annotations: span_id, name"),
        (_observation("t1"), SCORE, "Langfuse scores", "its objects are Langfuse scores: name, value, source"),
        (_run("t1"), FEEDBACK, "LangSmith feedback", "its objects are LangSmith feedback: run_id, key, score"),
        (_answer("a"), "q1 0 d1 1\n", "qrels", QRELS),
        (_answer("a"), "q1 Q0 d1 1 1.0 bm25\n", "TREC run", RUN),
        (_answer("a"), _results("q1"), "TREC RAG retrieval results", "its objects are retrieval results"),
        (_results("q1"), {"_id": "q1", "text": "how long?"}, "queries", QUERIES),
    ],
)
def test_a_file_beside_a_log_is_told_with_what_it_is(
    store: Store, tmp_path: Path, corpus: Path, log: dict[str, Any], beside: str | dict[str, Any], what: str, why: str
) -> None:
    main, more = _write(tmp_path / "log", log), _write(tmp_path / "more", beside)
    (told,) = import_files(store, [more, main], corpus=corpus).beside
    assert (told.file, told.what, told.of) == (str(more), what, (str(main),))
    assert told.why.startswith(why)


def test_each_file_is_told_with_those_it_is_about_only(store: Store, tmp_path: Path, corpus: Path) -> None:
    runs = [write_text(tmp_path / f"{tag}.txt", f"q1 Q0 d1 1 1.0 {tag}\n") for tag in ("bm25", "dense")]
    queries = write_lines(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "how long?"}])
    qrels = write_text(tmp_path / "qrels.txt", "q1 0 d1 1\n")
    native = write_lines(tmp_path / "log.jsonl", [{"query": "q", "retrieved": [], "cited": []}])
    files = [native, qrels, *runs, queries]
    of = tuple(map(str, runs))
    told = (FileBeside(str(qrels), "qrels", of, QRELS), FileBeside(str(queries), "queries", of, QUERIES))
    assert import_files(store, files, corpus=corpus, dry_run=True).beside == told
    assert import_files(store, files, corpus=corpus).beside == told
    assert import_files(store, files, corpus=corpus).beside == told  # imported before
    assert import_files(store, [native]).beside == ()


def test_the_parts_of_a_beir_folder_are_told_and_its_queries_once(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "beir"
    queries = write_lines(folder / "queries.jsonl", [{"_id": "q1", "text": "how long?"}])
    write_lines(folder / "corpus.jsonl", [{"_id": "d1", "text": "100 days."}])
    qrels = write_text(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    part = "a part of a folder with corpus.jsonl and queries.jsonl"
    assert import_files(store, [folder]).beside == (FileBeside(str(qrels), "qrels", (str(queries),), part),)
    run = write_text(tmp_path / "run.txt", "q1 Q0 d1 1 1.0 bm25\n")
    assert import_files(store, [folder, run]).beside == (
        FileBeside(str(queries), "queries", (str(run),), part),
        FileBeside(str(qrels), "qrels", (str(run),), part),
    )


def test_the_command_says_so_in_words_and_in_json(tmp_path: Path, corpus: Path) -> None:
    workspace = tmp_path / "workspace"
    runner = CliRunner()
    assert runner.invoke(app, ["init", str(workspace)]).exit_code == 0
    run, qrels = write_text(tmp_path / "run.txt", "q1 Q0 d1 1 1.0 bm25\n"), tmp_path / "qrels"
    queries = write_lines(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "how long?"}])
    os.mkfifo(qrels)  # a pipe has a name too
    files = [str(file) for file in (run, qrels, queries)]
    command = ["import", *files, "--corpus", str(corpus), "--workspace", str(workspace)]

    def said(*options: str) -> str:
        writer = threading.Thread(target=lambda: qrels.write_text("q1 0 d1 1\n"), daemon=True)
        writer.start()
        shown = runner.invoke(app, [*command, *options])
        writer.join(10)
        assert shown.exit_code == 0, shown.output
        return shown.stdout

    words = "".join(said("--dry-run").split())
    assert f"{qrels} is read as qrels beside {run}: {QRELS}".replace(" ", "") in words
    told = json.loads(said("--json"))["beside"]
    assert told[0] == {"file": str(qrels), "what": "qrels", "of": [str(run)], "why": QRELS}
    assert [one["file"] for one in told] == [str(qrels), str(queries)]
