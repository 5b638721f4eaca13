"""What `--format auto` recognises, what it says of what it does not, and what a dry run shows."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import app
from mining.formats.recognise import NAMES
from mining.import_log import import_files
from store.database import Store
from store.errors import InvalidDataError, UsageError
from store.interactions import log_counts
from store.verification.evidence_hashes import check_imports
from tests.imported import stored, write_lines, write_text

ROOT = Path(__file__).resolve().parents[1]
NATIVE = {"query": "q", "retrieved": [{"chunk_id": "c", "rank": 1, "text": "t"}], "cited": ["c"]}


def test_uncited_s_own_format_is_known_whatever_else_its_lines_hold(store: Store, tmp_path: Path) -> None:
    line = {**NATIVE, "references": [], "answer": "a", "context": {"span_id": "s"}, "run_type": "x", "inputs": {}}
    (imported,) = import_files(store, [write_lines(tmp_path / "log.jsonl", [line])]).files
    assert (imported.format, imported.interactions) == ("uncited", 1)


@pytest.mark.parametrize(
    ("found", "nearest", "lacking"),
    [
        ({"user_input": "q", "contexts": ["a"]}, "ragas", "retrieved_contexts"),
        ({"queries": {}, "corpus": {}, "relevant": {}}, "llamaindex", "relevant_docs"),
        ({"run_type": "retriever", "id": "1", "inputs": None, "output": {}}, None, None),
        ({"topic_id": "1", "references": ["a"], "text": "a"}, "trec-rag", "answer"),
        ({"query": "q", "docs": ["a"]}, "uncited", "retrieved, cited"),
    ],
)
def test_an_unknown_format_names_the_nearest_and_what_is_missing(
    store: Store, tmp_path: Path, found: dict[str, Any], nearest: str | None, lacking: str | None
) -> None:
    file = write_lines(tmp_path / "log.jsonl", [found])
    if nearest is None:  # a run without outputs is still a run
        assert "langsmith" in import_files(store, [file], dry_run=True).files[0].format
        return
    with pytest.raises(InvalidDataError) as refused:
        import_files(store, [file])
    assert f"the nearest is {nearest} (" in refused.value.message
    assert f"which also needs {lacking};" in refused.value.message
    assert ", ".join(found) in refused.value.message
    assert refused.value.hint == f"uncited import {file} --map query=COLUMN --map text=COLUMN"


def test_keys_that_no_format_has_are_shown(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataError, match="in no format that is known: its objects hold question, passages"):
        import_files(store, [write_lines(tmp_path / "log.jsonl", [{"question": "q", "passages": []}])])


def test_a_file_of_rejected_lines_names_the_command_that_makes_lines_of_it(store: Store, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "my log.jsonl", [{**NATIVE, "cited": ["c9"]}])
    (imported,) = import_files(store, [file], skip_invalid=True).files
    assert imported.rejects
    with pytest.raises(InvalidDataError, match="holds lines that an import left out") as refused:
        import_files(store, [imported.rejects])
    assert refused.value.hint
    assert refused.value.hint.startswith(f"jq -r '.raw // empty' '{imported.rejects}' > mended.jsonl")
    (line,) = (json.loads(text)["raw"] for text in imported.rejects.read_text(encoding="utf-8").splitlines())
    mended = write_text(tmp_path / "mended.jsonl", line.replace("c9", "c") + "\n")
    assert import_files(store, [mended]).interactions == 1


def test_text_that_is_no_table_is_shown(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataError, match='its first line, "Dear all,", is neither JSON nor'):
        import_files(store, [write_text(tmp_path / "mail.txt", "Dear all,\nfleas.\n")])


def test_an_unknown_file_does_not_keep_the_others_out(store: Store, tmp_path: Path) -> None:
    good = write_lines(tmp_path / "good.jsonl", [NATIVE])
    with pytest.raises(InvalidDataError, match=f"imported: {good}"):
        import_files(store, [write_text(tmp_path / "mail.txt", "Dear all,\n"), good])
    assert log_counts(store).interactions == 1


def test_a_format_that_is_named_is_believed(store: Store, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "log.jsonl", [{"query": "q", "text": ["a"], "retrieved": None}])
    with pytest.raises(InvalidDataError, match="retrieved: null is not a list"):
        import_files(store, [file], format="uncited")
    assert import_files(store, [file], format="table").interactions == 1
    with pytest.raises(UsageError, match="--format tabel: not one of auto, uncited, trec-rag"):
        import_files(store, [file], format="tabel")
    with pytest.raises(UsageError, match="--map is for tables; ragas has no columns to name"):
        import_files(store, [file], format="ragas", mapping={"query": "q"})


def test_files_beside_a_named_format_are_still_known(store: Store, tmp_path: Path) -> None:
    answer = {"topic_id": "q1", "topic": "q", "references": ["d1"], "answer": [{"text": "a", "citations": [0]}]}
    answers = write_lines(tmp_path / "answers.jsonl", [{**answer, "run_id": "r"}])
    run = write_text(tmp_path / "run.txt", "q1 Q0 d2 1 1.0 bm25\n")
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"_id": name, "text": name} for name in ("d1", "d2")])
    bad = tmp_path / "bad.jsonl"
    options: dict[str, Any] = {"corpus": corpus, "skip_invalid": True, "rejects": bad}
    import_files(store, [run, answers], format="trec-rag", **options)  # one place for one file's rejected lines
    assert [c["chunk_id"] for c in stored(store)[0]["retrieved"]] == ["d2", "d1"]


def test_rows_with_an_id_and_a_text_are_no_queries(store: Store, tmp_path: Path) -> None:
    table = write_lines(tmp_path / "a.jsonl", [{"id": "1", "query": "q", "text": "t"}])
    assert import_files(store, [table]).files[0].format == "table"
    other = write_lines(tmp_path / "b.jsonl", [{"id": "1", "text": "t", "question": "q2"}])
    assert import_files(store, [other], mapping={"query": "question"}).interactions == 1
    with pytest.raises(InvalidDataError, match="in no format that is known"):
        import_files(store, [write_lines(tmp_path / "c.jsonl", [{"id": "1", "question": "q", "contexts": ["t"]}])])


def test_every_format_is_documented() -> None:
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"`{name}`" in text


def test_the_same_bytes_are_another_import_with_other_files_beside_them(store: Store, tmp_path: Path) -> None:
    run = write_text(tmp_path / "run.txt", "q1 Q0 d1 1 1.0 bm25\n")
    queries = write_lines(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "how long?"}])
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"_id": "d1", "text": "100 days."}])
    assert import_files(store, [run, queries], corpus=corpus).interactions == 1
    assert import_files(store, [queries, run], corpus=corpus).files[0].imported_before
    qrels = write_text(tmp_path / "qrels.txt", "q1 0 d1 2\n")
    (more,) = import_files(store, [run, queries, qrels], corpus=corpus).files
    assert (more.imported_before, more.interactions) == (False, 1)
    formats = store.rows("SELECT DISTINCT format, file FROM imports")
    assert formats == [{"format": "trec", "file": str(run)}]
    assert not check_imports(store).problems


def test_citations_are_read_from_answers_and_the_base_can_be_said(store: Store, tmp_path: Path) -> None:
    line = {**NATIVE, "answer": "It is so [0]."}
    del line["cited"]
    file = write_lines(tmp_path / "log.jsonl", [line])
    with pytest.raises(InvalidDataError, match="or read it from the answers with --citations"):
        import_files(store, [file])
    (imported,) = import_files(store, [file], citations="markers").files
    assert imported.citations == "read from markers in 1 answers, 1 of which cite something; " + (
        "markers count from 0: 1 answers cite number 0"
    )
    assert stored(store)[0]["cited"] == ["c"]
    assert store.scalar("SELECT format FROM imports") == "uncited --citations markers"
    assert not check_imports(store).problems
    with pytest.raises(InvalidDataError, match=r"cites number 0, and the retrieved chunks go from 1 to 1") as refused:
        import_files(store, [write_lines(tmp_path / "other.jsonl", [line])], citations="markers:1")
    assert refused.value.hint
    assert "--citations markers:1" in refused.value.hint


def test_quotes_are_looked_for_in_the_texts_of_the_corpus(store: Store, tmp_path: Path) -> None:
    chunk = {"chunk_id": "d1", "rank": 1}
    line = {"query": "q", "retrieved": [chunk], "answer": 'They say "a flea lives one hundred days".'}
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"_id": "d1", "text": "A flea lives one hundred days."}])
    import_files(store, [write_lines(tmp_path / "log.jsonl", [line])], corpus=corpus, citations="quotes")
    assert stored(store)[0]["cited"] == ["d1"]


# -------------------------------------------------------------------------------------------------------------- dry run


def test_a_dry_run_tells_what_would_come_in_and_stores_nothing(store: Store, tmp_path: Path) -> None:
    thumbs = [{"signal": "thumbs_up", "source": "app"}]
    lines = [{**NATIVE, "query": f"q{n}", "signals": thumbs} for n in range(5)]
    bad = {**NATIVE, "cited": ["c9"]}
    file = write_lines(tmp_path / "log.jsonl", [*lines[:2], bad, *lines[2:]])
    result = import_files(store, [file], dry_run=True)
    (told,) = result.files
    assert result.dry_run
    assert (told.interactions, told.chunks, told.retrievals, told.rejected) == (5, 1, 5, 1)
    assert [(s.signal, s.source, s.about, s.times) for s in told.signals] == [
        ("cited", None, "chunks", 5),
        ("thumbs_up", "app", "interactions", 5),
    ]
    assert [(e.line, e.query, e.retrieved, e.cited, e.signals) for e in told.examples] == [
        (1, "q0", 1, 1, ("thumbs_up",)),
        (2, "q1", 1, 1, ("thumbs_up",)),
        (4, "q2", 1, 1, ("thumbs_up",)),
    ]
    assert told.problems == f'{file}:3: cited[0]: "c9" was not retrieved'
    assert not any(log_counts(store))
    assert import_files(store, [file], dry_run=True, skip_invalid=True).files[0].rejected == 1
    assert not list(tmp_path.glob("*rejected*"))
    assert import_files(store, [file], skip_invalid=True).interactions == 5
    (again,) = import_files(store, [file], dry_run=True).files
    assert (again.interactions, again.known) == (0, 5)


def test_what_a_line_says_itself_holds_against_citations_and_is_counted(store: Store, tmp_path: Path) -> None:
    said = {**NATIVE, "answer": "It is so [9]."}
    open_ = {**NATIVE, "query": "q2", "answer": "It is so [1].", "cited": None}
    file = write_lines(tmp_path / "log.jsonl", [said, open_])
    (imported,) = import_files(store, [file], citations="markers:1", dry_run=True).files
    assert imported.cited_already == 1
    workspace = tmp_path / "workspace"
    assert CliRunner().invoke(app, ["init", str(workspace)]).exit_code == 0
    command = ["import", str(file), "--citations", "markers:1", "--workspace", str(workspace)]
    assert "1 lines say themselves what is cited" in " ".join(CliRunner().invoke(app, command).stdout.split())
    (plain,) = import_files(store, [write_lines(tmp_path / "plain.jsonl", [said])]).files
    assert plain.cited_already == 0  # nobody asked for anything else


@pytest.mark.parametrize("bad", ["q1 Q0 d1 1 0.5", "q1 Q0 d1 first 0.5 r", "# written by a script"])
def test_a_run_whose_first_line_is_bad_is_still_a_run(store: Store, tmp_path: Path, bad: str) -> None:
    run = write_text(tmp_path / "run.txt", bad + "\nq1 Q0 d1 1 1.0 bm25\n")
    queries = write_lines(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "how long?"}])
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"_id": "d1", "text": "100 days."}])
    with pytest.raises(InvalidDataError, match="1 of its lines cannot be imported") as refused:
        import_files(store, [run, queries], corpus=corpus)
    assert "run.txt:1: " in refused.value.message
    (imported,) = import_files(store, [run, queries], corpus=corpus, skip_invalid=True).files
    assert (imported.format, imported.interactions, imported.rejected) == ("trec", 1, 1)


def test_a_folder_of_another_format_than_the_named_one_is_refused(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "beir"
    write_lines(folder / "queries.jsonl", [{"_id": "q1", "text": "how long?"}])
    write_lines(folder / "corpus.jsonl", [{"_id": "d1", "text": "100 days."}])
    for name in ("trec", "uncited", "hf-dataset"):
        with pytest.raises(UsageError, match=f"which is the format beir and not {name}") as refused:
            import_files(store, [folder], format=name)
        assert refused.value.hint == f"uncited import {folder}"
    run = write_text(tmp_path / "run.txt", "q1 Q0 d1 1 1.0 bm25\n")
    assert import_files(store, [folder, run], format="trec").interactions == 1


def _uncited(workspace: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "import", *words, "--workspace", str(workspace)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_says_what_it_recognised_and_what_comes_next(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    subprocess.run([sys.executable, "-m", "cli", "init", str(workspace)], cwd=ROOT, check=True, capture_output=True)
    run = write_text(tmp_path / "run.txt", "q1 Q0 d1 1 1.0 bm25\n")
    qrels = write_text(tmp_path / "qrels.txt", "q1 0 d1 2\n")
    queries = write_text(tmp_path / "topics.tsv", "q1\thow long does a \x1b[31mflea live?\n")
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"_id": "d1", "text": "100 days."}])
    files = [str(run), str(qrels), str(queries), "--corpus", str(corpus)]
    dry = _uncited(workspace, *files, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "nothing is stored" in dry.stdout
    assert "is read as trec: its lines have the six columns of a TREC run" in " ".join(dry.stdout.split())
    assert "grade:2" in dry.stdout
    assert "\x1b[31m" not in dry.stdout
    assert "the same command without --dry-run" in dry.stderr
    real = _uncited(workspace, *files)
    assert real.returncode == 0, real.stderr
    assert "uncited review import" in real.stderr
    again = json.loads(_uncited(workspace, *files, "--json").stdout)
    assert [file["imported_before"] for file in again["files"]] == [True]
    assert _uncited(workspace, str(run), "--map", "query").returncode == 2


def test_what_comes_through_a_pipe_is_recognised_too(store: Store, tmp_path: Path) -> None:
    import os

    sample = {"user_input": "q", "retrieved_contexts": ["a", "b"]}
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(json.dumps([sample], indent=1), encoding="utf-8"))
    writer.start()
    (imported,) = import_files(store, [pipe]).files
    writer.join()
    assert (imported.format, imported.interactions) == ("ragas", 1)
