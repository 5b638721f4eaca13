"""What stands beside the logs and belongs to none of their interactions is counted, not dropped without a word."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import app
from mining.import_log import import_files
from store.database import Store
from tests.imported import write_lines, write_text

RUN = "q1 Q0 d1 1 2.0 bm25\nq1 Q0 d2 2 1.0 bm25\n"


@pytest.fixture
def texts(tmp_path: Path) -> tuple[Path, Path]:
    queries = write_lines(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "how long?"}])
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"_id": f"d{n}", "text": f"{n} days."} for n in (1, 2, 3)])
    return queries, corpus


def test_grades_that_fit_no_query_or_chunk_are_counted_by_file(
    store: Store, tmp_path: Path, texts: tuple[Path, Path]
) -> None:
    run = write_text(tmp_path / "run.txt", RUN)
    qrels = write_text(tmp_path / "qrels.txt", "q1 0 d1 2\nq1 0 d3 1\nq1 0 gone 1\nq7 0 d1 0\n")
    fitting = write_text(tmp_path / "more.txt", "q1 0 d2 0\n")
    result = import_files(store, [run, texts[0], qrels, fitting], corpus=texts[1])
    ((file, what, entries, of),) = result.unmatched  # d3 is in no list, but the corpus has it
    assert (file, entries, of) == (str(qrels), 2, 4)
    assert "query or chunk" in what


def test_a_file_that_was_imported_before_is_not_read_again_and_nothing_counts_as_unmatched(
    store: Store, tmp_path: Path, texts: tuple[Path, Path]
) -> None:
    files = [write_text(tmp_path / "run.txt", RUN), texts[0], write_text(tmp_path / "qrels.txt", "q1 0 d1 2\n")]
    assert not import_files(store, files, corpus=texts[1]).unmatched
    assert not import_files(store, files, corpus=texts[1]).unmatched


def test_a_list_of_a_topic_that_nobody_answered_is_counted(
    store: Store, tmp_path: Path, texts: tuple[Path, Path]
) -> None:
    answer = {"run_id": "r", "topic_id": "q1", "topic": "how long?", "references": ["d1"], "answer": []}
    answers = write_lines(tmp_path / "answers.jsonl", [answer])
    run = write_text(tmp_path / "run.txt", RUN + "q2 Q0 d1 1 2.0 bm25\n")
    ((file, _, entries, of),) = import_files(store, [answers, run], corpus=texts[1]).unmatched
    assert (file, entries, of) == (str(run), 1, 2)


def _langfuse(trace: str, kind: str) -> dict[str, Any]:
    found = {"id": f"{trace}-{kind}", "trace_id": trace, "type": kind, "input": "how long?"}
    return {**found, "output": [{"page_content": "1 day.", "id": "d1"}], "start_time": "2026-01-01T00:00:00Z"}


def _score(**about: str) -> dict[str, Any]:
    return {"name": "thumbs", "value": 1, "source": "ANNOTATION", "data_type": "NUMERIC", **about}


def test_scores_of_other_traces_and_of_sessions_are_counted(store: Store, tmp_path: Path) -> None:
    log = write_lines(tmp_path / "log.jsonl", [_langfuse("t1", "RETRIEVER"), _langfuse("t2", "GENERATION")])
    known = [_score(trace_id="t1"), _score(observation_id="t1-RETRIEVER")]
    others = [_score(trace_id="t2"), _score(trace_id="t9"), _score(session_id="s1")]  # nobody retrieved in t2
    scores = write_lines(tmp_path / "scores.jsonl", [*known, *others])
    ((file, _, entries, of),) = import_files(store, [log, scores]).unmatched
    assert (file, entries, of) == (str(scores), 3, 5)


@pytest.mark.parametrize("name", ["annotations", "feedback"])
def test_what_is_said_of_an_unknown_span_or_run_is_counted(store: Store, tmp_path: Path, name: str) -> None:
    documents = {"retrieval.documents.0.document.id": "d1", "retrieval.documents.0.document.content": "1 day."}
    attributes = {"openinference.span.kind": "RETRIEVER", "input.value": "how long?", **documents}
    logs: dict[str, dict[str, Any]] = {
        "annotations": {"context": {"trace_id": "t", "span_id": "s"}, "attributes": attributes},
        "feedback": {"id": "s", "run_type": "retriever", "inputs": "how long?", "outputs": [{"text": "1 day."}]},
    }
    said: dict[str, dict[str, Any]] = {
        "annotations": {"span_id": "s", "name": "n", "annotator_kind": "HUMAN", "result": {"score": 1}},
        "feedback": {"run_id": "s", "key": "k", "score": 1},
    }
    about = {"annotations": "span_id", "feedback": "run_id"}[name]
    log = write_lines(tmp_path / "log.jsonl", [logs[name]])
    beside = write_lines(tmp_path / f"{name}.jsonl", [said[name], {**said[name], about: "elsewhere"}])
    ((file, _, entries, of),) = import_files(store, [log, beside]).unmatched
    assert (file, entries, of) == (str(beside), 1, 2)


def test_the_command_says_so_in_words_and_in_json(tmp_path: Path, texts: tuple[Path, Path]) -> None:
    workspace = tmp_path / "workspace"
    runner = CliRunner()
    assert runner.invoke(app, ["init", str(workspace)]).exit_code == 0
    run, qrels = write_text(tmp_path / "run.txt", RUN), write_text(tmp_path / "qrels.txt", "q9 0 d1 2\n")
    command = ["import", str(run), str(texts[0]), str(qrels), "--corpus", str(texts[1]), "--workspace", str(workspace)]
    shown = runner.invoke(app, [*command, "--dry-run"])
    assert "qrels.txt: 1 of 1 entries were left out" in " ".join(shown.stdout.split())
    told = json.loads(runner.invoke(app, [*command, "--json"]).stdout)["unmatched"]
    assert [(one["file"], one["entries"], one["of"]) for one in told] == [(str(qrels), 1, 1)]
